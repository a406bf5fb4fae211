"""The end of a run: batch-norm statistics estimated anew for inference, and a model folder to use."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from moebius.networks import build_denoiser
from moebius.training.checkpoint import read_average
from moebius.training.data.loader import batches
from moebius.training.data.sources import Source
from moebius.training.inputs import Feeder
from moebius.training.models import Models
from moebius.training.objectives import Objective
from moebius.training.recipe import Recipe
from moebius.training.runlog import RunLog
from moebius.training.statistics import inference_inputs, reestimate
from moebius.training.validate import HeldOut
from moebius.weights import save_folder
from moebius.weights.download import add_vae


def finish(
    checkpoint: Path, out: Path, *, recipe: Recipe, models: Models, feeder: Feeder, source: Source,
    held: HeldOut | None, objective: Objective, log: RunLog,
) -> Path:  # fmt: skip
    """Write the model folder `out` from the averaged weights in `checkpoint`; returns it.

    Training-mode statistics come from small batches of mixed timesteps. Before release they are averaged anew over
    `run.settle` batches whose timesteps and ids are those of inference; what that does to the held-out losses is
    logged. If it makes them worse, the running statistics are kept.
    """
    net = build_denoiser(models.spec.architecture, models.config).to(feeder.device)
    state = read_average(checkpoint)
    net.load_state_dict(state)
    net.eval()
    before = held.losses(net, objective)["held_out"] if held is not None else None
    if recipe.run.settle and any(isinstance(module, _BatchNorm) for module in net.modules()):
        reestimate(net, _inputs(recipe, feeder, source, models))
        net.eval()
        after = held.losses(net, objective)["held_out"] if held is not None else None
        kept = before is None or after is None or after <= before
        if not kept:
            net.load_state_dict(state)
        if before is not None and after is not None:
            values = {"held_out_before": before, "held_out_after": after, "kept": kept}
            log.report(recipe.run.steps, "settled", values)
    _write(out, net, models, recipe)
    return out


def _inputs(
    recipe: Recipe, feeder: Feeder, source: Source, models: Models
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Inputs like those of inference, from training photos at positions that training did not use."""
    data = replace(recipe.data, views=0, id_dropout=0.0)
    stream = batches(
        source, data, seed=recipe.seed + 2, batch=recipe.run.batch, first_step=0, steps=recipe.run.settle
    )
    both = recipe.data.opposite == "foreground"  # with dropped ids the second half is a tenth of what is seen
    for index, batch in enumerate(stream):
        yield from inference_inputs(
            feeder(batch), steps=recipe.run.sample_steps, index=index, both_categories=both
        )


def _write(out: Path, net: nn.Module, models: Models, recipe: Recipe) -> None:
    tensors = {f"denoiser.{name}": tensor.cpu() for name, tensor in net.state_dict().items()}
    tensors |= models.lender.tensors()
    extra = {"recipe.json": json.dumps(recipe.to_dict(), indent=1).encode()}
    save_folder(out, models.spec, tensors, extra=extra, overwrite=True)
    if models.spec.autoencoder is None:
        add_vae(out, models.spec, *models.lender.vae())
