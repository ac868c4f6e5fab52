"""What the evaluation of many inputs found: one row each, and all of them together."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from rich.table import Table

from frazil.metrics import THRESHOLDS
from frazil.scores import EvaluationReport, median, write_evaluation

MOST_ROWS: Final = 40
"""Inputs that a table shows one by one."""
_LEVELS: Final = tuple(f"{level:g}" for level in THRESHOLDS)
_COVERAGE: Final = (*(f"cov_{side}_{level}" for side in "rp" for level in _LEVELS), "mat_r", "mat_p")
_HEADS: Final = (
    "samples", "best RMSD / Å", "median RMSD / Å", f"COV-R {'/'.join(_LEVELS)}", f"COV-P {'/'.join(_LEVELS)}",
    "MAT-R / Å", "MAT-P / Å", "lDDT", "TM-score", "chirality errors", "clashes", "PoseBusters",
)  # fmt: skip
COLUMNS: Final = (
    "name", "status", "reason", "reference", "reference_models", "samples", "best_rmsd", "median_rmsd", "median_lddt",
    "median_tm_score", *_COVERAGE, "clashes", "chirality_errors", "stereo_violations", "restraints_satisfied",
    "restraints_total", "posebusters_valid",
)  # fmt: skip
"""Of `evaluation.csv`."""


@dataclass(frozen=True)
class InputScore:
    """One input."""

    name: str
    """Its folder."""
    report: EvaluationReport | None = None
    """None if it could not be judged."""
    reason: str = ""
    """Why it could not."""

    @property
    def molecule(self) -> str:
        """Name of its reference, empty without."""
        return self.report.molecule if self.report else ""

    def row(self) -> dict[str, Any]:
        """Its figures by column; None for what does not apply."""
        known: dict[str, Any] = {
            "name": self.name,
            "status": "done" if self.report else "failed",
            "reason": self.reason,
        }
        if self.report:
            known |= {"reference": self.molecule, "reference_models": self.report.reference_models}
            known |= self.report.summary()
        return {column: known.get(column) for column in COLUMNS}


@dataclass(frozen=True)
class SummaryReport:
    """What `evaluate_inputs` found."""

    reference: str
    inputs: tuple[InputScore, ...]
    unused: tuple[str, ...]
    """Molecules of the reference that no input is."""

    @property
    def failed(self) -> tuple[InputScore, ...]:
        """Inputs that could not be judged."""
        return tuple(one for one in self.inputs if one.report is None)

    def summary(self) -> dict[str, Any]:
        """Figures over the inputs that were judged: means of shares, medians and means of distances, sums of counts."""
        rows = [one.row() for one in self.inputs if one.report is not None]
        shares = [name for name in COLUMNS if name.startswith("cov_")]
        within = {f"inputs_within_{level:g}": _share_below(rows, level) for level in THRESHOLDS}
        return {
            "inputs": len(self.inputs),
            "failed": len(self.failed),
            "samples": _total(rows, "samples"),
            "median_best_rmsd": median(row["best_rmsd"] for row in rows),
            "median_median_rmsd": median(row["median_rmsd"] for row in rows),
            "median_lddt": median(row["median_lddt"] for row in rows),
            "median_tm_score": median(row["median_tm_score"] for row in rows),
            **within,
            **{f"mean_{name}": _mean(rows, name) for name in (*shares, "mat_r", "mat_p")},
            **{f"median_{name}": median(row[name] for row in rows) for name in ("mat_r", "mat_p")},
            **{name: _total(rows, name) for name in ("clashes", "chirality_errors", "stereo_violations")},
            "posebusters_valid": _mean(rows, "posebusters_valid", "samples"),
        }

    def table(self) -> Table:
        """A table to print: one row an input if there are few, and one for all; empty columns are left out."""
        found = self.summary()
        means = {name: found[f"mean_{name}"] for name in _COVERAGE}
        middles = {name: found[f"median_{name}"] for name in ("best_rmsd", "median_rmsd")}
        whole = _cells(found | means | middles)
        table = Table(title=f"{len(self.inputs)} inputs against {Path(self.reference).name}")
        shown = [place for place, cell in enumerate(whole) if cell.strip("-/ ")]
        for heading in ("input", *(_HEADS[place] for place in shown)):
            table.add_column(heading, justify="right", overflow="fold")
        if len(self.inputs) <= MOST_ROWS:
            for one in self.inputs:
                cells = _cells(one.row()) if one.report else ["failed", *[""] * (len(_HEADS) - 1)]
                table.add_row(one.name, *(cells[place] for place in shown))
            table.add_section()
        table.add_row("all", *(whole[place] for place in shown), style="bold")
        table.caption = "all: median RMSD, lDDT and TM-score, mean COV, MAT and PoseBusters, sum of errors and clashes"
        return table

    def notes(self) -> list[str]:
        """Lines to print below the table: what failed, and what was not sampled."""
        lines = [f"{one.name}: {one.reason}" for one in self.failed]
        if self.unused:
            lines.append(f"molecules of {self.reference} without samples here: {len(self.unused)}")
        return lines

    def write(self, folder: str | Path) -> None:
        """Write `evaluation.json` and `evaluation.csv` into a folder, made if need be.

        Raises
        ------
        InputError
            If the folder does not take them.
        """
        rows = [one.row() for one in self.inputs]
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        found = {"summary": self.summary(), "reference": self.reference, "unused": self.unused, "inputs": rows}
        write_evaluation(folder, found, text.getvalue())


def _cells(row: dict[str, Any]) -> list[str]:
    """What a row of the table shows, in the order of `_HEADS`."""
    best, middle, recall, precision = (_shown(row[name]) for name in ("best_rmsd", "median_rmsd", "mat_r", "mat_p"))
    shares = ("/".join(_shown(row[f"cov_{side}_{level}"], ".0%") for level in _LEVELS) for side in "rp")
    scores = (_shown(row[name]) for name in ("median_lddt", "median_tm_score"))
    counts = (_shown(row[name], "d") for name in ("chirality_errors", "clashes"))
    valid = _shown(row["posebusters_valid"], ".0%")
    return [_shown(row["samples"], "d"), best, middle, *shares, recall, precision, *scores, *counts, valid]


def _shown(value: float | None, form: str = ".2f") -> str:
    return "-" if value is None else format(value, form)


def _share_below(rows: Sequence[dict[str, Any]], level: float) -> float | None:
    return fmean(row["best_rmsd"] < level for row in rows) if rows else None


def _mean(rows: Sequence[dict[str, Any]], name: str, weight: str | None = None) -> float | None:
    known = [row for row in rows if row[name] is not None]
    if not known:
        return None
    return fmean((row[name] for row in known), None if weight is None else [row[weight] for row in known])


def _total(rows: Sequence[dict[str, Any]], name: str) -> int:
    return sum(row[name] for row in rows)
