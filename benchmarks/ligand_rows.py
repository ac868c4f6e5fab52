"""Figures of conformers against one crystal conformer each: summed up by size, as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from statistics import fmean, median
from typing import final

from frazil.metrics import THRESHOLDS, coverage

SIZES = ((0, 20), (20, 30), (30, 40), (40, 1000))
"""Heavy atoms, more than and at most."""


@final
@dataclass(frozen=True)
class Judged:
    """One ligand's conformers by one method."""

    name: str
    heavy_atoms: int
    rmsd: tuple[float, ...]
    """Angstrom, of each conformer to the crystal's."""
    stereo: tuple[bool, ...]
    """Whether each has the stereo asked for."""
    valid: tuple[bool, ...] = ()
    """Whether each of the first conformers, as many as were checked, fails none of PoseBusters' checks."""

    @property
    def best(self) -> float:
        """Least RMSD, inf without conformers."""
        return min(self.rmsd, default=inf)

    @property
    def mean(self) -> float:
        """Mean RMSD, inf without conformers."""
        return fmean(self.rmsd) if self.rmsd else inf


@final
@dataclass(frozen=True)
class Row:
    """A method's figures for ligands of some size; shares are 0..1."""

    method: str
    size: str
    ligands: int
    without: int
    """Ligands that it has no conformer of; they count as never found."""
    conformers: int
    within: tuple[float, ...]
    """Ligands whose best conformer is closer than `THRESHOLDS`: COV-R, the crystal's conformer being one."""
    median_best: float | None
    """Angstrom, median over the ligands of the best RMSD; None where most are never found."""
    median_mean: float | None
    """Angstrom, median over the ligands of the mean RMSD."""
    cov_p: tuple[float, ...]
    """Conformers closer than `THRESHOLDS`, mean over the ligands."""
    mat_p: float
    """Angstrom, RMSD of conformers, mean over the ligands."""
    valid: float | None
    """Conformers checked that fail none of PoseBusters' checks."""
    stereo: float
    """Conformers with the stereo asked for."""
    per_second: float
    """Conformers."""

    @classmethod
    def of(cls, method: str, size: str, judged: Sequence[Judged], seconds: float) -> Row:
        """Summed up over ligands that took so long."""
        had = [one for one in judged if one.rmsd]
        precision = [coverage([[value] for value in one.rmsd]) for one in had]
        stereo = [right for one in had for right in one.stereo]
        valid = [good for one in had for good in one.valid]
        return cls(
            method=method,
            size=size,
            ligands=len(judged),
            without=len(judged) - len(had),
            conformers=len(stereo),
            within=tuple(fmean(one.best < level for one in judged) for level in THRESHOLDS),
            median_best=_finite(median(one.best for one in judged)),
            median_mean=_finite(median(one.mean for one in judged)),
            cov_p=tuple(_mean([one.cov_p[place] for one in precision]) for place in range(len(THRESHOLDS))),
            mat_p=_mean([one.mat_p for one in precision]),
            valid=fmean(valid) if valid else None,
            stereo=_mean(stereo),
            per_second=len(stereo) / seconds if seconds else 0.0,
        )


def size_of(heavy_atoms: int) -> int:
    """Place in `SIZES`."""
    return next(place for place, (_, most) in enumerate(SIZES) if heavy_atoms <= most)


def rows(method: str, judged: Sequence[Judged], seconds: Sequence[float]) -> Iterator[Row]:
    """All ligands together, then by size; sizes that no ligand has are left out."""
    yield Row.of(method, "all", judged, sum(seconds))
    for place, (more, most) in enumerate(SIZES):
        chosen = [number for number, one in enumerate(judged) if size_of(one.heavy_atoms) == place]
        if chosen:
            least = min(judged[number].heavy_atoms for number in chosen)
            name = f"{max(more, least)}-{most}" if most < SIZES[-1][1] else f">{more}"
            yield Row.of(method, name, [judged[k] for k in chosen], sum(seconds[k] for k in chosen))


def table(found: Sequence[Row]) -> str:
    """The rows as text, sizes together so that methods stand side by side."""
    levels = "/".join(f"{level:g}" for level in THRESHOLDS)
    heads = (
        f"{'':18}{'ligands':>8}  {f'within {levels} Å, %':>22}{'best':>7}{'mean':>7}"
        f"{f'COV-P {levels} Å, %':>26}{'MAT-P':>7}{'valid':>7}{'stereo':>8}{'conf/s':>8}"
    )
    lines = []
    for size in dict.fromkeys(row.size for row in found):
        lines += ["", f"{size} heavy atoms" if size != "all" else "all ligands", heads]
        lines += [_line(row) for row in found if row.size == size]
    notes = [
        f"{row.method}: no conformer of {row.without} ligands" for row in found if row.without and row.size == "all"
    ]
    ends = "best, mean: median over ligands of the best and the mean RMSD, Å; valid: PoseBusters, %"
    return "\n".join([*lines[1:], "", ends, *notes])


def _line(row: Row) -> str:
    within, precision = ("/".join(f"{100 * share:.1f}" for share in one) for one in (row.within, row.cov_p))
    best, mean = ("-" if value is None else f"{value:.2f}" for value in (row.median_best, row.median_mean))
    valid = "-" if row.valid is None else f"{100 * row.valid:.1f}"
    return (
        f"{row.method:18}{row.ligands:>8}  {within:>22}{best:>7}{mean:>7}{precision:>26}{row.mat_p:>7.2f}"
        f"{valid:>7}{100 * row.stereo:>8.1f}{row.per_second:>8.1f}"
    )


def _finite(value: float) -> float | None:
    return float(value) if isfinite(value) else None


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if values else 0.0
