"""A pipeline's folder as the Hub and `trust_remote_code` want it, and the card in it.

    model_index.json      parts and classes; "model": the library's model.json
    unet/, vae/, scheduler/
    pipeline.py, unet/moebius_unet.py, vae/moebius_vae.py, scheduler/moebius_scheduler.py
                          a few lines each, for classes of ours: imported from this package
    README.md             only by `export_diffusers`

The Hub takes classes that are not diffusers' own from files in the repository alone. These hold no second copy of any
network; without this package they say what to install.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from moebius.errors import SettingsError
from moebius.export.folder import check_target, new_folder
from moebius.settings import DEFAULT_MODEL
from moebius.weights import ModelSpec, open_model

INDEX, CARD, PIPELINE = "model_index.json", "README.md", "pipeline"
PIPELINE_CLASS, PIPELINE_HOME = "MoebiusInpaintPipeline", "moebius.integrations.diffusers"
PARTS = {
    "MoebiusDenoiser": ("moebius_unet", f"{PIPELINE_HOME}_networks"),
    "MoebiusAutoencoder": ("moebius_vae", f"{PIPELINE_HOME}_networks"),
    "MoebiusDDIMScheduler": ("moebius_scheduler", f"{PIPELINE_HOME}_scheduler"),
}
"""Classes of ours that are parts of a pipeline: the module in its folder that each is found in, and where it is."""
DTYPES = ("float32", "float16")

_MODULE = '''"""{name} of Moebius, imported from the package moebius-inpaint."""

try:
    from {home} import {name}
except ImportError as error:
    raise ImportError(f"this pipeline needs moebius: pip install 'moebius-inpaint[torch]' ({{error}})") from error

__all__ = ["{name}"]
'''
_CARD = """---
library_name: diffusers
pipeline_tag: image-to-image
tags: [inpainting, object-removal, moebius]
---

# {title}

`{name}` of Moebius as a pipeline for diffusers: it fills holes in photos and takes no text prompt.

    pip install 'moebius-inpaint[torch]'

    from diffusers import DiffusionPipeline

    pipe = DiffusionPipeline.from_pretrained(FOLDER_OR_REPOSITORY, trust_remote_code=True)
    pipe(image=photo, mask_image=mask).images[0].save("clean.png")

White in the mask is filled; pixels outside it come back as they were.

Licence of the weights: {licence}.
"""


@dataclass(frozen=True)
class ExportedPipeline:
    """What `export_diffusers` wrote."""

    path: Path
    spec: ModelSpec
    bytes: dict[str, int]
    """Of every file, by its path in the folder."""

    def to_dict(self) -> dict[str, Any]:
        return {"path": str(self.path), "model": self.spec.name, "bytes": self.bytes}


def complete_folder(folder: Path) -> None:
    """Write the modules of a pipeline's folder, and name them in the model_index.json that is there."""
    path = folder / INDEX
    index = json.loads(path.read_text(encoding="utf-8"))
    (folder / f"{PIPELINE}.py").write_text(_module(PIPELINE_HOME, PIPELINE_CLASS), encoding="utf-8")
    index["_class_name"] = [PIPELINE, PIPELINE_CLASS]
    for part, value in index.items():
        if isinstance(value, list) and value[-1] in PARTS:
            module, home = PARTS[value[-1]]
            (folder / part).mkdir(exist_ok=True)
            (folder / part / f"{module}.py").write_text(_module(home, value[-1]), encoding="utf-8")
            index[part] = [module, value[-1]]
    path.write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def own_names(index: dict[str, Any]) -> None:
    """Name the package's own classes in an index, in place, instead of the modules of its folder."""
    if index.get("_class_name") == [PIPELINE, PIPELINE_CLASS]:
        index["_class_name"] = PIPELINE_CLASS
    for part, value in index.items():
        if isinstance(value, list | tuple) and len(value) == 2 and value[1] in PARTS:
            index[part] = [PARTS[value[1]][1], value[1]]


def export_diffusers(
    folder: Path, *, model: str | Path = DEFAULT_MODEL, dtype: str = "float32", overwrite: bool = False
) -> ExportedPipeline:
    """Write a model as a folder for `DiffusionPipeline.from_pretrained`; all of it appears, or nothing.

    Args:
        folder: new or empty, unless `overwrite` and it holds an earlier pipeline.
        model: a model's name, or a model folder.
        dtype: how weights are stored, "float32" or "float16".

    Raises:
        WeightsError: the model is not to be had.
        OutputError: something is there already, or it cannot be written.
        SettingsError: another dtype.
    """
    import torch

    from moebius.integrations.diffusers import MoebiusInpaintPipeline

    if dtype not in DTYPES:
        raise SettingsError(f"dtype: expected one of {', '.join(DTYPES)}, got {dtype!r}")
    source = open_model(model)
    with new_folder(folder, overwrite, partial(check_target, index=INDEX, what="pipeline")) as made:
        pipeline = MoebiusInpaintPipeline.from_moebius(source.path, dtype=getattr(torch, dtype))
        pipeline.save_pretrained(made)
        card = _CARD.format(title=source.spec.title, name=source.spec.name, licence=source.spec.licence)
        own = source.path / CARD
        if own.is_file():
            card += "\n" + own.read_text(encoding="utf-8")
        (made / CARD).write_text(card, encoding="utf-8")
        mode = (made / CARD).stat().st_mode  # as the umask has it; safetensors leaves the owner's alone
        for path in made.rglob("*.safetensors"):
            path.chmod(mode)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
    return ExportedPipeline(folder, source.spec, sizes)


def _module(home: str, name: str) -> str:
    return _MODULE.format(home=home, name=name)
