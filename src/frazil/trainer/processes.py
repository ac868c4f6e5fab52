"""The processes of a run: which one this is, those it starts beside itself, and what follows when one of them is lost.

torchrun and SLURM start all processes themselves; otherwise the first process of each node starts the others of its
node. All of them find each other by the names that torchrun sets: MASTER_ADDR, MASTER_PORT, NODE_RANK, LOCAL_RANK.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import final

import torch
from pytorch_lightning.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)

from frazil.errors import InputError
from frazil.trainer.request import Request

PATIENCE = timedelta(minutes=30)
"""Longest wait for another process; validation and saving by the first one must fit in."""
POLL_SECONDS = 0.2
GRACE_SECONDS = 10.0
"""From the loss of a process to the end of this one, if it does not end by itself."""
LAST_SECONDS = 60.0
"""Longest wait for the others at the end of a run."""

_NAMES = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE", "OMP_NUM_THREADS")
_CONTACT = re.compile(r"gloo|nccl|tcpstore|socket|connection (reset|closed|refused)|broken pipe|timed ?out", re.I)


class ContactLost(InputError):
    """Another process of the run has ended, or does not answer."""


@dataclass(frozen=True)
class Standing:
    """Which of the processes of a run this one is."""

    rank: int
    """Among all of them."""
    size: int
    """Number of all of them."""
    environment: ClusterEnvironment
    """Where Lightning reads who is who."""

    @property
    def main(self) -> bool:
        """Whether this process keeps the RUN folder and talks."""
        return self.rank == 0

    @property
    def starts_others(self) -> bool:
        """Whether nobody else starts the other processes of this node."""
        return self.size > 1 and not self.environment.creates_processes_externally

    @classmethod
    def find(cls, devices: int, num_nodes: int) -> Standing:
        """What the environment says.

        Parameters
        ----------
        devices, num_nodes : int
            Processes on each node, and nodes.

        Raises
        ------
        InputError
            If it says something else than the settings, or several nodes cannot find each other.
        """
        size = devices * num_nodes
        if TorchElasticEnvironment.detect():
            return cls._started_by("torchrun", TorchElasticEnvironment(), devices, num_nodes)
        if size > 1 and SLURMEnvironment.detect():
            try:
                environment = SLURMEnvironment(auto_requeue=False)
            except RuntimeError as error:
                raise InputError(f"SLURM: {' '.join(str(error).split())}") from error
            return cls._started_by("SLURM", environment, devices, num_nodes)
        alone = LightningEnvironment()
        if num_nodes > 1 and not {"MASTER_ADDR", "MASTER_PORT", "NODE_RANK"} <= set(os.environ):
            raise InputError(
                f"--num-nodes {num_nodes}: start it with torchrun or srun, or set MASTER_ADDR, MASTER_PORT and "
                "NODE_RANK on every node"
            )
        rank = alone.node_rank() * devices + alone.local_rank() if size > 1 else 0
        return cls(rank, size, alone)

    @classmethod
    def _started_by(cls, who: str, environment: ClusterEnvironment, devices: int, num_nodes: int) -> Standing:
        size = environment.world_size()
        if size != devices * num_nodes:
            raise InputError(
                f"--devices {devices} and --num-nodes {num_nodes} are {devices * num_nodes} process(es), but {who} "
                f"started {size}: give the numbers it was given"
            )
        return cls(environment.global_rank(), size, environment)


def contact_failed(error: BaseException) -> bool:
    """Whether an error of torch says that another process is out of reach.

    >>> contact_failed(RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer"))
    True
    """
    return isinstance(error, torch.distributed.DistError) or (
        isinstance(error, RuntimeError) and _CONTACT.search(str(error)) is not None
    )


def ended(name: str, code: int) -> str:
    """How a process ended, for a person.

    >>> ended("process 1", -9)
    'process 1 was killed (SIGKILL)'
    """
    if code >= 0:
        return f"{name} ended with exit code {code}"
    return f"{name} was killed ({signal.Signals(-code).name})"


@final
class Workers:
    """The other processes of this node, each a `python -m frazil.trainer.worker`, for the time of a `with` block.

    The block ends with them: when it ends well they are waited for, otherwise they are killed. One that dies before is
    noticed within a second. This process then has `GRACE_SECONDS` to leave the block, since it may hang in a call to
    the lost one that nothing can interrupt; after that it is ended, too.

    Parameters
    ----------
    standing : Standing
        This process; it is the first of its node.
    request : Request
        The run, which goes to the standard input of each.
    advice : callable
        Gives the end of the line that says what happened.
    """

    def __init__(self, standing: Standing, request: Request, advice: Callable[[], str]) -> None:
        self._standing, self._request, self._advice = standing, request, advice
        self._processes: list[subprocess.Popen[str]] = []
        self._left = threading.Event()
        self._threads = torch.get_num_threads()
        self._before: Mapping[str, str | None] = {}

    def __enter__(self) -> Workers:
        self._before = {name: os.environ.get(name) for name in _NAMES}
        where = self._standing.environment
        os.environ |= {
            "MASTER_ADDR": where.main_address,
            "MASTER_PORT": str(where.main_port),
            "NODE_RANK": str(where.node_rank()),
            "WORLD_SIZE": str(self._standing.size),
            "LOCAL_RANK": "0",
        }
        try:
            for local in range(1, self._request.settings.devices):
                self._processes.append(self._start(local))
        except BaseException:
            self._end(kill=True)
            raise
        threading.Thread(target=self._watch, daemon=True, name="frazil-workers").start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()
        self._end(kill=kind is not None)

    @property
    def pids(self) -> tuple[int, ...]:
        """Process numbers, by local rank from 1 on."""
        return tuple(process.pid for process in self._processes)

    def lost(self, seconds: float = 0.0) -> str:
        """Which process has died and how, empty if none has; waits that long for one to die."""
        until = time.monotonic() + seconds
        while True:
            for local, process in enumerate(self._processes, start=1):
                if process.poll():
                    return ended(f"process {self._standing.rank + local} of {self._standing.size}", process.poll() or 0)
            if time.monotonic() >= until:
                return ""
            time.sleep(POLL_SECONDS)

    def _start(self, local: int) -> subprocess.Popen[str]:
        environment = {**os.environ, "LOCAL_RANK": str(local), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        # a session of its own: Ctrl-C goes to the first process alone, which tells the others
        process = subprocess.Popen(
            [sys.executable, "-m", "frazil.trainer.worker"], env=environment, stdin=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        assert process.stdin is not None
        # one that has died already is noticed as any other
        with suppress(BrokenPipeError), process.stdin:
            process.stdin.write(self._request.to_json())
        return process

    def _watch(self) -> None:
        while not self._left.wait(POLL_SECONDS):
            if lost := self.lost():
                if not self._left.wait(GRACE_SECONDS):
                    for process in self._processes:
                        process.kill()
                    _end_at_once(f"error: {lost}; {self._advice()}", 2)
                return

    def _end(self, *, kill: bool) -> None:
        until = time.monotonic() + (0 if kill else LAST_SECONDS)
        for process in self._processes:
            try:
                process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        torch.set_num_threads(self._threads)


def _end_at_once(line: str, code: int) -> None:
    """End this process from any of its threads, whatever the others do."""
    try:
        if line:
            print(line, file=sys.stderr, flush=True)
    finally:
        os._exit(code)


def end_with_parent(parent: int, say: Callable[[], str]) -> None:
    """End this process as soon as the one that started it is gone.

    Parameters
    ----------
    parent : int
        Its number.
    say : callable
        Gives the line to print then; empty for nothing.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(POLL_SECONDS)
        _end_at_once(say(), 1)

    threading.Thread(target=watch, daemon=True, name="frazil-parent").start()
