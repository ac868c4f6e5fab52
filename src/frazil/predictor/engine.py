"""Many inputs, in batches: what an input is, what comes of it, and who does the work.

A `Job` is told once what to do; each process opens it, which loads the model, and gives it batches. An `Engine` decides
which process gets which batch: `LocalEngine` this one, `RayEngine` those of a cluster.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any, Final, Protocol, TypeVar, final

import torch

from frazil.errors import FrazilError
from frazil.processors import work_for_parent

DONE: Final = "done"
FAILED: Final = "failed"
KEPT: Final = "kept"

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")
TakenT = TypeVar("TakenT", contravariant=True)
GivenT = TypeVar("GivenT", covariant=True)
Batch = Sequence["Entry"]
Progress = Callable[[int, int], None]
"""Called with the numbers of entries dealt with and in all."""


@dataclass(frozen=True)
class Entry:
    """One input; small, so that it can be sent to another process.

    Examples
    --------
    >>> Entry("ethanol", "CCO", "ligands.smi:12").name
    'ethanol'
    """

    name: str
    """Of the folder of its results, and unique in the run; with the seed it decides the random numbers."""
    source: str
    """SMILES, CCD code, or the text of an SDF record."""
    origin: str
    """Where it stands, for a person: `ligands.smi:12`."""


@dataclass(frozen=True)
class Outcome:
    """What came of one entry: a row of `summary.csv`."""

    name: str
    """Of the entry."""
    origin: str
    """Of the entry."""
    status: str
    """`done`, `failed`, or `kept` where the results were there already."""
    reason: str = ""
    """Why it failed, or what was chosen where the input left a choice."""
    num_samples: int = 0
    """Samples drawn."""
    num_finite: int = 0
    """Of them finite."""
    stereo_errors: int = 0
    """Samples with a stereocentre or double bond that is not as asked for."""
    clashes: int = 0
    """Pairs of atoms that are too close, over all samples."""
    seconds: float = 0.0
    """Wall time, its share of the batch's."""


class Worker(Protocol[TakenT, GivenT]):
    """A job opened in one process."""

    def work(self, batch: Sequence[TakenT]) -> Sequence[GivenT]:
        """Deal with some inputs, together where they can be.

        Parameters
        ----------
        batch : sequence
            Inputs; those of an `Engine` are `Entry`, and `OUT/<name>/` is written of each, whole or not at all.

        Returns
        -------
        sequence
            One `Outcome` for each entry, in any order. A bad entry is an outcome, not an exception; an entry whose
            folder is whole already is kept as it is.

        Raises
        ------
        FrazilError
            If nothing more can be written or computed at all.
        """
        ...


class Job(Protocol[TakenT, GivenT]):
    """What is to be done; can be pickled and holds no model."""

    def open(self) -> Worker[TakenT, GivenT]:
        """Load what is needed, once in a process."""
        ...


class Engine(Protocol):
    """Deals batches out and collects what came of them."""

    def run(self, job: Job[Entry, Outcome], batches: Sequence[Batch], progress: Progress) -> Iterator[Outcome]:
        """Work through all batches.

        Parameters
        ----------
        job : Job
            Opened once in each process.
        batches : sequence of sequences of Entry
            No entry twice.
        progress : callable
            Told the numbers of entries dealt with and in all, after each batch.

        Yields
        ------
        Outcome
            One for each entry, as they come.
        """
        ...


@final
@dataclass(frozen=True)
class LocalEngine:
    """All batches on this machine: in this process, or in some of its own with one thread each.

    Processes pay for many small batches: reference conformers, judging and writing then run beside the network, too. A
    program that starts them needs `if __name__ == "__main__":` around what it does.

    Parameters
    ----------
    processes : int
        1 for this process, with torch's own threads.
    """

    processes: int = 1

    def run(
        self, job: Job[ItemT, ResultT], batches: Sequence[Sequence[ItemT]], progress: Progress | None = None
    ) -> Iterator[ResultT]:
        """See `Engine.run`; of any job, and what comes of it.

        Raises
        ------
        FrazilError
            If a process was killed; what is written is whole.
        """
        total, dealt_with = sum(map(len, batches)), 0
        worked = self._here(job, batches) if self.processes == 1 else self._beside(job, batches)
        for results in worked:
            yield from results
            dealt_with += len(results)
            if progress is not None:
                progress(dealt_with, total)

    def _here(self, job: Job[ItemT, ResultT], batches: Sequence[Sequence[ItemT]]) -> Iterator[Sequence[ResultT]]:
        worker: Worker[ItemT, ResultT] | None = None
        for batch in batches:
            worker = worker or job.open()
            yield worker.work(batch)

    def _beside(self, job: Job[ItemT, ResultT], batches: Sequence[Sequence[ItemT]]) -> Iterator[Sequence[ResultT]]:
        # threads of torch do not survive a fork
        context = get_context("spawn")
        pool = ProcessPoolExecutor(self.processes, context, initializer=_open, initargs=(job,))
        try:
            for done in as_completed([pool.submit(_work, batch) for batch in batches]):
                yield done.result()
        except KeyboardInterrupt:
            warnings.warn("stopping after the batches under way; what is written is whole", stacklevel=2)
            raise
        except BrokenProcessPool:
            raise FrazilError(
                "a process that drew samples was ended from outside, perhaps for want of memory; what is written is "
                "whole: run the same again, with fewer processes if need be"
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


_opened: list[Worker[Any, Any] | FrazilError] = []
"""The worker of a process of `LocalEngine`'s own, or why there is none."""


def _open(job: Job[Any, Any]) -> None:
    torch.set_num_threads(1)
    work_for_parent()
    try:
        _opened.append(job.open())
    except FrazilError as error:
        _opened.append(error)


def _work(batch: Sequence[Any]) -> Sequence[Any]:
    if isinstance(_opened[0], FrazilError):
        raise _opened[0]
    return _opened[0].work(batch)
