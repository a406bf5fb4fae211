"""The training loop: one for every objective, on one process or many, on a CPU or GPUs.

    train(load_recipe("tiny-test"), [Path("photos")], Path("runs/tiny"))

Read `_Run.go` for the loop. All randomness is a function of (seed, position), so a run that is stopped, or killed,
goes on from its last checkpoint as if nothing had happened: on a CPU, to the bit.
"""

from __future__ import annotations

import logging
import math
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from torch import Tensor, nn

from moebius.errors import (
    InputError,
    OutputError,
    TrainingError,
)
from moebius.training.averaging import Average
from moebius.training.checkpoint import Restored, check_same_run, load_checkpoint, save_checkpoint
from moebius.training.data.latents import LatentCache
from moebius.training.data.loader import Batch, batches
from moebius.training.data.sources import open_sources, split
from moebius.training.finish import finish
from moebius.training.inputs import Feeder, Inputs
from moebius.training.models import Models, open_models
from moebius.training.objectives import Goal, Objective, autocast, coarse_feature
from moebius.training.optimize import make_optimizer, rate_at
from moebius.training.recipe import Recipe
from moebius.training.runlog import RunLog, peak_memory
from moebius.training.setup import check_device, make_objective, open_lpips, probes
from moebius.training.stop import StopSign
from moebius.training.validate import HeldOut
from moebius.training.weighting import GradientNormWeights, vectors

log = logging.getLogger(__name__)

Watch = Callable[[int, int, str], None]
"""Told of progress: steps done, of how many, and a few words."""


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What does not change what a run makes."""

    device: str = "auto"
    """"auto", "cpu" or "cuda"."""
    loaders: int = 0
    """Processes that prepare photos and masks; 0 = a thread of this one."""
    cache: Path | None = None
    """Folder of encoded photos; for recipes with fixed crops (`data.views`)."""
    features: Path | None = None
    """LPIPS-squeeze weights (safetensors), for picture losses and held-out fills."""
    save_every: float = 120.0
    """Seconds between checkpoints."""
    minutes: float | None = None
    """Stop after that long, with a checkpoint to go on from."""
    release: Literal["best", "last"] = "best"
    """Which averaged weights become the model."""
    name: str = "trained"
    """The model's name."""
    watch: Watch | None = None


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    out: Path
    step: int
    finished: bool
    """False: stopped early; the same command goes on."""
    model: Path | None
    """The model folder, once finished."""
    held_out: dict[str, float]
    """The last measurements on held-out photos."""
    broken: int
    """Photos that could not be read and were skipped, as often as they came up."""


def train(recipe: Recipe, data: Sequence[Path], out: Path, options: RunOptions | None = None) -> Outcome:
    """Run, or go on with, the training in `out`.

    `out` then holds checkpoint.safetensors (the newest state), best.safetensors (the best on held-out photos),
    log.jsonl, tensorboard/, samples/ and, at the end, model/: a folder that `moebius inpaint --model` takes.

    Raises:
        InputError: the data cannot be used.
        WeightsError: a model, the LPIPS weights or the checkpoint in `out` are not to be had, or damaged.
        SettingsError: the recipe's networks or values do not fit together.
        DeviceError: the device is not available.
        TrainingError: the loss is no number any more, or `out` holds another run.
        OutputError: a checkpoint cannot be written; the last good one is kept.
    """
    run = _Run(recipe, data, out, options or RunOptions())
    try:
        return run.go()
    finally:
        run.close()


