"""The run of `frazil prepare`: what is not stored yet is featurised, stored in batches, and what failed is listed."""

from __future__ import annotations

import csv
import io
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from frazil.atomic import write_text
from frazil.data.store import Record, Refusal, StoreWriter
from frazil.errors import InputError
from frazil.preparer.crew import Crew, Outcome
from frazil.preparer.entries import Entry, dictionary
from frazil.preparer.progress import PrepareProgress
from frazil.preparer.settings import PrepareSettings
from frazil.preparer.sources import Sources, refuse_overlap, sources_of, uniquely_named

BATCH = 256
BATCH_SECONDS = 10.0
"""A batch is stored when it has so many entries or is so old."""
FAILED = "failed.csv"


@dataclass(frozen=True)
class Prepared:
    """What a store holds after a run."""

    path: Path
    num_stored: int
    num_new: int
    """Of them from this run."""
    num_failed: int
    """Listed in failed.csv, those of earlier runs included."""
    num_outside: int
    """Left out for their size."""

    def text(self) -> str:
        """One line for a person."""
        parts = [f"{self.path}: {self.num_stored:,} structures ({self.num_new:,} new)"]
        if self.num_failed:
            parts.append(f"{self.num_failed:,} failed (reasons in {self.path / FAILED})")
        if self.num_outside:
            parts.append(f"{self.num_outside:,} outside the limits of size")
        return ", ".join(parts)


def prepare(
    words: Sequence[str], out: Path, settings: PrepareSettings | None = None, *,
    ids: Path | None = None, split: str | None = None, console: Console | None = None,
) -> Prepared:  # fmt: skip
    """Featurise structures into a store; what the store has already is left alone, so a killed run goes on.

    Parameters
    ----------
    words : sequence of str
        `ccd`, SDF and structure files, and folders of them.
    out : Path
        Folder of the store, new or from an earlier run.
    settings : PrepareSettings, optional
        Conformers, limits of size, processes.
    ids : Path, optional
        List of the entries to take.
    split : str, optional
        Part of the list; train by default.
    console : rich.console.Console, optional
        For progress.

    Raises
    ------
    InputError
        If a source, the list or the folder cannot be used, one lies in the other, the disk is full, or nothing could
        be prepared.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> folder = TemporaryDirectory()
    >>> _ = Path(folder.name, "two.txt").write_text("IBP\\nGLY\\n")
    >>> done = prepare(["ccd"], Path(folder.name, "store"), ids=Path(folder.name, "two.txt"))
    >>> done.num_stored, done.num_failed
    (2, 0)
    >>> folder.cleanup()
    """
    settings = settings or PrepareSettings()
    sources = sources_of(words, ids, split)
    refuse_overlap(words, out)
    with StoreWriter(out, num_conformers=settings.conformers) as writer:
        left = _Left(sources, writer, settings)
        total = left.count(ids)
        if total and sources.codes:
            dictionary()
        try:
            num_new = _store(left, total, writer, settings, console) if total else 0
        except KeyboardInterrupt:
            _list_failed(out / FAILED, writer)
            raise
        failed = _list_failed(out / FAILED, writer)
        num_outside = len(writer.refusals()) - len(failed)
        done = Prepared(out, len(writer.names()), num_new, len(failed), num_outside)
    if not done.num_stored:
        why = f"the first: {failed[0].origin}: {failed[0].reason}" if failed else "all are outside the limits of size"
        raise InputError(f"{out}: nothing could be prepared of {len(failed) + num_outside:,} entries; {why}")
    return done


class _Left:
    """The entries of some sources that a store lacks."""

    def __init__(self, sources: Sources, writer: StoreWriter, settings: PrepareSettings) -> None:
        self._sources = sources
        self._stored, self._names = writer.origins(), writer.names()
        self._refused = {refusal.origin: refusal for refusal in writer.refusals()}
        self._settings = settings

    def __iter__(self) -> Iterator[Entry]:
        """Each under a name of its own."""
        return uniquely_named((entry for entry in self._sources if self._is_left(entry)), self._names)

    def count(self, ids: Path | None) -> int:
        """How many there are; warns of ids that no entry of the sources has."""
        found, number = set(), 0
        for entry in self._sources:
            found.add(entry.name)
            number += self._is_left(entry)
        missing = sorted((self._sources.wanted or frozenset()) - found)
        if missing:
            warnings.warn(f"{ids}: {len(missing):,} ids are not in the data, such as {missing[0]}", stacklevel=3)
        if not found:
            raise InputError("nothing to prepare: no entry of the sources is in the list of ids")
        return number

    def _is_left(self, entry: Entry) -> bool:
        if entry.origin in self._stored:
            return False
        refusal = self._refused.get(entry.origin)
        if refusal is None:
            return True
        if refusal.num_atoms is not None:
            return self._settings.admits(refusal.num_atoms)
        return self._settings.retry_failed


def _store(
    left: Iterable[Entry], total: int, writer: StoreWriter, settings: PrepareSettings, console: Console | None
) -> int:
    """Featurise and store; the number of structures stored."""
    batch = _Batch(writer)
    done = failed = 0
    try:
        with PrepareProgress(console, total) as progress, closing(Crew(settings).work(iter(left))) as outcomes:
            for name, result in outcomes:
                batch.add((name, result))
                done += 1
                failed += isinstance(result, Refusal) and result.num_atoms is None
                progress.update(done, failed)
    except KeyboardInterrupt:
        batch.flush()
        raise
    batch.flush()
    return batch.num_stored


class _Batch:
    """Outcomes that wait to be stored together."""

    def __init__(self, writer: StoreWriter) -> None:
        self._writer = writer
        self._outcomes: list[Outcome] = []
        self._since = time.monotonic()
        self.num_stored = 0

    def add(self, outcome: Outcome) -> None:
        self._outcomes.append(outcome)
        if len(self._outcomes) >= BATCH or time.monotonic() - self._since > BATCH_SECONDS:
            self.flush()

    def flush(self) -> None:
        records = {name: result for name, result in self._outcomes if isinstance(result, Record)}
        refusals = [result for _, result in self._outcomes if isinstance(result, Refusal)]
        self._writer.put(records, refusals)
        self.num_stored += len(records)
        self._outcomes, self._since = [], time.monotonic()


def _list_failed(path: Path, writer: StoreWriter) -> list[Refusal]:
    failed = [refusal for refusal in writer.refusals() if refusal.num_atoms is None]
    if failed:
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(("name", "origin", "reason"))
        rows.writerows((refusal.name, refusal.origin, refusal.reason) for refusal in failed)
        # paths may hold bytes that are no UTF-8
        write_text(path, text.getvalue().encode("utf-8", "backslashreplace").decode())
    else:
        path.unlink(missing_ok=True)
    return failed
