"""What an evaluation found: records, and a table, JSON and CSV of them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from statistics import median as middle
from typing import Any, Final

from rich.table import Table

from frazil.atomic import write_text
from frazil.errors import InputError
from frazil.steering.judge import Verdict

RANKED_BY: Final = (
    "ranked by restraints, stereo, clashes and mean lDDT to the other samples; there is no confidence head"
)


@dataclass(frozen=True)
class PartScore:
    """One polymer or ligand of the reference."""

    name: str
    """Chain, with the residue name of a ligand."""
    rmsd: float | None
    """Angstrom, after superposition of this part alone; None if fewer than two atoms are resolved in both."""


@dataclass(frozen=True)
class Comparison:
    """A sample against one model of the reference."""

    reference_model: int
    """From 1."""
    rmsd: float
    """All heavy atoms, angstrom, after superposition of the whole."""
    lddt: float | None
    """All heavy atoms, 0..1; None if no two residues are near each other."""
    parts: tuple[PartScore, ...]


@dataclass(frozen=True)
class SampleScore:
    """One sample."""

    file: str
    model: int
    """Model or record in the file, from 1."""
    atoms: int
    """Heavy atoms compared."""
    clashes: int
    chirality_errors: int
    nearest: Comparison
    """The comparison of lowest RMSD."""
    comparisons: tuple[Comparison, ...]
    """One for each model of the reference."""
    verdict: Verdict = field(default_factory=Verdict)
    """Restraints: those of the molecules, those asked for, and those that `samples.json` records."""
    energies: Mapping[str, float] = field(default_factory=dict)
    """By potential, without weights; NaN where atoms are unresolved."""
    mean_lddt: float | None = None
    """To the other samples, 0..1."""
    rank: int = 0
    """From 1, the best; see `ranking`."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        names = ("file", "model", "atoms", "clashes", "chirality_errors", "rank", "mean_lddt")
        return {
            **{name: getattr(self, name) for name in names},
            **self.verdict.to_dict(),
            "energies": {name: value if isfinite(value) else None for name, value in self.energies.items()},
            "nearest": asdict(self.nearest),
            "comparisons": [asdict(one) for one in self.comparisons],
        }


