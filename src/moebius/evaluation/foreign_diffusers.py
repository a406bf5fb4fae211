"""Inpainting pipelines of diffusers, from a folder on disk; nothing is ever downloaded."""

from __future__ import annotations

import hashlib
import inspect
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from PIL import Image

from moebius.errors import DeviceError, InputError, MoebiusError, SettingsError
from moebius.evaluation.foreign import (
    Options,
    check_names,
    choice,
    files_sha256,
    first_line,
    home_path,
    method_id,
    method_title,
    real,
    whole,
)
from moebius.evaluation.holes import Hole, Pixels
from moebius.evaluation.methods import Method
from moebius.evaluation.metrics import to_picture, to_pixels
from moebius.imaging import push_pull, resize, resize_mask
from moebius.sampling import philox

OPTIONS = ("prompt", "steps", "guidance", "strength", "size", "seed", "mask", "device", "dtype")
ARGUMENTS = {"steps": "num_inference_steps", "guidance": "guidance_scale", "strength": "strength"}
"""What pipelines call these options; what is not given is left to them."""
DTYPES = ("float32", "float16", "bfloat16")
PICTURE = "picture"
"""As a size: the picture's own."""
BLACK_IS_FILLED = frozenset({"RePaintPipeline"})
"""Pipelines whose mask is the other way round."""


def diffusers_method(path: str | Path, *, title: str | None = None, options: Options | None = None) -> Method:
    """Any pipeline whose call takes `image` and `mask_image`, or whose kind has one that does.

    Under the hole it gets the smooth fill. The picture is scaled so that its shorter side is the pipeline's
    own size, and its sides are rounded to what the pipeline can work with; the answer is scaled back.

    Args:
        path: a folder as `save_pretrained` writes it.
        title: the folder's name and the options by default.
        options: prompt (none by default), steps, guidance, strength, size (px, or "picture"), seed (0), mask
            ("hole" or "known" is white), device ("cuda" where there is one), dtype ("float32").

    Raises:
        InputError: no such folder, no pipeline in it, one that takes no mask, or that cannot be loaded.
        SettingsError: an option that there is none of, or that the pipeline does not take.
        MoebiusError: diffusers or transformers are missing, or cannot be imported.
    """
    path, options = home_path(path), options or {}
    check_names(options, OPTIONS, str(path))
    settings = _settings(options)
    size = None if options.get("size") == PICTURE else whole(options, "size", 8, 8192)
    seed = whole(options, "seed", 0, 2**64 - 1) or 0
    white = choice(options, "mask", ("hole", "known"))
    dtype = choice(options, "dtype", DTYPES) or "float32"
    index = _read_index(path)
    versions = _import()
    device = options.get("device") or _best_device()
    pipeline = _load(path, index, device, dtype)

    name = type(pipeline).__name__
    accepted = inspect.signature(type(pipeline).__call__).parameters
    for option, argument in ARGUMENTS.items():
        if option in options and argument not in accepted:
            raise SettingsError(f"{option}: expected an option that {name} takes; it has no {argument}")
    if "prompt" in accepted:
        settings["prompt"] = options.get("prompt", "")
    elif options.get("prompt"):
        raise SettingsError(f"prompt: expected none, {name} takes no prompt")
    multiple = _multiple(pipeline)
    if "size" not in options:
        size = _native_size(pipeline)
    white = white or ("known" if name in BLACK_IS_FILLED else "hole")
    takes_size = {"height", "width"} <= accepted.keys()
    lock = Lock()  # schedulers keep their place in the run

    def fill(hole: Hole) -> Pixels:
        import torch

        height, width = sides = working_size(hole.mask.shape, size, multiple)
        smooth = push_pull(to_picture(hole.pixels), hole.mask)
        mask = resize_mask(hole.mask, sides)
        arguments = settings | ({"height": height, "width": width} if takes_size else {})
        generator = torch.Generator("cpu").manual_seed(seed_of(seed, hole.case.key))
        picture = Image.fromarray(to_pixels(resize(smooth, sides)))
        white_mask = Image.fromarray(to_pixels(mask if white == "hole" else ~mask))
        try:
            with lock:
                answer = pipeline(
                    image=picture, mask_image=white_mask, generator=generator, output_type="np", **arguments
                ).images[0]  # (height, width, 3) in [0, 1]
        except Exception as error:  # whatever a foreign pipeline raises
            raise MoebiusError(f"{path}: fails at {hole.case.key}: {first_line(error)}") from error
        return to_pixels(resize(np.asarray(answer, np.float32), hole.mask.shape))

    identity = {
        "sha256": files_sha256(path, _files(path)), "pipeline": name, "settings": settings, "size": size,
        "multiple": multiple, "seed": seed, "white": white, "device": device, "dtype": dtype, **versions,
    }  # fmt: skip
    name = path.resolve().name
    title = title or method_title("diffusers", name, options)
    return Method(method_id("diffusers", name, options), title, fill, identity)


def working_size(shape: tuple[int, ...], size: int | None, multiple: int) -> tuple[int, int]:
    """(height, width) that a picture of shape (height, width) is filled at.

    Its shorter side becomes `size`, or stays for None; both are rounded to the nearest multiple.
    """
    scale = 1.0 if size is None else size / min(shape)
    height, width = (max(int(side * scale / multiple + 0.5), 1) * multiple for side in shape)
    return height, width


