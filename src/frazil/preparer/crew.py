"""Processes that featurise entries; one that dies takes no more with it than the entry it died of."""

from __future__ import annotations

import multiprocessing
import sys
import warnings
from collections.abc import Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import final

import torch

from frazil.data.store import Record, Refusal
from frazil.errors import InputError
from frazil.preparer.entries import Entry
from frazil.preparer.settings import OutsideLimits, PrepareSettings
from frazil.processors import work_for_parent

CHUNK = 4
"""Entries that a process takes at once."""
AHEAD = 4
"""Chunks that wait for each process; more would hold more of a large file in memory."""

Outcome = tuple[str, Record | Refusal]
"""Name of an entry and what came of it."""
_Chunk = tuple[Entry, ...]


@final
class Crew:
    """Processes at work.

    Parameters
    ----------
    settings : PrepareSettings
        How to featurise, and with how many processes.
    """

    def __init__(self, settings: PrepareSettings) -> None:
        self._settings = settings

    def work(self, entries: Iterator[Entry]) -> Generator[Outcome, None, None]:
        """What comes of the entries, in any order."""
        chunks = _chunks(entries)
        while lost := (yield from self._until_one_dies(chunks)):
            for entry in lost:
                yield from self._alone(entry)

    def _until_one_dies(self, chunks: Iterator[_Chunk]) -> Generator[Outcome, None, list[Entry]]:
        """Outcomes, until all is done or a process dies; the entries that were under way then."""
        workers = self._settings.num_workers
        running: dict[Future[list[Outcome]], _Chunk] = {}
        taken: _Chunk = ()
        pool = _pool(workers)
        try:
            while True:
                for taken in islice(chunks, workers * AHEAD - len(running)):
                    running[pool.submit(work_on, taken, self._settings)] = taken
                taken = ()
                if not running:
                    return []
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    outcomes = future.result()
                    del running[future]
                    yield from outcomes
        except BrokenProcessPool:
            return [entry for chunk in (*running.values(), taken) for entry in chunk]
        finally:
            pool.shutdown(cancel_futures=True)

    def _alone(self, entry: Entry) -> Iterator[Outcome]:
        with _pool(1) as pool:
            try:
                yield from pool.submit(work_on, (entry,), self._settings).result()
            except BrokenProcessPool:
                reason = "the process that worked on it died; it may need more memory than there is"
                yield entry.name, Refusal(entry.name, entry.origin, reason)


def work_on(chunk: _Chunk, settings: PrepareSettings) -> list[Outcome]:
    """What comes of some entries, in this process."""
    return [(entry.name, _outcome(entry, settings)) for entry in chunk]


def _outcome(entry: Entry, settings: PrepareSettings) -> Record | Refusal:
    try:
        return Record.of(entry.structure(settings))
    except OutsideLimits as error:
        return Refusal(entry.name, entry.origin, str(error), error.num_atoms)
    except InputError as error:
        return Refusal(entry.name, entry.origin, str(error).removeprefix(f"{entry.name}: "))
    except Exception as error:
        # one entry among many thousands, which no reader foresaw, must not end the run
        return Refusal(entry.name, entry.origin, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")


def _chunks(entries: Iterator[Entry]) -> Iterator[_Chunk]:
    while chunk := tuple(islice(entries, CHUNK)):
        yield chunk


def _pool(workers: int) -> ProcessPoolExecutor:
    # forked processes share what is loaded already
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else None)
    return ProcessPoolExecutor(workers, context, initializer=_begin)


def _begin() -> None:
    work_for_parent()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
