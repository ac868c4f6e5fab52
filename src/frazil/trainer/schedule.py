"""The learning rate: warm-up, constant, then linear to zero; a function of the step alone once the decay has begun.

A rate that followed the clock would make no run repeatable. So the clock only decides *when* the decay begins and how
many steps it takes; both numbers are then kept in the checkpoint. A run bounded by steps never looks at the clock.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class LearningRate:
    """Rate by step.

    Examples
    --------
    >>> rate = LearningRate(peak=1.0, warmup_steps=9, decay_fraction=0.5)
    >>> rate.at(4), rate.at(200)
    (0.5, 1.0)
    >>> rate = rate.begin(step=99, elapsed=0.0, max_steps=200).begin(100, 0.0, max_steps=200)
    >>> rate.at(100), rate.at(150), rate.at(200)
    (1.0, 0.5, 0.0)
    """

    peak: float
    """Rate after the warm-up."""
    warmup_steps: int
    """Steps of linear rise."""
    decay_fraction: float
    """Last part of the budget given to the decay."""
    decay_start: int | None = None
    """Step at which the decay began; None before it has."""
    decay_steps: int = 0
    """Steps from there to zero."""

    def at(self, step: int) -> float:
        """Rate of the step that follows `step` finished ones."""
        warm = min(1.0, (step + 1) / (self.warmup_steps + 1)) if self.warmup_steps else 1.0
        if self.decay_start is None:
            return self.peak * warm
        return self.peak * warm * max(0.0, 1.0 - (step - self.decay_start) / self.decay_steps)

    def begin(
        self, step: int, elapsed: float, *, max_steps: int | None = None, max_seconds: float | None = None,
        steps_per_second: float = 0.0,
    ) -> LearningRate:  # fmt: skip
        """This schedule, its decay begun if the budget says that it is time.

        Parameters
        ----------
        step : int
            Finished steps.
        elapsed : float
            Seconds spent.
        max_steps, max_seconds : optional
            Budget; the bound that comes first counts.
        steps_per_second : float
            Speed, used where the time is the bound; 0 where it is not known yet.
        """
        if self.decay_start is not None or not self.decay_fraction:
            return self
        hold = 1.0 - self.decay_fraction
        by_steps = max_steps is not None and step >= round(hold * max_steps)
        by_time = max_seconds is not None and elapsed >= hold * max_seconds and steps_per_second > 0
        if not (by_steps or by_time):
            return self
        left = math.inf if max_steps is None else max_steps - step
        if by_time and max_seconds is not None:
            left = min(left, (max_seconds - elapsed) * steps_per_second)
        return replace(self, decay_start=step, decay_steps=max(1, round(left)))

    def renew(self) -> LearningRate:
        """The schedule before its decay, for a run that goes on with another budget."""
        return replace(self, decay_start=None, decay_steps=0)
