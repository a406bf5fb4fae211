"""Models and their weights: registry, cache, downloads, conversion, model folders.

    open_model("nano")       a name or a folder -> ModelFolder(path, spec), downloaded first if need be
    find("places2")          what is known of a model, without touching its weights
    from_official(state)     published names -> ours; `to_official` is its exact inverse

Nothing here imports torch before something has to be converted.
"""

from moebius.weights.adapter import from_official, to_official
from moebius.weights.download import open_model, pull
from moebius.weights.registry import MODELS, find
from moebius.weights.spec import Defaults, ModelFile, ModelSpec, spec_from_json, spec_to_json
from moebius.weights.store import ModelFolder, open_folder, save_folder, seal

__all__ = [
    "MODELS",
    "Defaults",
    "ModelFile",
    "ModelFolder",
    "ModelSpec",
    "find",
    "from_official",
    "open_folder",
    "open_model",
    "pull",
    "save_folder",
    "seal",
    "spec_from_json",
    "spec_to_json",
    "to_official",
]
