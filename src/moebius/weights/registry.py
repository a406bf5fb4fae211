"""The models this program knows by name, with files, sizes, checksums, licences and their own best defaults.

Bundled models describe themselves: their entry is the `model.json` in their folder. The four published
checkpoints are described here. Upstream's folders are called `pretrained`, `ft_places2`, `ft_celebahq` and
`ft_ffhq`; they share one VAE.

Sizes and checksums: nobody publishes any; the ones below are what independent users of the files measured.
The other two checkpoints are checked against the checksum that the Hub states when they are downloaded, and so is
`taesdxl`, a tiny autoencoder by Ollin Boer Bohan, distilled from the VAE that the checkpoints share. "NAME-taesdxl" is
the same network with that one: 34 times smaller, for previews and for fills of few steps,
where the VAE is most of the time.

Guidance: the paper's table 6 finds 2.5 best for the Places2 checkpoint and 2.0 for portraits; there is none
for `pretrained`, 2.0 is what the release's README uses. Steps: the published 20. Start: the release noises
the photo itself, hole included, at timestep 900; here the hole is emptied first, so that nothing leaks.
Timesteps from 950 up were hardly ever drawn in training, so sampling begins at 900 as published.
"""

from __future__ import annotations

import difflib
import logging
from dataclasses import replace

from moebius.errors import CorruptWeightsError, UnknownModelError
from moebius.settings import DEFAULT_MODEL
from moebius.weights.cache import SPEC_FILE, bundled_home, imported_names, model_folder
from moebius.weights.spec import Defaults, ModelFile, ModelSpec, spec_from_json, spec_to_json
from moebius.weights.store import read_spec

__all__ = ["MODELS", "PUBLISHED", "ModelFile", "ModelSpec", "find", "spec_from_json", "spec_to_json"]

log = logging.getLogger(__name__)

PUBLISHED_DENOISER = {
    "latent_channels": 4,
    "latent_size": 64,
    "channels": [320, 640, 1280],
    "layers": 2,
    "heads": 8,
    "categories": 20,
    "category_channels": 3072,
    "context_channels": 768,
    "ffn_ratio": 2.5,
    "norm_groups": 32,
}
PUBLISHED_TEACHER = {
    "latent_channels": 4,
    "latent_size": 64,
    "channels": [320, 640, 1280, 1280],
    "layers": 2,
    "heads": 8,
    "categories": 20,
    "category_channels": 3072,
    "context_channels": 768,
    "norm_groups": 32,
}
PUBLISHED_VAE = ModelFile(
    repository="hustvl/PixelHacker",
    path="vae/diffusion_pytorch_model.bin",
    bytes=167_394_306,
    sha256="a59d7ea697f2942d22002dc3469e8c53db807a6b78f7f5ec03bd4c1f70f98efe",
)

TAESDXL = ModelFile(repository="madebyollin/taesdxl", path="diffusion_pytorch_model.safetensors")


def _published(
    name: str, upstream: str, title: str, guidance: float, size: int | None = None, sha256: str | None = None
) -> ModelSpec:
    checkpoint = ModelFile(
        repository="hustvl/Moebius", path=f"{upstream}/diffusion_pytorch_model.bin", bytes=size, sha256=sha256
    )
    return ModelSpec(
        name=name,
        title=title,
        licence="MIT",  # the weights' model card; the code beside them is Apache-2.0
        parameters=226_041_531,
        denoiser=PUBLISHED_DENOISER,
        defaults=Defaults(steps=20, guidance=guidance),
        files={"denoiser": checkpoint, "vae": PUBLISHED_VAE},
    )


_FULL = (
    _published("pretrained", "pretrained", "general purpose", 2.0, 905_297_927, "6c9ee08c"),
    _published(
        "places2",
        "ft_places2",
        "scenes",
        2.5,
        905_298_356,
        "6525afb888e55f9b5c74fa0a5d19ca0762d720d6c716fb0f8422fbeb6868a09a",
    ),
    _published("celebahq", "ft_celebahq", "portraits", 2.0),
    _published("ffhq", "ft_ffhq", "faces", 2.0),
)
PUBLISHED = (
    *_FULL,
    *(
        replace(
            spec,
            name=f"{spec.name}-taesdxl",
            title=f"{spec.title}, tiny autoencoder",
            latent_scale=1.0,  # its latents are the scaled ones
            files={**spec.files, "vae": TAESDXL},
        )
        for spec in _FULL
    ),
)

PIXELHACKER = ModelSpec(
    name="pixelhacker",
    title="PixelHacker, the network that Moebius was distilled from",
    licence="MIT",
    parameters=862_251_708,
    architecture="pixelhacker",
    denoiser=PUBLISHED_TEACHER,
    defaults=Defaults(steps=20, guidance=4.5),
    files={"vae": PUBLISHED_VAE},
)
"""What an imported PixelHacker checkpoint is taken for. Not a model known by name: this program has no download
of it. Fed and sampled as Moebius is; the guidance is its own release's (its paper's ablation prefers 2.0)."""


def _bundled() -> list[ModelSpec]:
    """Specs of the model folders inside the package; a damaged one is left out with a warning in the log."""
    specs = []
    for path in sorted(bundled_home().glob(f"*/{SPEC_FILE}")):
        try:
            specs.append(read_spec(path.parent))
        except CorruptWeightsError as error:
            log.warning("bundled model left out: %s", error)
    return specs


MODELS: dict[str, ModelSpec] = {spec.name: spec for spec in (*_bundled(), *PUBLISHED)}
"""Every model known by name on any machine; `find` knows those imported on this machine too."""


def find(name: str) -> ModelSpec:
    """The spec of a model known by name, here or anywhere.

    Raises:
        UnknownModelError: no such model; the message has the nearest names.
        CorruptWeightsError: a model imported under that name has a damaged model.json.
    """
    if name in MODELS:
        return MODELS[name]
    imported = imported_names()
    if name in imported:
        return read_spec(model_folder(name))
    if name == DEFAULT_MODEL:
        raise UnknownModelError(
            f"the bundled model {name} is missing from {bundled_home()}: reinstall moebius-inpaint"
        )
    known = [*MODELS, *imported]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(known)}"
    raise UnknownModelError(f"no model named {name!r}: {hint} (a model folder's path is accepted too)")
