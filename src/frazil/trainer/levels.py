"""`noise.csv`: how well a model does at each noise level while it trains."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import final

import torch
from torch import Tensor

from frazil.noise import LogNormalSigma

NOISE_FILE = "noise.csv"
NOISE_STEPS = 100
"""Steps after which rows are written, if no checkpoint comes before."""
BINS = 18
REACH = 3.0
"""Standard deviations of ln(sigma) on either side that the bins cover."""


@dataclass(frozen=True)
class NoiseRow:
    """The noised copies of one noise level, since the rows before."""

    step: int
    """Last step that counts."""
    sigma_low: float
    """Lower end of the level, angstrom."""
    sigma_high: float
    """Upper end, angstrom."""
    mse: float
    """Mean over copies of their weighted, aligned mean square error: `mse` of log.csv, taken apart."""
    count: int
    """Copies, over all processes."""

    def cells(self) -> list[str]:
        """The row as text."""
        return [str(self.step), f"{self.sigma_low:.6g}", f"{self.sigma_high:.6g}", repr(self.mse), str(self.count)]


NOISE_HEADER = [field.name for field in fields(NoiseRow)]


@final
class NoiseLevels:
    """Sums of the error of noised copies by noise level, kept where they are computed.

    Parameters
    ----------
    law : LogNormalSigma
        Of the sigmas. The levels are equally wide in ln(sigma); the outermost count what lies beyond them as well.

    Examples
    --------
    >>> levels = NoiseLevels(LogNormalSigma(mean=0.0, std=1.5, sigma_data=1.0))
    >>> levels.add(torch.tensor([[1.1, 1.2]]), torch.tensor([[2.0, 4.0]]))
    >>> [(row.mse, row.count) for row in levels.take(100)]
    [(3.0, 2)]
    """

    def __init__(self, law: LogNormalSigma) -> None:
        middle, reach = math.log(law.sigma_data) + law.mean, REACH * max(law.std, 1e-3)
        self._edges = torch.linspace(middle - reach, middle + reach, BINS + 1).exp()
        self._sums = torch.zeros(BINS, 2)

    def add(self, sigma: Tensor, mse: Tensor) -> None:
        """Count copies.

        Parameters
        ----------
        sigma : Tensor
            [B, S] or [B, 1], angstrom.
        mse : Tensor
            [B, S]; what is not finite does not count.
        """
        if self._sums.device != mse.device:
            self._edges, self._sums = self._edges.to(mse.device), self._sums.to(mse.device)
        level = torch.bucketize(sigma, self._edges[1:-1]).expand_as(mse).flatten()
        finite = torch.isfinite(mse)
        seen = torch.stack([torch.where(finite, mse, 0).float(), finite.float()], dim=-1)
        self._sums.index_add_(0, level, seen.flatten(0, 1))

    def take(self, step: int, over_all: Callable[[Tensor], Tensor] = lambda sums: sums) -> Iterator[NoiseRow]:
        """Rows of the levels in which there were copies; counting begins anew.

        Parameters
        ----------
        step : int
            Finished steps.
        over_all : callable
            Sums a tensor over all processes; they call this together.
        """
        sums = over_all(self._sums).tolist()
        self._sums.zero_()
        edges = self._edges.tolist()
        rows = zip(edges, edges[1:], sums, strict=False)
        return (NoiseRow(step, low, high, total / count, round(count)) for low, high, (total, count) in rows if count)
