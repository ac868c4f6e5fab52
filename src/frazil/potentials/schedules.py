"""Schedules: a weight or a parameter as a function of time t, which runs from 1 at the first step to 0 at the end."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from math import exp, expm1
from typing import Protocol, final

from frazil.errors import InputError

_STRAIGHT = 1e-9


class Schedule(Protocol):
    """A number for each time."""

    def at(self, t: float) -> float:
        """The value at time `t` in [0, 1]."""
        ...


@final
@dataclass(frozen=True)
class Constant:
    """The same at all times.

    >>> Constant(0.5).at(0.3)
    0.5
    """

    value: float
    """The value."""

    def at(self, t: float) -> float:
        """See `Schedule.at`."""
        return self.value


@final
@dataclass(frozen=True)
class Steps:
    """Constant between thresholds: `values[i]` up to and including `thresholds[i]`, the last value above all.

    Raises
    ------
    InputError
        If the thresholds do not rise, or there is not one more value than thresholds.

    Examples
    --------
    >>> weight = Steps(thresholds=(0.25, 0.75), values=(0.0, 0.5, 1.0))
    >>> weight.at(0.25), weight.at(0.3), weight.at(1.0)
    (0.0, 0.5, 1.0)
    """

    thresholds: tuple[float, ...]
    """Times, rising."""
    values: tuple[float, ...]
    """One more than thresholds."""

    def __post_init__(self) -> None:
        if len(self.values) != len(self.thresholds) + 1 or list(self.thresholds) != sorted(set(self.thresholds)):
            raise InputError(
                f"steps of a schedule: thresholds {self.thresholds} must rise, with one value more than thresholds, "
                f"not {self.values}"
            )

    def at(self, t: float) -> float:
        """See `Schedule.at`."""
        return self.values[bisect_left(self.thresholds, t)]


@final
@dataclass(frozen=True)
class Exponential:
    """From `start` at t = 0 to `end` at t = 1, along (exp(alpha t) - 1) / (exp(alpha) - 1); straight at alpha = 0.

    >>> round(Exponential(start=8.0, end=0.0, alpha=-2.0).at(0.5), 3)
    2.152
    """

    start: float
    """Value at t = 0."""
    end: float
    """Value at t = 1."""
    alpha: float
    """Bend: below 0 most of the change is at small t."""

    def at(self, t: float) -> float:
        """See `Schedule.at`."""
        if abs(self.alpha) < _STRAIGHT:
            return self.start + (self.end - self.start) * t
        # with falling exponentials only, so that none overflows
        fall = -abs(self.alpha)
        fraction = expm1(fall * t) / expm1(fall)
        if self.alpha > 0:
            fraction *= exp(fall * (1 - t))
        return self.start + (self.end - self.start) * fraction
