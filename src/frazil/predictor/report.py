"""What can be said of samples without a reference: restraints, stereo, clashes, agreement; and their order by it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import isfinite
from typing import Any, Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from rich.table import Table
from torch import Tensor

from frazil.data.structure import Structure
from frazil.data.topology import contact_radii, selections, stereocentres
from frazil.metrics import agreement, chirality_errors, count_clashes, handedness
from frazil.metrics.clashes import CLASH_FRACTION, within_bonds
from frazil.predictor.drawing import Drawn, Floats
from frazil.predictor.requests import Request
from frazil.restraints import Restraints
from frazil.scores import ranking
from frazil.steering.judge import GIVEN, Judgement, Outcome, Verdict, judge, verdict

MOST_ROWS: Final = 20
"""Rows of the printed table; the file has all."""
MOST_WARNINGS: Final = 5
TERMS_AT_ONCE: Final = 2_000_000
SMALL: Final = 256
"""Atoms up to which clashes are looked for among all pairs."""


@dataclass(frozen=True, eq=False)
class Quality:
    """What can be said of a sample by itself; made once for all samples."""

    radii: NDArray[np.float64]
    """[A] van-der-Waals radii, angstrom."""
    bonds: NDArray[np.int64]
    """[K, 2] bonded pairs."""
    centres: NDArray[np.int64]
    """[C, 4] stereocentres with three neighbours each."""
    hands: NDArray[np.float64]
    """[C] sign of the right handedness."""

    @classmethod
    def of(cls, structure: Structure) -> Quality:
        """For a structure; the right hands are those of its reference conformers."""
        centres = stereocentres(structure)
        return cls(
            radii=contact_radii(structure.atoms.element),
            bonds=structure.atoms.bonds.as_array()[:, :2].astype(np.int64),
            centres=centres,
            hands=np.sign(handedness(structure.ref_pos, centres)),
        )

    def clashes(self, samples: NDArray[np.floating]) -> list[int]:
        """Pairs of atoms that are too close, in each of [S, A, 3]."""
        if len(self.radii) > SMALL:
            return [count_clashes(coords, self.radii, self.bonds) for coords in samples]
        # the same, for all samples and pairs at once
        free = ~np.asarray(within_bonds(self.bonds, len(self.radii)).todense(), dtype=bool)
        first, second = np.nonzero(np.triu(free, k=1))
        least = CLASH_FRACTION * (self.radii[first] + self.radii[second])
        return [
            int(np.count_nonzero(np.linalg.norm(coords[first] - coords[second], axis=-1) < least)) for coords in samples
        ]

    def chirality_errors(self, coords: Floats) -> int:
        """Stereocentres of [A, 3] that are flat or of the wrong hand."""
        return len(chirality_errors(coords, self.centres, self.hands))


@dataclass(frozen=True)
class SampleReport:
    """What is said of one finite sample."""

    sample: int
    """Index, from 0."""
    verdict: Verdict
    """Restraints."""
    clashes: int
    chirality_errors: int
    """Stereocentres of the whole structure that are flat or of the wrong hand."""
    mean_lddt: float | None
    """Of all heavy atoms to the other samples, 0..1; None for a lone sample or a lone residue's worth of atoms."""
    energies: Mapping[str, float]
    """By potential, at the final coordinates, without weights."""
    rank: int = 0
    """From 1, the best; see `frazil.scores.ranking`."""

    def to_dict(self) -> dict[str, Any]:
        """For `samples.json`."""
        return {
            "rank": self.rank,
            "chirality_errors": self.chirality_errors,
            "clashes": self.clashes,
            "mean_lddt": None if self.mean_lddt is None else round(self.mean_lddt, 4),
            "energies": {name: value if isfinite(value) else None for name, value in self.energies.items()},
            **self.verdict.to_dict(),
        }


