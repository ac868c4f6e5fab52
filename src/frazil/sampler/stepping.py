"""How to step: the numbers of every step, known before the loop, and the move from one noise level to the next."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from typing import Protocol, final

import torch
from torch import Tensor


@dataclass(frozen=True)
class Step:
    """The plain numbers of one step; noise levels are in angstrom."""

    index: int
    """Position in the loop, from 0."""
    num_steps: int
    """Steps in all."""
    sigma: float
    """Noise level that the step starts from."""
    sigma_hat: float
    """Noise level after fresh noise is added: the one to denoise at."""
    sigma_next: float
    """Noise level that the step ends at."""
    noise_variance: float
    """Variance of the fresh noise, square angstrom; 0 for a deterministic step."""
    step_scale: float
    """Factor on the move, one for the whole trajectory; guidance must use the same."""

    @property
    def t(self) -> float:
        """Time that runs from 1 at the first step down to 1 / num_steps at the last."""
        return 1.0 - self.index / self.num_steps

    @property
    def is_last(self) -> bool:
        """Whether no step follows."""
        return self.index == self.num_steps - 1

    @property
    def noise_std(self) -> float:
        """Standard deviation of the fresh noise, angstrom."""
        return sqrt(self.noise_variance)


class Stepper(Protocol):
    """A method of stepping."""

    def plan(self, sigmas: Tensor) -> tuple[Step, ...]:
        """One `Step` for each pair of neighbours in `sigmas` [n + 1], which fall to 0."""
        ...

    def advance(self, step: Step, noisy: Tensor, denoised: Tensor) -> Tensor:
        """Coordinates [B, S, A, 3] at `step.sigma_next` from those at `step.sigma_hat` and their denoised estimate."""
        ...


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
    >>> [step] = StochasticEuler(gamma_0=0.0, step_scale=1.0).plan(torch.tensor([4.0, 0.0]))
    >>> StochasticEuler(gamma_0=0.0, step_scale=1.0).advance(step, torch.tensor(3.0), torch.tensor(1.0))
    tensor(1.)
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

    def advance(self, step: Step, noisy: Tensor, denoised: Tensor) -> Tensor:
        """See `Stepper.advance`."""
        slope = (noisy - denoised) / step.sigma_hat
        return noisy + step.step_scale * (step.sigma_next - step.sigma_hat) * slope
