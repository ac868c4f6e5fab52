"""What an evaluation found: records, and a table, JSON and CSV of them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from statistics import median as middle

from rich.table import Table

from frazil.atomic import write_text
from frazil.errors import InputError


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
        for heading in ("lDDT", "clashes", "chirality errors"):
            table.add_column(heading, justify="right", overflow="fold")
        for score in self.samples:
            near = score.nearest
            label = score.file if score.model == 1 else f"{score.file} #{score.model}"
            parts = [_shown(part.rmsd) for part in near.parts] if shown else []
            counts = str(score.clashes), str(score.chirality_errors)
            table.add_row(label, str(near.reference_model), _shown(near.rmsd), *parts, _shown(near.lddt), *counts)
        table.add_section()
        table.add_row(*self._medians(len(shown)), style="bold")
        if self.reference_spread is not None:
            table.caption = (
                f"the reference's own models: median RMSD to the nearest other {self.reference_spread:.2f} Å"
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
        }
        write_text(
            folder / "evaluation.json", json.dumps({"summary": summary, **asdict(self)}, indent=1, allow_nan=False)
        )
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
        )
        writer.writerow([*columns, *(f"rmsd {name}" for name in names)])
        for score in self.samples:
            counts = score.clashes, score.chirality_errors, score.atoms
            for one in score.comparisons:
                nearest = int(one is score.nearest)
                head = score.file, score.model, one.reference_model, nearest, one.rmsd, one.lddt
                writer.writerow([*head, *counts, *(part.rmsd for part in one.parts)])
        return text.getvalue()

    def _medians(self, num_parts: int) -> list[str]:
        near = [score.nearest for score in self.samples]
        parts = [_shown(median(one.parts[index].rmsd for one in near)) for index in range(num_parts)]
        counts = (median(s.clashes for s in self.samples), median(s.chirality_errors for s in self.samples))
        return [
            "median", "", _shown(median(one.rmsd for one in near)), *parts,
            _shown(median(one.lddt for one in near)), *(f"{count:g}" for count in counts if count is not None),
        ]  # fmt: skip


def median(values: Iterable[float | None]) -> float | None:
    """The median of the values that are known, None if there are none."""
    known = [value for value in values if value is not None and isfinite(value)]
    return float(middle(known)) if known else None


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
