"""Samples of one molecule that were drawn from several reference conformers, dealt out one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from frazil.predictor.drawing import Drawn
from frazil.sampler.steering import SteeringReport


def share(num_samples: int, num_parts: int) -> int:
    """Samples of each part so that there are enough in all.

    >>> share(10, 4), share(3, 4)
    (3, 1)
    """
    return -(-num_samples // num_parts)


def interleaved(parts: Sequence[Drawn], num_samples: int) -> Drawn:
    """Sample k is the k // R-th of part k % R, so that it is the same for any number of samples.

    Parameters
    ----------
    parts : sequence of Drawn
        R of them, with as many samples each and at least `num_samples` in all.
    num_samples : int
        S, samples to keep; each with all its particles.
    """
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    order = _Order(len(parts), num_samples, first.particles)
    drawn: dict[str, Any] = {
        name: order.of([getattr(part, name) for part in parts]) for name in ("coords", "finite", "noisy", "denoised")
    }
    energies = {
        name: tuple(order.of([np.array(part.energies[name]) for part in parts]).tolist()) for name in first.energies
    }
    return replace(
        first,
        **drawn,
        energies=energies,
        lineage=order.of([_renumbered(part, row, len(parts)) for row, part in enumerate(parts)]),
        steering=None if first.steering is None else _reports([part.steering for part in parts], order),
        samples_at_once=max(part.samples_at_once for part in parts),
        halvings=max(part.halvings for part in parts),
    )


class _Order:
    """Which rows of the parts, one after the other, are the samples."""

    def __init__(self, num_parts: int, num_samples: int, particles: int) -> None:
        self._parts, self._samples, self._particles = num_parts, num_samples, particles

    def of(self, values: Sequence[NDArray[Any]], *, grouped: bool = False) -> NDArray[Any]:
        """[R][S' x particles, ...] -> [S x particles, ...]; `grouped` values have no particles."""
        block = 1 if grouped else self._particles
        groups = len(values[0]) // block
        stacked = np.stack([value.reshape(groups, block, *value.shape[1:]) for value in values], axis=1)
        dealt = stacked.reshape(groups * self._parts, *stacked.shape[2:])[: self._samples]
        return dealt.reshape(len(dealt) * block, *dealt.shape[2:])

    def of_batch(self, values: Sequence[Tensor], *, grouped: bool = False) -> Tensor:
        """The same for tensors of a batch of one."""
        return torch.from_numpy(self.of([value[0].cpu().numpy() for value in values], grouped=grouped))[None]


def _renumbered(part: Drawn, row: int, num_parts: int) -> NDArray[np.int64]:
    """The lineage of a part in numbers of all particles of all parts."""
    group, particle = np.divmod(part.lineage, part.all_particles)
    return (group * num_parts + row) * part.all_particles + particle


def _reports(reports: Sequence[SteeringReport | None], order: _Order) -> SteeringReport:
    told = [report for report in reports if report is not None]
    first = told[0]
    sizes = tuple(
        (step, order.of_batch([report.effective_sizes[number][1] for report in told], grouped=True))
        for number, (step, _) in enumerate(first.effective_sizes)
    )
    weights = [report.log_weights for report in told]
    return SteeringReport(
        guided_steps=first.guided_steps,
        effective_sizes=sizes,
        log_weights=None if weights[0] is None else order.of_batch([one for one in weights if one is not None]),
        lost=order.of_batch([report.lost for report in told], grouped=True),
    )
