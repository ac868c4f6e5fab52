"""Intervals: how far a value lies outside its bounds, on a line or on a circle."""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import pi
from typing import final

import torch
from torch import Tensor


class Interval(ABC):
    """How values are compared with bounds."""

    @abstractmethod
    def outside(self, value: Tensor, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
        """Distance of `value` [..., T] from [`lower`, `upper`] [T], 0 within, and its derivative: -1, 0 or 1."""


@final
class Straight(Interval):
    """On a line; bounds may be infinite.

    >>> Straight().outside(torch.tensor([1.0, 5.0]), torch.tensor(2.0), torch.tensor(4.5))
    (tensor([1.0000, 0.5000]), tensor([-1.,  1.]))
    """

    def outside(self, value: Tensor, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
        """See `Interval.outside`."""
        below, above = lower - value, value - upper
        excess = torch.maximum(below, above).clamp(min=0)
        return excess, torch.where(above > below, 1, -1) * (excess > 0).to(value.dtype)


@final
class Periodic(Interval):
    """On a circle, radians; the window runs upwards from `lower` to `upper`, an infinite bound is half a turn.

    Diametrically opposite the window's middle, it is left upwards.

    >>> outside, slope = Periodic().outside(torch.tensor([-3.0]), torch.tensor([2.5]), torch.tensor([3.0]))
    >>> round(float(outside), 4), float(slope)
    (0.2832, 1.0)
    """

    def outside(self, value: Tensor, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
        """See `Interval.outside`."""
        lower, upper = lower.nan_to_num(neginf=-pi), upper.nan_to_num(posinf=pi)
        offset = value - (lower + upper) / 2
        offset = offset - 2 * pi * torch.round(offset / (2 * pi))
        excess = (offset.abs() - (upper - lower) / 2).clamp(min=0)
        return excess, torch.where(offset < 0, -1, 1) * (excess > 0).to(value.dtype)
