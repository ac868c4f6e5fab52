"""What a method of stepping is: the numbers of every step, known before the loop, and the move to the next level."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from typing import Protocol

from torch import Tensor

Points = tuple[Tensor, ...]
"""What a method remembers of the steps before: points [B, S, A, 3] in the frame of the samples, in angstrom. The loop
moves, aligns and selects them as it does the samples; () before the first step, and always if nothing is needed."""


@dataclass(frozen=True)
class Step:
    """The plain numbers of one step; noise levels are in angstrom."""

    index: int
    """Position in the loop, from 0."""
    num_steps: int
    """Steps in all."""
    sigma: float
    """Noise level that the step starts from: `sigma_next` of the step before."""
    sigma_hat: float
    """Noise level after fresh noise is added: the one to denoise at."""
    sigma_next: float
    """Noise level that the step ends at."""
    noise_variance: float
    """Variance of the fresh noise, square angstrom; 0 for a deterministic step."""
    step_scale: float
    """Factor on the move, one for the whole trajectory; guidance must use the same."""
    extrapolation: float = 0.0
    """Share of the estimate's change since the step before that is added to it; 0 for a one-step method."""

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

    @property
    def pull(self) -> float:
        """How far the coordinates move towards the estimate: 1 puts them on it."""
        return self.step_scale * (1 - self.sigma_next / self.sigma_hat)


@dataclass(frozen=True, eq=False)
class Estimate:
    """What a step moves by: coordinates in angstrom, [B, S, A, 3], all in one frame."""

    noisy: Tensor
    """At `step.sigma_hat`; laid onto `denoised` where the loop aligns."""
    denoised: Tensor
    """Estimate of the clean coordinates, held and guided."""
    unguided: Tensor
    """The same before guidance; the same tensor without any."""
    again: Callable[[Tensor, float], Tensor]
    """Denoises other coordinates [B, S, A, 3] at another level (angstrom, above 0), held and in the same frame but not
    guided: one more evaluation of the network."""


class Stepper(Protocol):
    """A method of stepping.

    The loop adds the fresh noise, before it denoises. Noise that a method adds after its move is that of the next step:
    such a move ends at a lower level, from which the next step's noise leads back up (`DPMSolver2M`).

    Guidance displaces the estimate that a step moves towards, once: the coordinates end up `step.pull` times the
    displacement from where they would have been. Whatever else a method makes of estimates (an extrapolation, a second
    evaluation) it makes of the unguided ones. So a particle filter's correction for guidance is exact for each of them.
    """

    def plan(self, sigmas: Tensor) -> tuple[Step, ...]:
        """One `Step` for each pair of neighbours in `sigmas` [n + 1], which fall to 0."""
        ...

    def evaluations(self, num_steps: int) -> int:
        """Calls of the network for each sample in a run of so many steps."""
        ...

    def advance(self, step: Step, estimate: Estimate, memory: Points) -> tuple[Tensor, Points]:
        """Coordinates [B, S, A, 3] at `step.sigma_next`, and what to remember; `memory` is of the step before."""
        ...