def seed_of(seed: int, key: str) -> int:
    """64 bits for a hole: the first of the Philox block that `sampling.normal` begins its draw with."""
    digest = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little")
    low = 0xFFFFFFFF
    counter = np.array([[0, 0, digest & low, digest >> 32]], np.uint64)
    words = philox(counter, (seed & low, seed >> 32))[0]
    return int(words[0]) | int(words[1]) << 32


def _settings(options: Options) -> dict[str, Any]:
    """Arguments of the call, by the pipelines' names for them."""
    values = {
        "steps": whole(options, "steps", 1, 10_000),
        "guidance": real(options, "guidance", 0, 1000),
        "strength": real(options, "strength", 0, 1),
    }
    return {ARGUMENTS[name]: value for name, value in values.items() if value is not None}


def _read_index(path: Path) -> dict[str, Any]:
    try:
        index = json.loads((path / "model_index.json").read_bytes())
    except (OSError, ValueError) as error:
        missing = "found no model_index.json to read"
        raise InputError(f"{path}: expected a diffusers pipeline, {missing}") from error
    if not isinstance(index, dict) or not isinstance(index.get("_class_name"), str):
        raise InputError(f"{path}: expected model_index.json to name a pipeline of diffusers, it does not")
    return index


def _import() -> dict[str, str]:
    """Import what pipelines need: versions by name."""
    try:
        import diffusers
        import torch
        import transformers
        from diffusers import AutoPipelineForInpainting  # noqa: F401  (diffusers imports at first use)
    except (ImportError, RuntimeError) as error:  # both wrap what fails below them, in either
        first: BaseException = error
        while first.__cause__ is not None:
            first = first.__cause__
        if isinstance(first, ModuleNotFoundError) and first.name:
            needed = f"pip install {first.name}"
            raise MoebiusError(f"pipelines need diffusers and transformers: {needed}") from error
        raise MoebiusError(f"diffusers and transformers cannot be imported: {first_line(first)}") from error
    return {module.__name__: module.__version__ for module in (diffusers, transformers, torch)}


def _load(path: Path, index: dict[str, Any], device: str, dtype: str) -> Any:
    """The folder's pipeline, or the one for inpainting of its kind, on a device; no checker, no progress bars."""
    import diffusers
    import torch

    name = index["_class_name"]
    kind = getattr(diffusers, name, None)
    if kind is None:
        raise InputError(f"{path}: expected a pipeline of diffusers {diffusers.__version__}, got {name}")
    takes_mask = {"image", "mask_image"} <= inspect.signature(kind.__call__).parameters.keys()
    loader = kind if takes_mask else diffusers.AutoPipelineForInpainting
    number = getattr(torch, dtype)
    settings: dict[str, Any] = {} if dtype == "float32" else {"dtype": number}
    if "safety_checker" in index:
        settings |= {"safety_checker": None, "requires_safety_checker": False}
    try:
        with _without_progress_bars():
            pipeline = loader.from_pretrained(str(path), local_files_only=True, **settings)
    except Exception as error:  # whatever a missing, damaged or foreign part of a pipeline raises
        if not takes_mask and "can't find a pipeline" in str(error):
            wanted = "a pipeline that takes image and mask_image"
            raise InputError(f"{path}: expected {wanted}, got {name}") from error
        raise InputError(f"{path}: {name} cannot be loaded: {first_line(error)}") from error
    pipeline.set_progress_bar_config(disable=True)
    try:
        pipeline = pipeline.to(device)
        # Older versions of diffusers pass over `dtype` above; where they do not, a cast would be warned of.
        return pipeline if pipeline.dtype == number else pipeline.to(number)
    except (RuntimeError, AssertionError) as error:
        raise DeviceError(f"device: expected one that torch can use here, got {device!r}") from error


def _best_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


@contextmanager
def _without_progress_bars() -> Iterator[None]:
    """While weights are read; as they were afterwards."""
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    enabled = [module for module in (of_diffusers, of_transformers) if module.is_progress_bar_enabled()]
    for module in enabled:
        module.disable_progress_bar()
    try:
        yield
    finally:
        for module in enabled:
            module.enable_progress_bar()


def _files(path: Path) -> list[Path]:
    """All that is in a folder, but for what is hidden."""
    files = (file for file in path.rglob("*") if file.is_file())
    return [file for file in files if not any(part[0] == "." for part in file.relative_to(path).parts)]


def _native_size(pipeline: Any) -> int | None:
    """The side of the squares that the pipeline was trained on, px; None = it does not say."""
    network = getattr(pipeline, "unet", None) or getattr(pipeline, "transformer", None)
    side = getattr(pipeline, "default_sample_size", None)
    side = side or getattr(network and network.config, "sample_size", None)
    if isinstance(side, list | tuple):
        side = min(side)
    return int(side) * int(getattr(pipeline, "vae_scale_factor", 1)) if side else None


def _multiple(pipeline: Any) -> int:
    """What the sides of pictures have to be multiples of."""
    processor = getattr(pipeline, "image_processor", None)
    factor = processor.config.vae_scale_factor if processor else getattr(pipeline, "vae_scale_factor", 8)
    return math.lcm(8, int(factor))
