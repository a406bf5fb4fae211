"""`moebius demo`: the Gradio app."""

from __future__ import annotations

import click

from moebius import settings as defaults
from moebius.errors import MoebiusError


@click.command(short_help="The Gradio app: a page with a brush, as on a Space.")
@click.option(
    "--model", default=defaults.DEFAULT_MODEL, show_default=True, help="A model's name, or a model folder."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0 to be reached from elsewhere.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=7860, show_default=True, help="0: any free one."
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, mps.")
@click.option("--browser/--no-browser", default=True, show_default=True, help="Open the page in a browser.")
def demo(model: str, host: str, port: int, device: str, browser: bool) -> None:
    """Open a page with a brush: the Gradio app, as it would be on a Hugging Face Space.

    Photos are filled on this machine; nothing is sent anywhere, and nothing is fetched. For more than a trial, and for
    programs, there is `moebius serve`.
    """
    try:
        from moebius.integrations.gradio_app import launch, make_app
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "moebius":
            raise
        raise MoebiusError(f"moebius demo needs {error.name}: pip install 'moebius-inpaint[demo]'") from error
    from moebius.cli.progress import transfer_bar
    from moebius.pipeline import Moebius

    with transfer_bar() as bar:
        opened = Moebius.from_pretrained(model, device=device, progress=bar)

    def listening(address: str) -> None:
        click.echo(f"moebius: demo of {model} on {address}", err=True)

    launch(make_app(opened), host=host, port=port, open_browser=browser, listening=listening)
