"""The Space: everything is in the package."""

from moebius.integrations.gradio_app import launch, make_app

launch(make_app())