@dataclass(frozen=True)
class EvaluationReport:
    """What `evaluate` found."""

    reference: str
    reference_models: int
    reference_spread: float | None
    """Median over the reference's models of the RMSD to the nearest other one; None for a single model."""
    left_out: tuple[str, ...]
    """Ligands of the reference that the samples do not have."""
    samples: tuple[SampleScore, ...]

    def table(self) -> Table:
        """A table to print: one row a sample, against its nearest reference model, and the medians."""
        table = Table(
            title=f"{len(self.samples)} samples against {Path(self.reference).name} ({self.reference_models} models)"
        )
        names = [part.name for part in self.samples[0].nearest.parts]
        shown = names if 1 < len(names) <= 4 else []
        for heading in ("sample", "nearest model", "RMSD / Å", *(f"{name} / Å" for name in shown)):
            table.add_column(heading, justify="right", overflow="fold")
        restrained = any(score.verdict.total for score in self.samples)
        met = ("restraints",) if restrained else ()
        for heading in ("lDDT", *met, "stereo violations", "chirality errors", "clashes", "rank"):
            table.add_column(heading, justify="right", overflow="fold")
        for score in self.samples:
            near = score.nearest
            label = score.file if score.model == 1 else f"{score.file} #{score.model}"
            parts = [_shown(part.rmsd) for part in near.parts] if shown else []
            kept = (f"{score.verdict.satisfied}/{score.verdict.total}",) if restrained else ()
            counts = map(str, (score.verdict.stereo_violations, score.chirality_errors, score.clashes, score.rank))
            table.add_row(
                label, str(near.reference_model), _shown(near.rmsd), *parts, _shown(near.lddt), *kept, *counts
            )
        table.add_section()
        table.add_row(*self._medians(len(shown), restrained), style="bold")
        table.caption = RANKED_BY
        if self.reference_spread is not None:
            table.caption += (
                f"\nthe reference's own models: median RMSD to the nearest other {self.reference_spread:.2f} Å"
            )
        return table

    def write(self, folder: str | Path) -> None:
        """Write `evaluation.json` and `evaluation.csv` into a folder, made if need be.

        Raises
        ------
        InputError
            If the folder does not take them.
        """
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder}: cannot be made ({error.strerror or error}); choose another folder") from None
        summary = {
            "samples": len(self.samples),
            "median_rmsd": median(score.nearest.rmsd for score in self.samples),
            "median_lddt": median(score.nearest.lddt for score in self.samples),
            "clashes": sum(score.clashes for score in self.samples),
            "chirality_errors": sum(score.chirality_errors for score in self.samples),
            "stereo_violations": sum(score.verdict.stereo_violations for score in self.samples),
            "restraints_satisfied": sum(score.verdict.satisfied for score in self.samples),
            "restraints_total": sum(score.verdict.total for score in self.samples),
        }
        own = {name: getattr(self, name) for name in ("reference", "reference_models", "reference_spread", "left_out")}
        found = {"summary": summary, **own, "samples": [score.to_dict() for score in self.samples]}
        write_text(folder / "evaluation.json", json.dumps(found, indent=1, allow_nan=False))
        write_text(folder / "evaluation.csv", self._csv())

    def _csv(self) -> str:
        """One line per sample and reference model."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        names = [part.name for part in self.samples[0].nearest.parts]
        columns = (
            "file",
            "model",
            "reference_model",
            "nearest",
            "rmsd",
            "lddt",
            "clashes",
            "chirality_errors",
            "atoms",
            "stereo_violations",
            "restraints_satisfied",
            "restraints_total",
        )
        writer.writerow([*columns, *(f"rmsd {name}" for name in names)])
        for score in self.samples:
            kept = score.verdict.stereo_violations, score.verdict.satisfied, score.verdict.total
            counts = score.clashes, score.chirality_errors, score.atoms, *kept
            for one in score.comparisons:
                nearest = int(one is score.nearest)
                head = score.file, score.model, one.reference_model, nearest, one.rmsd, one.lddt
                writer.writerow([*head, *counts, *(part.rmsd for part in one.parts)])
        return text.getvalue()

    def _medians(self, num_parts: int, restrained: bool) -> list[str]:
        near = [score.nearest for score in self.samples]
        parts = [_shown(median(one.parts[index].rmsd for one in near)) for index in range(num_parts)]
        stereo = median(score.verdict.stereo_violations for score in self.samples)
        counts = (stereo, median(s.chirality_errors for s in self.samples), median(s.clashes for s in self.samples))
        return [
            "median", "", _shown(median(one.rmsd for one in near)), *parts,
            _shown(median(one.lddt for one in near)), *([""] if restrained else []),
            *(f"{count:g}" for count in counts if count is not None), "",
        ]  # fmt: skip


def ranking(samples: Sequence[tuple[Verdict, int, int, float | None]]) -> list[int]:
    """Ranks from 1, the best: most restraints satisfied, then fewest stereo errors, fewest clashes, most agreement.

    Parameters
    ----------
    samples : sequence
        Of each sample what it keeps, its stereocentres in error, its clashes, and its mean lDDT to the others.

    Examples
    --------
    >>> ranking([(Verdict(), 0, 3, 0.9), (Verdict(), 0, 1, 0.5), (Verdict(), 0, 1, None)])
    [3, 1, 2]
    """
    keys = [
        (-kept.satisfied, kept.stereo_violations + wrong, clashes, -(alike or 0.0))
        for kept, wrong, clashes, alike in samples
    ]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return [order.index(row) + 1 for row in range(len(keys))]


def median(values: Iterable[float | None]) -> float | None:
    """The median of the values that are known, None if there are none."""
    known = [value for value in values if value is not None and isfinite(value)]
    return float(middle(known)) if known else None


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
