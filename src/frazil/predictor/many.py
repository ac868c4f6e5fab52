"""A run over many ligands: entries from the inputs, batches of like size, an engine, one summary."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from frazil.atomic import write_text
from frazil.data.files import unique_names
from frazil.data.ligand_files import BadLine, LigandText, read_ligand_texts
from frazil.data.ligands import ligand_of
from frazil.errors import InputError
from frazil.predictor.engine import DONE, FAILED, KEPT, Batch, Engine, Entry, Outcome
from frazil.predictor.ligands import LigandJob, in_batches
from frazil.predictor.output import clear_leftovers
from frazil.predictor.progress import EntryProgress
from frazil.predictor.settings import PredictSettings
from frazil.progress import teller

SUMMARY_CSV: Final = "summary.csv"
_RESERVED: Final = (SUMMARY_CSV, "report.html")
"""Files beside the folders of the inputs, which cannot be called so."""
MOST_ROWS: Final = 20
"""Rows of the printed table; the file has all."""
MOST_REASONS: Final = 10
_COLUMNS: Final = {
    "name": "name", "origin": "source", "status": "status", "reason": "reason", "num_samples": "samples",
    "num_finite": "finite", "stereo_errors": "stereo_errors", "clashes": "clashes", "seconds": "seconds",
}  # fmt: skip
"""Fields of an outcome and their columns in `summary.csv`."""


@dataclass(frozen=True)
class LigandPlan:
    """What is to be done, and what cannot be."""

    entries: tuple[Entry, ...]
    sizes: tuple[int, ...]
    """Heavy atoms of each entry."""
    failed: tuple[Outcome, ...]
    order: tuple[str, ...]
    """Names of all inputs, failed ones included, in their order."""

    def batches(self, settings: PredictSettings) -> list[Batch]:
        """The entries in groups that are drawn in one call of the network; the largest molecules first."""
        return in_batches(self.entries, self.sizes, settings)


def plan_ligands(sources: Iterable[str | Path]) -> LigandPlan:
    """Read SMILES, CCD codes and files of them; every molecule is parsed, so that mistakes are told at once.

    Raises
    ------
    InputError
        If a file cannot be read, there is no input at all, or none of them is a molecule to draw.
    """
    found = list(read_ligand_texts(sources))
    if not found:
        raise InputError("no input given: name SMILES, CCD codes, or a .smi, .csv or .sdf file that holds some")
    names = unique_names([*_RESERVED, *(one.name for one in found)])[len(_RESERVED) :]
    entries, sizes, failed = [], [], []
    for name, one in zip(names, found, strict=True):
        reason, size = _looked_at(one)
        if reason or isinstance(one, BadLine):
            failed.append(Outcome(name, one.origin, FAILED, reason))
        else:
            entries.append(Entry(name, one.text, one.origin))
            sizes.append(size)
    if not entries:
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        raise InputError(_told(failed[0]) + more)
    return LigandPlan(tuple(entries), tuple(sizes), tuple(failed), tuple(names))


def sample_ligands(
    plan: LigandPlan, job: LigandJob, engine: Engine, *, console: Console | None = None
) -> list[Outcome]:
    """Draw samples of all entries and write `summary.csv`; one that is there stays if none is drawn or kept.

    Parameters
    ----------
    plan : LigandPlan
        What to draw.
    job : LigandJob
        How, and where to.
    engine : Engine
        Who does it.
    console : rich.console.Console, optional
        Where progress, reasons of failures and the summary go; silent without.

    Returns
    -------
    list of Outcome
        One for each input, in their order.

    Raises
    ------
    FrazilError
        If the model cannot be loaded or results cannot be written; finished folders are whole.
    """
    clear_leftovers(job.out)
    _make(job.out)
    outcomes = {one.name: one for one in plan.failed}
    with EntryProgress(console) as progress:
        progress.say(job.settings.text())
        for line in map(_told, plan.failed[:MOST_REASONS]):
            progress.say(f"failed: {line}")
        for outcome in engine.run(job, plan.batches(job.settings), progress.done):
            outcomes[outcome.name] = outcome
    ordered = [outcomes[name] for name in plan.order]
    written = any(one.status != FAILED for one in ordered) or not (job.out / SUMMARY_CSV).exists()
    if written:
        write_summary(job.out, ordered)
    _tell(ordered, plan.failed, str(job.out / SUMMARY_CSV) if written else "", console)
    return ordered


def write_summary(out: Path, outcomes: Sequence[Outcome]) -> None:
    """Write `summary.csv`: one row an input, then those of earlier runs' other inputs whose folders are still there.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS.values())
    writer.writerows([getattr(one, name) for name in _COLUMNS] for one in outcomes)
    writer.writerows(_others(out, {one.name for one in outcomes}))
    write_text(out / SUMMARY_CSV, text.getvalue())


