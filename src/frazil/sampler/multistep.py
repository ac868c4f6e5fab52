"""`DPMSolver2M`: second order with one evaluation a step, by the estimate of the step before."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import log
from typing import final

from torch import Tensor

from frazil.errors import InputError
from frazil.sampler.stepping import Estimate, Points, Step


@final
@dataclass(frozen=True)
class DPMSolver2M:
    """DPM-Solver++(2M) and its stochastic form (Lu 2022, arXiv 2211.01095, Algorithm 2 and section 4.3).

    Each step moves straight towards the estimate, extrapolated to the step's middle in lambda = -log(sigma) by its
    change since the step before. The first step has none before it, and the last gives the estimate itself. With `eta`
    above 0 (1 is SDE-DPM-Solver++(2M)) a move from s ends below the next level n, at n (n / s)^eta, and the next step
    adds the noise that is missing to n: to guidance and particle filters it is a step's fresh noise like any other.
    Guidance is not extrapolated.

    Parameters
    ----------
    eta : float
        Share of fresh noise: 0 for the probability-flow ODE, 1 for the reverse-time SDE.

    Raises
    ------
    InputError
        If `eta` is negative.

    Examples
    --------
    >>> import torch
    >>> [step.sigma_next for step in DPMSolver2M(eta=1.0).plan(torch.tensor([4.0, 2.0, 1.0, 0.0]))]
    [1.0, 0.5, 0.0]
    """

    eta: float = 0.0

    def __post_init__(self) -> None:
        if not self.eta >= 0:
            raise InputError(f"eta of DPM-Solver++(2M) is {self.eta}: give at least 0")

    def plan(self, sigmas: Tensor) -> tuple[Step, ...]:
        """See `Stepper.plan`; one read-back from the device, before the loop."""
        levels: list[float] = sigmas.tolist()
        num_steps = len(levels) - 1
        steps: list[Step] = []
        start, length_before = levels[0], 0.0
        for index, (level, level_next) in enumerate(pairwise(levels)):
            end = level_next * (level_next / level) ** self.eta
            length = log(level / level_next) if level_next > 0 else 0.0
            ahead = length / (2 * length_before) if length_before > 0 else 0.0
            steps.append(Step(index, num_steps, start, level, end, level**2 - start**2, 1.0, ahead))
            start, length_before = end, length
        return tuple(steps)

    def evaluations(self, num_steps: int) -> int:
        """See `Stepper.evaluations`: one a step."""
        return num_steps

    def advance(self, step: Step, estimate: Estimate, memory: Points) -> tuple[Tensor, Points]:
        """See `Stepper.advance`; remembers the unguided estimate."""
        target = estimate.denoised
        if memory:
            [before] = memory
            target = target + step.extrapolation * (estimate.unguided - before)
        return (1 - step.pull) * estimate.noisy + step.pull * target, (estimate.unguided,)
