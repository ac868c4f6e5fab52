"""`StochasticEuler`: the reference's method, of first order."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import final

import torch
from torch import Tensor

from frazil.sampler.stepping import Estimate, Points, Step


@final
@dataclass(frozen=True)
class StochasticEuler:
    """Euler step with fresh noise (Karras 2022, Algorithm 2 without the correction; AlphaFold 3, Algorithm 18).

    `gamma_0` = 0 and `step_scale` = 1 make it the deterministic Euler method for the probability-flow ODE. Whoever
    wants a random step scale draws it once for a trajectory and makes the object with it, so that no step sees another.

    Parameters
    ----------
    gamma_0 : float
        Relative rise of the noise level before denoising.
    gamma_min : float
        Noise is added only where the *next* noise level is above this, angstrom.
    noise_scale : float
        Factor on the fresh noise.
    step_scale : float
        Factor on the move.

    Examples
    --------
    >>> [step.sigma_hat for step in StochasticEuler(gamma_0=0.5).plan(torch.tensor([4.0, 2.0, 0.0]))]
    [6.0, 2.0]
    """

    gamma_0: float = 0.8
    gamma_min: float = 1.0
    noise_scale: float = 1.003
    step_scale: float = 1.5

    def plan(self, sigmas: Tensor) -> tuple[Step, ...]:
        """See `Stepper.plan`; one read-back from the device, before the loop."""
        levels: list[float] = sigmas.tolist()
        # Rounded to float32 as the levels are, for parity with the reference.
        gamma_0 = float(torch.tensor(self.gamma_0, dtype=torch.float32))
        steps = []
        for index, (sigma, sigma_next) in enumerate(pairwise(levels)):
            gamma = gamma_0 if sigma_next > self.gamma_min else 0.0
            sigma_hat = sigma * (1 + gamma)
            variance = self.noise_scale**2 * (sigma_hat**2 - sigma**2)
            steps.append(Step(index, len(levels) - 1, sigma, sigma_hat, sigma_next, variance, self.step_scale))
        return tuple(steps)

    def evaluations(self, num_steps: int) -> int:
        """See `Stepper.evaluations`: one a step."""
        return num_steps

    def advance(self, step: Step, estimate: Estimate, memory: Points) -> tuple[Tensor, Points]:
        """See `Stepper.advance`; remembers nothing."""
        slope = (estimate.noisy - estimate.denoised) / step.sigma_hat
        return estimate.noisy + step.step_scale * (step.sigma_next - step.sigma_hat) * slope, ()