class _Run:
    """Everything a run holds; `go` is the loop."""

    def __init__(self, recipe: Recipe, data: Sequence[Path], out: Path, options: RunOptions):
        self.options, self.out = options, out
        check_device(options.device)
        self.accelerator = Accelerator(
            cpu=options.device == "cpu",
            kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
        )
        self.device: torch.device = self.accelerator.device
        self.rank, self.ranks = self.accelerator.process_index, self.accelerator.num_processes
        self.recipe, models = open_models(recipe, options.name)
        self.models: Models = models
        self.train_source, self.held_source = split(open_sources(data), self.recipe.data.holdout)
        if not len(self.train_source):
            raise InputError(
                f"expected photos to train on, got {len(self.held_source)}, all of them held out"
            )
        self._prepare_networks()
        self.feeder = Feeder(self.recipe, models.coder, models.config.tokens, self.device, cache=None)
        self.lpips = open_lpips(self.options.features, self.device)
        self.average = Average(self.plain, self.recipe.run.ema)
        self.objective: Objective = make_objective(
            self.recipe, models, self.feeder, self.lpips, lambda: self.average.module
        )
        self.weights = GradientNormWeights(self.recipe.loss)
        self.output_probe, self.feature_probe = probes(self.plain, self.recipe)
        self.best, self.broken, self.waited = math.inf, 0, 0.0
        self.held: HeldOut | None = None
        self.measured: dict[str, float] = {}
        first = self._restore()
        self.first = first.step
        self.feeder.cache = self._cache()
        self.log = RunLog(out, first.step) if self.accelerator.is_main_process else None

    # The loop

    def go(self) -> Outcome:
        recipe, run = self.recipe, self.recipe.run
        began = saved = time.monotonic()
        reports: list[dict[str, Tensor]] = []
        rows = 0
        finished = self.first >= run.steps
        if finished:
            self._validate(run.steps)
        with StopSign(self.options.minutes) as sign:
            stream = self._stream(self.first, run.steps)
            for step in range(self.first, run.steps):
                for group in self.optimizer.param_groups:
                    group["lr"] = rate_at(recipe, step)
                seen: list[Batch] = []
                for micro in range(run.accumulate):
                    batch = self._next(stream)
                    seen.append(batch)
                    last = micro + 1 == run.accumulate
                    with nullcontext() if last else self.accelerator.no_sync(self.net):
                        reports.append(self.forward_backward(self.feeder(batch)))
                    rows += len(batch.keys) * self.ranks
                norm = self.accelerator.clip_grad_norm_(self.net.parameters(), recipe.optimizer.clip)
                self._check_finite(norm, step, seen, reports[-run.accumulate :])
                self.optimizer.step()
                self.optimizer.zero_grad(set_to_none=True)
                stop = self._share_statistics(sign.seen)
                self.average.update(self.plain)

                done = step + 1
                finished = done == run.steps
                if done % run.log_every == 0 or finished:
                    self._report(done, reports, rows / (time.monotonic() - began), float(norm))
                    reports.clear()
                if finished or (run.validate_every and done % run.validate_every == 0):
                    self._validate(done)
                if finished or stop or time.monotonic() - saved > self.options.save_every:
                    self._save("checkpoint.safetensors", done)
                    saved = time.monotonic()
                if stop and not finished:
                    return Outcome(self.out, done, False, None, self.measured, self.broken)
        model = self._finish() if finished else None
        return Outcome(self.out, run.steps, True, model, self.measured, self.broken)

    def forward_backward(self, inputs: Inputs) -> dict[str, Tensor]:
        """One pass: gradients are added to the network's; returns the losses, ratios and norms, not yet read."""
        goal: Goal = self.objective.goal(inputs)
        seen = goal.inputs or inputs
        with autocast(self.recipe, self.device):
            predicted, features = self.net(seen.x, seen.timesteps, seen.ids, return_features=True)
        predicted = predicted.float()
        at_output = vectors(goal.output, predicted)
        at_feature, feature = None, None
        if goal.feature is not None:
            feature = coarse_feature(features, self.recipe)
            at_feature = vectors({"coarse": goal.feature}, feature)["coarse"]
        balanced = self.weights(
            predicted, feature, at_output, at_feature, self.output_probe, self.feature_probe,
            reduce=self._mean if self.ranks > 1 else None,
        )  # fmt: skip
        # Its gradient is the weighted loss's: one backward pass for all terms.
        self.accelerator.backward(balanced.backward_through(predicted, feature) / self.recipe.run.accumulate)
        values = {name: value for name, (value, _) in at_output.items()}
        if at_feature is not None:
            values["coarse"] = at_feature[0]
        return {"loss": balanced.total, **values, **balanced.ratios, **balanced.norms}

    # Its parts

    def _prepare_networks(self) -> None:
        models, recipe = self.models, self.recipe
        layout = torch.channels_last if recipe.run.channels_last else torch.contiguous_format
        net = models.net.to(self.device).to(memory_format=layout)  # type: ignore[call-overload]
        if hasattr(net, "gradient_checkpointing"):
            net.gradient_checkpointing = recipe.run.gradient_checkpointing
        net.train()
        half = recipe.run.precision == "bfloat16" and self.device.type == "cuda"
        models.coder.to(self.device, torch.bfloat16 if half else torch.float32)  # frozen; as released
        if models.teacher is not None:
            models.teacher.to(self.device).to(memory_format=layout)  # type: ignore[call-overload]
        optimizer = make_optimizer(net, recipe.optimizer)
        with warnings.catch_warnings():  # accelerate knows no other name for it yet
            warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
            self.net, self.optimizer = self.accelerator.prepare(net, optimizer)
        self.plain: nn.Module = self.accelerator.unwrap_model(self.net)
        if recipe.run.compile:
            self.net = torch.compile(self.net)

    def _cache(self) -> LatentCache | None:
        views, coder = self.recipe.data.views, self.models.coder
        if not views or len(self.recipe.data.sizes) > 1:
            return None
        folder = self.options.cache or self.out / "latents"
        side = self.recipe.data.sizes[0] // coder.factor
        with self.accelerator.main_process_first():
            return LatentCache(
                folder, rows=len(self.train_source) * views, channels=coder.channels, side=side,
                autoencoder=self.models.digests["autoencoder"],
            )  # fmt: skip

    def _stream(self, first: int, steps: int) -> Any:
        return batches(
            self.train_source, self.recipe.data, seed=self.recipe.seed, batch=self.recipe.run.batch,
            first_step=first, steps=steps, rank=self.rank, ranks=self.ranks,
            accumulate=self.recipe.run.accumulate, workers=self.options.loaders,
        )  # fmt: skip

    def _next(self, stream: Any) -> Batch:
        began = time.monotonic()
        batch: Batch = next(stream)
        self.waited += time.monotonic() - began
        for key, reason in batch.broken:
            self.broken += 1
            log.warning("skipped %s: %s", key, reason)
        return batch

    def _mean(self, values: Tensor) -> Tensor:
        reduced: Tensor = self.accelerator.reduce(values, reduction="mean")
        return reduced

    def _share_statistics(self, stop: bool) -> bool:
        """Average the batch-norm statistics over the processes; True if any of them shall stop."""
        if self.ranks == 1:
            return stop
        buffers = [b for b in self.plain.buffers() if b.is_floating_point()]
        sign = torch.tensor([float(stop)], device=self.device)
        flat = self._mean(torch.cat([*(b.reshape(-1) for b in buffers), sign]))
        for buffer, mean in zip(buffers, torch.split(flat, [*(b.numel() for b in buffers), 1]), strict=False):
            buffer.copy_(mean.view_as(buffer))
        return bool(flat[-1] > 0)

    def _check_finite(
        self, norm: Tensor, step: int, seen: list[Batch], reports: list[dict[str, Tensor]]
    ) -> None:
        if math.isfinite(float(norm)):
            return
        losses = [float(report["loss"]) for report in reports]
        first = next((i for i, loss in enumerate(losses) if not math.isfinite(loss)), -1)
        batch, loss = seen[first], losses[first]
        kept = self.out / "checkpoint.safetensors"
        state = f"the last good state is in {kept}" if kept.exists() else "no checkpoint was written yet"
        raise TrainingError(
            f"step {step + 1}: expected a finite loss and gradient, got loss {loss:g} and norm {float(norm):g} "
            f"in the batch {', '.join(batch.keys[:4])}{', ...' if len(batch.keys) > 4 else ''}; {state}"
        )

    def _report(self, step: int, reports: list[dict[str, Tensor]], pace: float, norm: float) -> None:
        if self.log is None:
            return
        names = dict.fromkeys(name for report in reports for name in report)
        values: dict[str, Any] = {
            name: sum(float(r[name]) for r in reports if name in r) / sum(name in r for r in reports)
            for name in names
        }
        values |= {
            "lr": rate_at(self.recipe, step - 1), "gradient_norm": norm, "images_per_second": pace,
            "seconds_waited_for_data": self.waited, "memory_gib": peak_memory(self.device),
            "broken": self.broken, "time": round(time.time()),
        }  # fmt: skip
        self.log.report(step, "train", values)
        if self.options.watch is not None:
            words = f"loss {values['loss']:.4f}, {pace:.1f} images/s"
            self.options.watch(step, self.recipe.run.steps, words)

    def _validate(self, step: int) -> None:
        if self.log is None or not len(self.held_source):
            return
        if self.held is None:
            self.held = HeldOut(self.recipe, self.feeder, self._held_batches(), self.models.spec)
        values = self.held.losses(self.average.module, self.objective)
        if self.recipe.run.pictures:
            errors, sheet = self.held.fills(self.average.module, self.lpips)
            values |= errors
            self.log.picture(step, sheet)
        self.measured = values
        self.log.report(step, "held-out", values)
        if values["held_out"] < self.best:
            self.best = values["held_out"]
            self._save("best.safetensors", step)

    def _held_batches(self) -> list[Batch]:
        recipe = self.recipe.data
        fixed = replace(recipe, sizes=(max(recipe.sizes),), views=0, id_dropout=0.0, flip=0.0)
        size = min(self.recipe.run.batch, self.recipe.run.held_out)
        return list(
            batches(
                self.held_source, fixed, seed=self.recipe.seed + 1, batch=size, first_step=0,
                steps=-(-self.recipe.run.held_out // size),
            )
        )  # fmt: skip

    def _notes(self) -> dict[str, Any]:
        return {"best": None if math.isinf(self.best) else self.best, "models": self.models.digests}

    def _save(self, name: str, step: int) -> None:
        if self.accelerator.is_main_process:
            save_checkpoint(
                self.out / name, net=self.plain, ema=self.average.module, optimizer=self.optimizer, step=step,
                recipe=self.recipe.to_dict(), extra=self.weights.state_dict(), notes=self._notes(),
            )  # fmt: skip

    def _restore(self) -> Restored:
        try:
            self.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            found = "a file" if self.out.is_file() else error.strerror
            raise OutputError(f"{self.out}: expected a folder for the run, got {found}") from error
        path = self.out / "checkpoint.safetensors"
        if not path.exists():
            return Restored(0)
        check_same_run(path, self.recipe.to_dict(), self._notes())
        restored = load_checkpoint(path, net=self.plain, ema=self.average.module, optimizer=self.optimizer)
        self.average.step = restored.step
        self.weights.load_state_dict(restored.extra)
        if restored.notes.get("best") is not None:
            self.best = restored.notes["best"]
        log.info("going on from step %d", restored.step)
        return restored

    def _finish(self) -> Path | None:
        if self.log is None:
            return None
        best = self.out / "best.safetensors"
        chosen = (
            best if self.options.release == "best" and best.exists() else self.out / "checkpoint.safetensors"
        )
        return finish(
            chosen, self.out / "model", recipe=self.recipe, models=self.models, feeder=self.feeder,
            source=self.train_source, held=self.held, objective=self.objective, log=self.log,
        )  # fmt: skip

    def close(self) -> None:
        if self.log is not None:
            self.log.close()
        if self.feeder.cache is not None:
            self.feeder.cache.close()
        self.accelerator.end_training()
