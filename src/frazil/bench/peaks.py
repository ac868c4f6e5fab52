"""The best that a machine does at matrix products: the yardstick of everything else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Final, final

import torch
from torch import Tensor
from torch.nn import functional as F

from frazil.bench.measuring import Stopwatch

SHAPES: Final = (
    (10240, 128, 640),
    (1024, 1024, 1024),
    (1280, 1536, 768),
    (1280, 768, 3072),
    (2048, 2048, 2048),
)
"""Rows, inner length, columns, by size: squares, and products of the full network at 256 tokens and 5 samples."""
_SHORTEST = 0.02
"""Seconds; a shorter stretch of work would be timed by its start."""


@dataclass(frozen=True)
class Peak:
    """The fastest kind of product that was found."""

    flops: float
    """Operations a second; [m, k] times [k, n] counts 2 m k n."""
    product: str
    """Which kind, and of what shape."""


class _Product(ABC):
    """A way to multiply; ready with its operands."""

    name: str

    @abstractmethod
    def __call__(self) -> Tensor:
        """Multiply once."""


@final
class _Plain(_Product):
    name = "matmul"

    def __init__(self, x: Tensor, weight: Tensor) -> None:
        self._x, self._weight = x, weight.T.contiguous()

    def __call__(self) -> Tensor:
        return torch.matmul(self._x, self._weight)


@final
class _Linear(_Product):
    name = "linear"

    def __init__(self, x: Tensor, weight: Tensor) -> None:
        self._x, self._weight = x, weight

    def __call__(self) -> Tensor:
        return F.linear(self._x, self._weight)


@final
class _Packed(_Product):
    """Weights in oneDNN's own layout, where this torch has the operators."""

    name = "packed linear"

    def __init__(self, x: Tensor, weight: Tensor) -> None:
        self._x = x
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, len(x))

    def __call__(self) -> Tensor:
        product: Tensor = torch.ops.mkldnn._linear_pointwise(self._x, self._weight, None, "none", [], "")
        return product


def product_peak(dtype: torch.dtype, device: torch.device, budget: float) -> Peak:
    """The fastest product over several shapes and ways to multiply.

    Parameters
    ----------
    dtype : torch.dtype
        Of the operands.
    device : torch.device
        Where to multiply.
    budget : float
        Seconds for all of it; the largest shapes are left out where it does not suffice.
    """
    clock, ends = Stopwatch(device), perf_counter() + budget
    found: list[Peak] = []
    for shape in SHAPES:
        rows, inner, columns = shape
        flops = 2 * rows * inner * columns
        for product in _products(shape, dtype, device):
            seconds = _best(product, clock, budget / (3 * len(SHAPES)))
            found.append(Peak(flops / seconds, f"{product.name}, {rows} x {inner} x {columns}"))
        if perf_counter() > ends:
            break
    return max(found, key=lambda peak: peak.flops)


def _products(shape: tuple[int, int, int], dtype: torch.dtype, device: torch.device) -> Iterator[_Product]:
    """The ways to multiply that this torch has, called once."""
    rows, inner, columns = shape
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, inner, generator=generator).to(device, dtype)
    weight = torch.randn(columns, inner, generator=generator).to(device, dtype)
    kinds: list[Callable[[Tensor, Tensor], _Product]] = [_Plain, _Linear]
    if device.type == "cpu" and hasattr(torch.ops.mkldnn, "_reorder_linear_weight"):
        kinds.append(_Packed)
    for kind in kinds:
        try:
            product = kind(x, weight)
            product()
        except RuntimeError:
            # the operators are there, but not for this type or processor
            if kind is not _Packed:
                raise
        else:
            yield product


def _best(product: _Product, clock: Stopwatch, budget: float) -> float:
    """Seconds of one product: the best of three stretches, or of as many as the budget allows."""
    once = clock.seconds(product)
    repeats = max(1, round(min(_SHORTEST, budget / 3) / once))

    def stretch() -> None:
        for _ in range(repeats):
            product()

    times = [clock.seconds(stretch)]
    while len(times) < 3 and sum(times) + times[-1] <= budget:
        times.append(clock.seconds(stretch))
    return min(times) / repeats
