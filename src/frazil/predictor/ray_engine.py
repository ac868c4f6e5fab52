"""Batches on the cores of a Ray cluster; what a lost worker had in hand is worked through again by another."""

from __future__ import annotations

import os
import pickle
import socket
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, final

from frazil.errors import FrazilError, InputError
from frazil.predictor.engine import FAILED, Batch, Entry, Job, Outcome, Progress, Worker

RETRIES: Final = 3
"""Times that Ray hands the batch of a lost worker to another."""
MAX_PENDING: Final = 1000
"""Batches that Ray knows of at once; the others wait here, where they cost little."""
OBJECT_STORE_BYTES: Final = 80 * 2**20
"""Shared memory of a cluster of our own: Ray's least, since results are files."""
ENVIRONMENT: Final = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_prestart_worker_first_driver": "0"}
"""Ray tells nobody of us; and it does not wait, for ever where the machine is busy, for workers started in advance."""
CONNECT_SECONDS: Final = 5.0
GOODBYE_SECONDS: Final = 5.0


@final
@dataclass(frozen=True)
class RayEngine:
    """Batches as Ray tasks, so that workers may come and go.

    Each worker process opens the job once. A batch whose worker or machine is lost runs again elsewhere, where results
    that are whole already are kept; if it is lost again and again, its entries run one by one, and those that still
    take their worker with them have failed. All machines must see the folder of the results, at the same path.

    Parameters
    ----------
    address : str or None
        `host:port` of a cluster that this machine belongs to, or `auto` for the one that runs here. By default the one
        that `RAY_ADDRESS` names, or else a cluster of this machine's cores that lives as long as the run. A program
        that has called `ray.init` itself stays in that session.
    cpus : int
        Cores of each worker, which is also the number of its threads.
    gpus : float
        GPUs of each worker.

    Examples
    --------
    >>> RayEngine("10.0.0.1:6379", cpus=4).cpus
    4
    """

    address: str | None = None
    cpus: int = 1
    gpus: float = 0

    def run(self, job: Job[Entry, Outcome], batches: Sequence[Batch], progress: Progress) -> Iterator[Outcome]:
        """Work through all batches; see `Engine.run`.

        Raises
        ------
        InputError
            If Ray is not installed, the cluster cannot be reached, it has no machine with so many cores and GPUs, or
            its machines do not have this package.
        FrazilError
            What a worker could not go on from.
        """
        total, dealt_with = sum(map(len, batches)), 0
        if not total:
            return
        with _session(self.address) as ray:
            self._refuse_too_small(ray)
            task = ray.remote(_work).options(
                num_cpus=self.cpus, num_gpus=self.gpus, max_retries=RETRIES, scheduling_strategy="SPREAD"
            )
            for outcomes in _deal(ray, task, job, batches):
                yield from outcomes
                dealt_with += len(outcomes)
                progress(dealt_with, total)

    def _refuse_too_small(self, ray: Any) -> None:
        """A task that fits no machine would wait for ever."""
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if not any(one.get("CPU", 0) >= self.cpus and one.get("GPU", 0) >= self.gpus for one in machines):
            need = f"{self.cpus} CPU" + (f" and {self.gpus:g} GPU" if self.gpus else "")
            raise InputError(
                f"--engine ray: none of the cluster's {len(machines)} machines offers {need}; add one first"
            )


def _work(job: bytes, batch: Batch) -> list[Outcome]:
    """What a worker process does."""
    return list(_opened(job).work(batch))


@lru_cache(maxsize=1)
def _opened(job: bytes) -> Worker[Entry, Outcome]:
    """The job of this process, which lives through many tasks."""
    unpickled: Job[Entry, Outcome] = pickle.loads(job)
    return unpickled.open()


def _deal(ray: Any, task: Any, job: Job[Entry, Outcome], batches: Sequence[Batch]) -> Iterator[list[Outcome]]:
    """The outcomes of one batch after the other, as they come."""
    # Ray's pickle takes along what the other machines cannot import, the user's script for one
    packed = ray.put(ray.cloudpickle.dumps(job))
    waiting: deque[Batch] = deque(batch for batch in batches if batch)
    pending: dict[Any, Batch] = {}
    try:
        while waiting or pending:
            while waiting and len(pending) < MAX_PENDING:
                batch = waiting.popleft()
                pending[task.remote(packed, tuple(batch))] = batch
            (ref,), _ = ray.wait(list(pending))
            batch = pending.pop(ref)
            outcomes = _outcomes(ray, ref, batch)
            if outcomes is None:
                waiting.extendleft((entry,) for entry in batch)
            else:
                yield outcomes
    finally:
        # an interrupted task removes its unfinished files
        for ref in pending:
            ray.cancel(ref)
        if pending:
            ray.wait(list(pending), num_returns=len(pending), timeout=GOODBYE_SECONDS)


def _outcomes(ray: Any, ref: Any, batch: Batch) -> list[Outcome] | None:
    """What came of a batch; None if its workers were lost so often that its entries should run alone."""
    errors = ray.exceptions
    try:
        outcomes: list[Outcome] = ray.get(ref)
        return outcomes
    except errors.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, FrazilError):
            raise cause from None
        if isinstance(cause, ImportError):
            raise InputError(
                f"--engine ray: a machine of the cluster lacks a package ({cause}); install frazil and your own there"
            ) from None
        raise
    except (errors.WorkerCrashedError, errors.NodeDiedError, errors.OutOfMemoryError, errors.ObjectLostError) as error:
        if len(batch) > 1:
            return None
        why = "ran out of memory" if isinstance(error, errors.OutOfMemoryError) else "died"
        return [
            Outcome(one.name, one.origin, FAILED, f"the worker {why} in each of {RETRIES + 1} tries") for one in batch
        ]


@contextmanager
def _session(address: str | None) -> Iterator[Any]:
    """Ray, connected; what we started ends with the block."""
    try:
        import ray
    except ImportError as error:
        raise InputError("--engine ray: Ray is not installed; pip install 'frazil[ray]'") from error
    if ray.is_initialized():
        yield ray
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    try:
        _connect(ray, address)
        yield ray
    finally:
        ray.shutdown()


def _connect(ray: Any, address: str) -> None:
    os.environ.update(ENVIRONMENT)
    own = {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES} if address == "local" else {}
    try:
        if address not in ("local", "auto"):
            host, _, port = address.rpartition(":")
            if not host or not port.isdecimal():
                raise ValueError("it is not of the form host:port")
            # Ray itself tries for minutes
            socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
        ray.init(address, log_to_driver=False, logging_level="ERROR", **own)
    except (OSError, RuntimeError, ValueError, OverflowError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if address == "local":
            raise InputError(f"--engine ray: does not start on this machine ({reason}); use --engine local") from error
        raise InputError(
            f"--address {address}: no Ray cluster to join there ({reason}); give host:port of one that runs on this "
            "machine too (`ray start`), or leave it out for this machine's cores"
        ) from error
