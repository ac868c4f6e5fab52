"""What an evaluation found: records, and a table, JSON and CSV of them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from statistics import median as middle
from typing import Any, Final

from rich.table import Table

from frazil.atomic import write_text
from frazil.errors import InputError
from frazil.metrics import Coverage
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
    tm_score: float | None = None
    """Of a protein chain by itself, 0..1."""


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
    tm_score: float | None = None
    """All protein chains together, 0..1; None without a protein, or without tmtools."""


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
    checks: Mapping[str, bool | None] = field(default_factory=dict)
    """PoseBusters' checks of the ligands: whether passed, None where not to be made; empty if not asked for."""
    mean_lddt: float | None = None
    """To the other samples, 0..1."""
    rank: int = 0
    """From 1, the best; see `ranking`."""

    @property
    def valid(self) -> bool | None:
        """Whether no check fails; None without checks."""
        return all(passed is not False for passed in self.checks.values()) if self.checks else None

    @property
    def failed_checks(self) -> tuple[str, ...]:
        """Names of the checks that fail."""
        return tuple(name for name, passed in self.checks.items() if passed is False)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        names = ("file", "model", "atoms", "clashes", "chirality_errors", "rank", "mean_lddt")
        return {
            **{name: getattr(self, name) for name in names},
            **self.verdict.to_dict(),
            "energies": {name: value if isfinite(value) else None for name, value in self.energies.items()},
            "posebusters": dict(self.checks),
            "posebusters_valid": self.valid,
            "nearest": asdict(self.nearest),
            "comparisons": [asdict(one) for one in self.comparisons],
        }


