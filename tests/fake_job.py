"""A job without a network, for engines: it keeps a diary of what it did, and breaks where it is told to."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from frazil.errors import InputError
from frazil.predictor.engine import DONE, FAILED, KEPT, Entry, Outcome

RESULT = "samples.json"


def entries(count: int) -> list[Entry]:
    return [Entry(f"ligand-{k}", "C" * (k + 1), f"ligands.smi:{k + 1}") for k in range(count)]


def in_batches(all_of_them: Sequence[Entry], size: int) -> list[Sequence[Entry]]:
    return [all_of_them[start : start + size] for start in range(0, len(all_of_them), size)]


@dataclass(frozen=True)
class FakeJob:
    out: Path
    seconds: float = 0.0
    """That each entry takes."""
    bad: tuple[str, ...] = ()
    """Entries that fail."""
    deadly: tuple[str, ...] = ()
    """Entries that kill the process."""
    closed: str = ""
    """Why the job cannot be opened."""

    def open(self) -> FakeWorker:
        if self.closed:
            raise InputError(self.closed)
        note(self.out, f"open {os.getpid()}")
        return FakeWorker(self)


@dataclass(frozen=True)
class FakeWorker:
    job: FakeJob

    def work(self, batch: Iterable[Entry]) -> list[Outcome]:
        return [self._one(entry) for entry in batch]

    def _one(self, entry: Entry) -> Outcome:
        if (self.job.out / entry.name / RESULT).exists():
            return Outcome(entry.name, entry.origin, KEPT)
        note(self.job.out, f"begin {entry.name} {os.getpid()}")
        time.sleep(self.job.seconds)
        if entry.name in self.job.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        if entry.name in self.job.bad:
            return Outcome(entry.name, entry.origin, FAILED, "told to fail")
        with tempfile.TemporaryDirectory(prefix=f".{entry.name}.", dir=self.job.out) as part:
            (Path(part) / RESULT).write_text(entry.source)
            Path(part).rename(self.job.out / entry.name)
            note(self.job.out, f"wrote {entry.name} {os.getpid()}")
            Path(part).mkdir()
        return Outcome(entry.name, entry.origin, DONE, num_samples=1)


def note(out: Path, line: str) -> None:
    """Add a line to the diary; one short write, so that processes do not mix theirs."""
    with open(out / "diary.txt", "a") as diary:
        diary.write(line + "\n")


def diary(out: Path, word: str) -> list[list[str]]:
    """What follows `word` in each of its lines."""
    path = out / "diary.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    return [line.split()[1:] for line in lines if line.startswith(word + " ")]