def report(request: Request, drawn: Drawn) -> tuple[SampleReport, ...]:
    """Reports of the finite samples, in their order."""
    usable = np.flatnonzero(drawn.finite).tolist()
    if not usable:
        return ()
    coords = drawn.coords[usable].astype(np.float64)
    names = selections(request.structure)
    kept = verdicts(request.restraints, torch.from_numpy(coords), names, partial(_as_steered, sets=drawn.sets))
    quality, alike = Quality.of(request.structure), agreement(coords, _residues(request.structure))
    clashes = quality.clashes(coords)
    reports = [
        SampleReport(
            sample=index,
            verdict=kept[row],
            clashes=clashes[row],
            chirality_errors=quality.chirality_errors(coords[row]),
            mean_lddt=float(alike[row]) if isfinite(alike[row]) else None,
            energies={name: values[index] for name, values in drawn.energies.items()},
        )
        for row, index in enumerate(usable)
    ]
    ranks = ranking([(one.verdict, one.chirality_errors, one.clashes, one.mean_lddt) for one in reports])
    return tuple(replace(one, rank=rank) for one, rank in zip(reports, ranks, strict=True))


def table(name: str, reports: Sequence[SampleReport]) -> Table:
    """A table to print: one row a sample, the best first."""
    best = sorted(reports, key=lambda one: one.rank)[:MOST_ROWS]
    some = f", the best {len(best)} of {len(reports)} samples" if len(best) < len(reports) else ""
    found = Table(title=f"{name}{some}")
    headings = ("rank", "sample", "restraints", "stereo violations", "chirality errors", "clashes", "mean lDDT")
    for heading in headings:
        found.add_column(heading, justify="right", overflow="fold")
    for one in best:
        total = one.verdict.total
        met = f"{one.verdict.satisfied}/{total}" if total else "-"
        counts = (one.verdict.stereo_violations, one.chirality_errors, one.clashes)
        alike = "-" if one.mean_lddt is None else f"{one.mean_lddt:.2f}"
        found.add_row(str(one.rank), str(one.sample), met, *map(str, counts), alike)
    return found


class Judged(Protocol):
    """A sample with a verdict."""

    @property
    def verdict(self) -> Verdict:
        """What it keeps."""
        ...


def unsatisfied(name: str, reports: Sequence[Judged]) -> list[str]:
    """Warnings of restraints that do not hold everywhere, those that fail most often first."""
    broken: dict[tuple[str, str], list[Outcome]] = {}
    for one in reports:
        for outcome in one.verdict.unsatisfied:
            broken.setdefault((outcome.kind, outcome.label), []).append(outcome)
    ordered = sorted(broken.values(), key=lambda found: (-len(found), -max(one.excess for one in found)))
    lines = []
    for found in ordered[:MOST_WARNINGS]:
        nearest = min(found, key=lambda one: one.excess)
        free = "" if nearest.enforced else " (not enforced)"
        where = f"in {len(found)} of {len(reports)} samples" if len(reports) > 1 else "in the sample"
        lines.append(f"warning: {name}: not satisfied {where}{free}: {nearest.text()}")
    if len(ordered) > MOST_WARNINGS:
        lines.append(f"warning: {name}: {len(ordered) - MOST_WARNINGS} more restraints not satisfied, see samples.json")
    return lines


def verdicts(
    restraints: Restraints, coords: Tensor, names: Sequence[str], steered: Callable[[Judgement], Judgement]
) -> list[Verdict]:
    """What each sample of `coords` [S, A, 3] keeps; `steered` says what of a judgement was enforced.

    So many samples are judged at once that their terms stay within a bound.
    """
    found: list[Verdict] = []
    for part in coords.split(max(1, TERMS_AT_ONCE // max(1, len(restraints)))) if len(coords) else ():
        judged = [steered(one) for one in judge(restraints, part, names)]
        found += [verdict(judged, row) for row in range(len(part))]
    return found


def _as_steered(judgement: Judgement, sets: Sequence[str]) -> Judgement:
    """Enforced is only what a potential of one of these sets acts on."""
    if "physical" in sets and judgement.kind not in GIVEN:
        return judgement
    asked = [judgement.kind in GIVEN or label != "" for label in judgement.labels]
    acting = torch.tensor(asked, dtype=torch.bool) & ("contacts" in sets)
    return replace(judgement, enforced=judgement.enforced & acting)


def _residues(structure: Structure) -> NDArray[np.int64] | None:
    """[A] residue of each atom, None for a single one."""
    places = np.stack([structure.chain_index, structure.residue_index], axis=1)
    found, number = np.unique(places, axis=0, return_inverse=True)
    return number.reshape(-1).astype(np.int64) if len(found) > 1 else None