@dataclass(frozen=True)
class EvaluationReport:
    """What `evaluate` found."""

    reference: str
    """File that it came from."""
    reference_models: int
    reference_spread: float | None
    """Median over the reference's models of the RMSD to the nearest other one; None for a single model."""
    left_out: tuple[str, ...]
    """Ligands of the reference that the samples do not have."""
    samples: tuple[SampleScore, ...]
    molecule: str = ""
    """Name of the reference in its file."""
    coverage: Coverage | None = None
    """Of a lone ligand: coverage and matching, recall and precision."""
    notes: tuple[str, ...] = ()
    """What could not be judged, and the way out."""

    def table(self) -> Table:
        """A table to print: one row a sample, against its nearest reference model, and the medians."""
        shown = [one for one in _COLUMNS if any(one.cell(score) != _NONE for score in self.samples)]
        names = [part.name for part in self.samples[0].nearest.parts]
        parts = range(len(names)) if 1 < len(names) <= 4 else range(0)
        models = f"{self.reference_models} model{'' if self.reference_models == 1 else 's'}"
        table = Table(title=f"{len(self.samples)} samples against {Path(self.reference).name} ({models})")
        part_heads = (f"{names[index]} / Å" for index in parts)
        for heading in ("sample", "nearest model", "RMSD / Å", *part_heads, *(one.heading for one in shown), "rank"):
            table.add_column(heading, justify="right", overflow="fold")
        for score in self.samples:
            near = score.nearest
            label = score.file if score.model == 1 else f"{score.file} #{score.model}"
            own = (_shown(near.parts[index].rmsd) for index in parts)
            cells = (one.cell(score) for one in shown)
            table.add_row(label, str(near.reference_model), _shown(near.rmsd), *own, *cells, str(score.rank))
        table.add_section()
        nearest = [score.nearest for score in self.samples]
        own = (_shown(median(one.parts[index].rmsd for one in nearest)) for index in parts)
        middles = (one.middle(self.samples) for one in shown)
        table.add_row("median", "", _shown(median(one.rmsd for one in nearest)), *own, *middles, "", style="bold")
        table.caption = "\n".join(self._caption())
        return table

    def summary(self) -> dict[str, Any]:
        """The figures of all samples together, by name, as in `evaluation.json`."""
        near = [score.nearest for score in self.samples]
        valid = [score.valid for score in self.samples if score.valid is not None]
        return {
            "samples": len(self.samples),
            "best_rmsd": min(one.rmsd for one in near),
            "median_rmsd": median(one.rmsd for one in near),
            "median_lddt": median(one.lddt for one in near),
            "median_tm_score": median(one.tm_score for one in near),
            "clashes": sum(score.clashes for score in self.samples),
            "chirality_errors": sum(score.chirality_errors for score in self.samples),
            "stereo_violations": sum(score.verdict.stereo_violations for score in self.samples),
            "restraints_satisfied": sum(score.verdict.satisfied for score in self.samples),
            "restraints_total": sum(score.verdict.total for score in self.samples),
            "posebusters_valid": sum(valid) / len(valid) if valid else None,
            **(coverage_columns(self.coverage) if self.coverage is not None else {}),
        }

    def write(self, folder: str | Path) -> None:
        """Write `evaluation.json` and `evaluation.csv` into a folder, made if need be.

        Raises
        ------
        InputError
            If the folder does not take them.
        """
        names = ("reference", "molecule", "reference_models", "reference_spread", "left_out")
        own = {name: getattr(self, name) for name in names}
        found = {"summary": self.summary(), **own, "posebusters": self.passed_checks()}
        write_evaluation(folder, found | {"samples": [score.to_dict() for score in self.samples]}, self._csv())

    def passed_checks(self) -> dict[str, float | None]:
        """By PoseBusters check the share of the samples that pass it, of those where it could be made."""
        names = {name: None for score in self.samples for name in score.checks}
        found = {name: [score.checks.get(name) for score in self.samples] for name in names}
        known = {name: [passed for passed in values if passed is not None] for name, values in found.items()}
        return {name: sum(values) / len(values) if values else None for name, values in known.items()}

    def _caption(self) -> Iterator[str]:
        yield RANKED_BY
        if self.reference_spread is not None:
            yield f"the reference's own models: median RMSD to the nearest other {self.reference_spread:.2f} Å"
        if self.coverage is not None:
            yield coverage_text(self.coverage)
        missed = {name: share for name, share in self.passed_checks().items() if share is not None and share < 1}
        if missed:
            yield "PoseBusters, passed: " + ", ".join(f"{name} {share:.0%}" for name, share in missed.items())
        yield from self.notes

    def _csv(self) -> str:
        """One line per sample and reference model."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        names = [part.name for part in self.samples[0].nearest.parts]
        writer.writerow([*_CSV_COLUMNS, *(f"rmsd {name}" for name in names), *(f"tm_score {name}" for name in names)])
        for score in self.samples:
            kept = score.verdict.stereo_violations, score.verdict.satisfied, score.verdict.total
            valid = "" if score.valid is None else int(score.valid)
            counts = score.clashes, score.chirality_errors, score.atoms, *kept
            for one in score.comparisons:
                nearest = int(one is score.nearest)
                head = score.file, score.model, one.reference_model, nearest, one.rmsd, one.lddt
                parts = *(part.rmsd for part in one.parts), *(part.tm_score for part in one.parts)
                writer.writerow([*head, *counts, one.tm_score, valid, *parts])
        return text.getvalue()


@dataclass(frozen=True)
class _Column:
    """A column of the table, left out where no sample has anything in it."""

    heading: str
    value: Callable[[SampleScore], float | None]
    cell: Callable[[SampleScore], str]
    """What one sample shows."""
    form: str = "g"
    """Of the median."""

    def middle(self, samples: Sequence[SampleScore]) -> str:
        """The median."""
        found = median(self.value(score) for score in samples)
        return "" if found is None else format(found, self.form)


def _fraction(heading: str, value: Callable[[SampleScore], float | None]) -> _Column:
    return _Column(heading, value, lambda score: _shown(value(score)), ".2f")


def _count(heading: str, value: Callable[[SampleScore], int]) -> _Column:
    return _Column(heading, value, lambda score: str(value(score)))


def _kept(score: SampleScore) -> str:
    return f"{score.verdict.satisfied}/{score.verdict.total}" if score.verdict.total else _NONE


def _busted(score: SampleScore) -> str:
    failed = len(score.failed_checks)
    return _NONE if score.valid is None else "pass" if score.valid else f"{failed} of {len(score.checks)} fail"


_NONE = "-"
_COLUMNS = (
    _fraction("lDDT", lambda score: score.nearest.lddt),
    _fraction("TM-score", lambda score: score.nearest.tm_score),
    _Column("restraints", lambda score: None, _kept),
    _count("stereo violations", lambda score: score.verdict.stereo_violations),
    _count("chirality errors", lambda score: score.chirality_errors),
    _count("clashes", lambda score: score.clashes),
    _Column("PoseBusters", lambda score: None, _busted),
)
_CSV_COLUMNS = (
    "file", "model", "reference_model", "nearest", "rmsd", "lddt", "clashes", "chirality_errors", "atoms",
    "stereo_violations", "restraints_satisfied", "restraints_total", "tm_score", "posebusters_valid",
)  # fmt: skip


def coverage_columns(found: Coverage) -> dict[str, float]:
    """Coverage and matching by the names that tables of figures give them.

    >>> from frazil.metrics import coverage
    >>> list(coverage_columns(coverage([[0.4]], thresholds=(0.5,))))
    ['cov_r_0.5', 'cov_p_0.5', 'mat_r', 'mat_p']
    """
    recall = {f"cov_r_{level:g}": share for level, share in zip(found.thresholds, found.cov_r, strict=True)}
    precision = {f"cov_p_{level:g}": share for level, share in zip(found.thresholds, found.cov_p, strict=True)}
    return {**recall, **precision, "mat_r": found.mat_r, "mat_p": found.mat_p}


def coverage_text(found: Coverage) -> str:
    """Coverage and matching on one line."""
    levels = "/".join(f"{level:g}" for level in found.thresholds)
    recall, precision = ("/".join(f"{share:.0%}" for share in one) for one in (found.cov_r, found.cov_p))
    return (
        f"within {levels} Å: COV-R {recall}, COV-P {precision}; "
        f"mean of the nearest: MAT-R {found.mat_r:.2f} Å, MAT-P {found.mat_p:.2f} Å"
    )


def write_evaluation(folder: str | Path, found: Mapping[str, Any], table: str) -> None:
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
    write_text(folder / "evaluation.json", json.dumps(found, indent=1, allow_nan=False))
    write_text(folder / "evaluation.csv", table)


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
    return _NONE if value is None else f"{value:.2f}"
