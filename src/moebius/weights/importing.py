"""Bringing in a checkpoint that somebody already has. Needs torch; touches no network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from moebius.errors import WeightsError
from moebius.weights.adapter import architecture_of
from moebius.weights.cache import cache_home, model_folder
from moebius.weights.convert import convert_denoiser, read_checkpoint, read_vae, require_torch
from moebius.weights.download import add_vae, borrow_vae
from moebius.weights.lock import exclusive
from moebius.weights.registry import MODELS, PIXELHACKER, PUBLISHED
from moebius.weights.spec import ModelSpec
from moebius.weights.store import ModelFolder, file_sha256, save_folder


def import_checkpoint(
    checkpoint: Path,
    *,
    name: str | None = None,
    like: ModelSpec | None = None,
    vae: Path | None = None,
    overwrite: bool = False,
) -> ModelFolder:
    """Convert a denoiser checkpoint, Moebius or PixelHacker, under the published names into a model of the cache.

    A file that is one of the published checkpoints, by its checksum, becomes that model. Any other becomes a
    model of its own, used from then on under its name.

    Args:
        checkpoint: `.bin` (read as tensors only) or `.safetensors`.
        name: the model's name; by default the published one's, or one made from the file's name.
        like: the model whose network, feeding and defaults it has; by default the published `pretrained`, or
            the published PixelHacker for a checkpoint with its names.
        vae: checkpoint of its VAE. Without it the VAE of another model of the cache is taken; if there is
            none, the model stays "incomplete" until it is pulled or opened with a network.
        overwrite: replace a model of that name.

    Raises:
        CorruptWeightsError: the checkpoint is damaged, hostile, an average, or of another network.
        WeightsError: the name is taken or reserved, `like` has an autoencoder of its own, torch is missing.
    """
    require_torch("importing a checkpoint")
    published = _recognise(checkpoint)
    state = read_checkpoint(checkpoint)
    if like is None and architecture_of(state) == "pixelhacker":
        like = PIXELHACKER
    spec = _describe(checkpoint, name, like, published)
    folder = model_folder(spec.name)
    if folder.exists() and not overwrite:
        raise WeightsError(
            f"a model named {spec.name} exists already in {folder}: give another name, or overwrite"
        )
    tensors = convert_denoiser(state, spec, checkpoint)
    given = None if vae is None else read_vae(vae)
    with exclusive(cache_home() / "pull.lock"):
        save_folder(folder, spec, tensors, overwrite=overwrite)
        if given is not None:
            add_vae(folder, spec, *given)
        else:
            borrow_vae(folder, spec)
    return ModelFolder(folder, spec)


def _recognise(checkpoint: Path) -> ModelSpec | None:
    """The published model that this file is, to the last byte."""
    if not checkpoint.is_file():
        return None
    for spec in PUBLISHED:
        file = spec.files["denoiser"]
        same_size = file.bytes == checkpoint.stat().st_size
        if file.sha256 and same_size and file_sha256(checkpoint).startswith(file.sha256):
            return spec
    return None


def _describe(
    checkpoint: Path, name: str | None, like: ModelSpec | None, published: ModelSpec | None
) -> ModelSpec:
    """The spec of what is imported."""
    like = like or published or MODELS["pretrained"]
    if published is not None and name in (None, published.name):
        return published
    name = name or _name_from(checkpoint)
    if name in MODELS:
        raise WeightsError(f"{checkpoint} is not the model {name} as published: expected another name")
    if like.autoencoder is not None:
        raise WeightsError(f"like: expected a model with a published VAE, got {like.name}, which has its own")
    files = {role: file for role, file in like.files.items() if role == "vae"}
    try:
        return replace(
            like, name=name, title=f"imported from {checkpoint.name}", licence="not stated", files=files
        )
    except ValueError as error:
        raise WeightsError(str(error)) from error


def _name_from(checkpoint: Path) -> str:
    """A model name from a file's: of `run7/diffusion_pytorch_model.bin` it is "run7"."""
    stem = (
        checkpoint.absolute().parent.name if checkpoint.stem == "diffusion_pytorch_model" else checkpoint.stem
    )
    kept = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in stem).strip("-")
    return kept[:100] or "imported"