def _others(out: Path, names: Collection[str]) -> list[list[str]]:
    """Rows of the summary that is there under other names, of inputs that still have a folder."""
    try:
        with (out / SUMMARY_CSV).open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file, restval="") if row.get("name") and row["name"] not in names]
        kept = [row for row in rows if (out / row["name"]).is_dir()]
    except (OSError, ValueError, csv.Error):
        return []
    return [[row.get(column, "") for column in _COLUMNS.values()] for row in kept]


def _looked_at(one: LigandText | BadLine) -> tuple[str, int]:
    """Why an input cannot be drawn, empty if it can; and its heavy atoms."""
    if isinstance(one, BadLine):
        return one.reason, 0
    try:
        return "", ligand_of(one.text).num_atoms
    except InputError as error:
        return str(error), 0


def _told(outcome: Outcome) -> str:
    """Place and reason; the place of a text on the command line is the text. Some reasons begin with the place.

    >>> _told(Outcome("a", "x.smi:3", FAILED, "no atoms")), _told(Outcome("a", "x.smi:3", FAILED, "x.smi:3: no atoms"))
    ('x.smi:3: no atoms', 'x.smi:3: no atoms')
    """
    twice = outcome.reason.startswith((repr(outcome.origin), f"{outcome.origin}: "))
    return outcome.reason if twice else f"{outcome.origin}: {outcome.reason}"


def _make(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: cannot be made ({error.strerror or error}); choose another --out") from None


def _tell(outcomes: Sequence[Outcome], known: Sequence[Outcome], summary: str, console: Console | None) -> None:
    """The summary for a person: a table, the reasons of failures that came up on the way, one line for all.

    `summary` is the file that has been written, empty if an earlier one is left.
    """
    if console is None:
        return
    say = teller(console)
    console.print(_table(outcomes[:MOST_ROWS]))
    if len(outcomes) > MOST_ROWS:
        say(f"({len(outcomes) - MOST_ROWS} more rows" + (f" in {summary})" if summary else ")"))
    new = [one for one in outcomes if one.status == FAILED and one not in known]
    for line in map(_told, new[:MOST_REASONS]):
        say(f"failed: {line}")
    counts = {status: sum(one.status == status for one in outcomes) for status in (DONE, KEPT, FAILED)}
    kept = f", {counts[KEPT]} there already" if counts[KEPT] else ""
    failed = f", {counts[FAILED]} failed" if counts[FAILED] else ""
    samples = sum(one.num_finite for one in outcomes if one.status == DONE)
    where = summary or f"{SUMMARY_CSV} is left as it was"
    say(f"{counts[DONE]} of {len(outcomes)} inputs drawn, {samples} samples{kept}{failed}: {where}")


def _table(outcomes: Sequence[Outcome]) -> Table:
    table = Table()
    for heading in ("name", "status", "samples", "finite", "stereo errors", "clashes", "seconds", "remark"):
        table.add_column(heading, justify="left" if heading in ("name", "status", "remark") else "right")
    for one in outcomes:
        counts = (one.num_samples, one.num_finite, one.stereo_errors, one.clashes)
        table.add_row(one.name, one.status, *map(str, counts), f"{one.seconds:.2f}", one.reason)
    return table
