"""The schedulers of diffusers that do what the library's own solvers do."""

from __future__ import annotations

import math
from typing import Any

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, SchedulerMixin
from torch import Tensor

from moebius.sampling.schedule import TRAIN_STEPS
from moebius.weights import ModelSpec

FIRST_BETA, LAST_BETA = 8.5e-4, 1.2e-2
"""Of `moebius.sampling.scaled_linear`."""
PREDICTIONS = {"epsilon": "epsilon", "v": "v_prediction", "sample": "sample"}

assert SchedulerMixin  # diffusers looks for it beside a scheduler's class, to know how it is loaded


class MoebiusDDIMScheduler(DDIMScheduler):  # type: ignore[misc]
    """DDIM from each timestep to the next one of `timesteps`, and from the last one to clean latents.

    diffusers' own steps to `timestep - num_train_timesteps // num_inference_steps`, which is another place wherever
    that division has a remainder.
    """

    alphas_cumprod: Tensor
    num_inference_steps: int | None

    def step(
        self,
        model_output: Tensor,
        timestep: Any,
        sample: Tensor,
        eta: float = 0.0,
        use_clipped_model_output: bool = False,
        generator: torch.Generator | None = None,
        variance_noise: Tensor | None = None,
        return_dict: bool = True,
    ) -> Any:
        """As `DDIMScheduler.step`.

        Raises:
            ValueError: `timestep` is none of `timesteps`.
        """
        here = (self.timesteps == int(timestep)).nonzero()
        if len(here) != 1:
            raise ValueError(f"timestep: expected one of {self.timesteps.tolist()}, got {int(timestep)}")
        after = self.timesteps[int(here) + 1 :]
        table, count = self.alphas_cumprod, self.num_inference_steps
        clean = table[int(after[0])] if len(after) else self.final_alpha_cumprod
        # The step from 1 to 0 of a schedule of two places.
        self.alphas_cumprod = torch.stack([clean.to(table), table[int(timestep)]])
        self.num_inference_steps = self.config.num_train_timesteps
        try:
            return super().step(
                model_output, 1, sample, eta, use_clipped_model_output, generator, variance_noise, return_dict
            )
        finally:
            self.alphas_cumprod, self.num_inference_steps = table, count


def make_scheduler(spec: ModelSpec) -> Any:
    """The scheduler of a model's own default solver; `from_config` of its config makes any other one.

    A model whose sampling begins at timestep n is given the first n + 1 training timesteps: sqrt(beta) runs linearly,
    so they are such a schedule themselves, and every scheduler's "trailing" spacing begins at n.
    """
    trailing = spec.spacing == "trailing"
    steps = spec.first_timestep + 1 if trailing else TRAIN_STEPS
    first, last = math.sqrt(FIRST_BETA), math.sqrt(LAST_BETA)
    end = (first + (last - first) * (steps - 1) / (TRAIN_STEPS - 1)) ** 2
    ddim = MoebiusDDIMScheduler(
        num_train_timesteps=steps,
        beta_start=FIRST_BETA,
        beta_end=end,
        beta_schedule="scaled_linear",
        prediction_type=PREDICTIONS[spec.prediction],
        timestep_spacing=spec.spacing,
        steps_offset=0,
        clip_sample=False,
        set_alpha_to_one=True,
    )
    if spec.defaults.solver == "ddim":
        return ddim
    return DPMSolverMultistepScheduler.from_config(
        ddim.config
    )  # keeps what it has no use for, and others have
