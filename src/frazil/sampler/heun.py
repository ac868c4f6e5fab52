"""`Heun`: second order by a second evaluation at the end of each step."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import inf, sqrt
from typing import final

from torch import Tensor

from frazil.errors import InputError
from frazil.sampler.stepping import Estimate, Points, Step


@final
@dataclass(frozen=True)
class Heun:
    """Heun's method (Karras 2022, Algorithm 1), with `churn` the stochastic sampler with fresh noise (Algorithm 2).

    The slope of a step is the mean of those at both its ends, the second at coordinates that an Euler step predicts:
    two evaluations, but one at the last step, which gives the estimate itself. Both evaluations are of the unguided
    course; the displacement that guidance made to the first estimate stands for the second too, so that a step moves by
    `step.pull` times that displacement.

    Parameters
    ----------
    churn : float
        S_churn, noise over the whole run: each noise level is raised by `churn` / steps, at most sqrt(2) - 1.
    churn_min, churn_max : float
        Noise is added only where the level is within these, angstrom.
    noise_scale : float
        Factor on the fresh noise.

    Raises
    ------
    InputError
        If a number is negative.

    Examples
    --------
    >>> import torch
    >>> [round(step.sigma_hat, 6) for step in Heun(churn=1.0).plan(torch.tensor([4.0, 2.0, 0.0]))]
    [5.656854, 2.828427]
    >>> Heun().evaluations(10)
    19
    """

    churn: float = 0.0
    churn_min: float = 0.0
    churn_max: float = inf
    noise_scale: float = 1.0

    def __post_init__(self) -> None:
        for name in ("churn", "churn_min", "churn_max", "noise_scale"):
            if not getattr(self, name) >= 0:
                raise InputError(f"{name} of Heun's method is {getattr(self, name)}: give at least 0")

    def plan(self, sigmas: Tensor) -> tuple[Step, ...]:
        """See `Stepper.plan`; one read-back from the device, before the loop."""
        levels: list[float] = sigmas.tolist()
        num_steps = len(levels) - 1
        rise = min(self.churn / num_steps, sqrt(2) - 1)
        steps = []
        for index, (sigma, sigma_next) in enumerate(pairwise(levels)):
            sigma_hat = sigma * (1 + (rise if self.churn_min <= sigma <= self.churn_max else 0.0))
            variance = self.noise_scale**2 * (sigma_hat**2 - sigma**2)
            steps.append(Step(index, num_steps, sigma, sigma_hat, sigma_next, variance, step_scale=1.0))
        return tuple(steps)

    def evaluations(self, num_steps: int) -> int:
        """See `Stepper.evaluations`."""
        return 2 * num_steps - 1

    def advance(self, step: Step, estimate: Estimate, memory: Points) -> tuple[Tensor, Points]:
        """See `Stepper.advance`; remembers nothing."""
        if step.is_last:
            return estimate.denoised, ()
        slope = (estimate.noisy - estimate.unguided) / step.sigma_hat
        predicted = estimate.noisy + (step.sigma_next - step.sigma_hat) * slope
        slope_next = (predicted - estimate.again(predicted, step.sigma_next)) / step.sigma_next
        unguided = estimate.noisy + (step.sigma_next - step.sigma_hat) * (slope + slope_next) / 2
        return unguided + step.pull * (estimate.denoised - estimate.unguided), ()
