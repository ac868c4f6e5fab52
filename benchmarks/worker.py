"""A program in a process of its own: requests come in on stdin, one JSON object a line, and answers go out on stdout.

Runs in any environment that has torch and the program: `python -m benchmarks.worker NAME DEVICE THREADS`.
"""

from __future__ import annotations

import gc
import importlib.metadata
import json
import os
import platform
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, TextIO

import torch

from benchmarks.peers import SIGMA, Peer, Solve, peer
from benchmarks.problems import Problem
from benchmarks.profiling import profiled
from frazil.bench.measuring import Gauge, Stopwatch

SHORTEST = 0.4
"""Seconds of work that are timed at a time: short calls are repeated."""
MOST_REPEATS = 20
PROBES = 240


class Worker:
    """Keeps the solution of the last problem, in each precision, and measures it."""

    def __init__(self, program: Peer) -> None:
        self._program = program
        self._clock, self._gauge = Stopwatch(program.device), Gauge.on(program.device)
        self._problem: Problem | None = None
        self._inputs: Any = None
        self._solutions: dict[str, Solve] = {}

    def hello(self) -> dict[str, Any]:
        """Who is there."""
        versions = {name: importlib.metadata.version(name) for name in self._program.packages()}
        return {"python": platform.python_version(), "threads": torch.get_num_threads(), "versions": versions}

    def prepare(self, problem: dict[str, Any], precision: str) -> dict[str, Any]:
        """Make inputs, bind, solve once; how long that first solution took."""
        wanted = Problem(**problem)
        if wanted != self._problem:
            self._forget()
            self._inputs, self._problem = self._program.inputs(wanted), wanted
        self._solutions[precision] = self._program.bind(wanted, self._inputs, precision)
        return {"seconds": self._clock.seconds(lambda: self._solutions[precision](SIGMA))}

    def call(self, precision: str) -> dict[str, Any]:
        """Seconds of a solution; the median of several where one is short."""
        solve = self._solutions[precision]
        times = [self._clock.seconds(lambda: solve(SIGMA))]
        for _ in range(min(MOST_REPEATS, int(SHORTEST / times[0]))):
            times.append(self._clock.seconds(lambda: solve(SIGMA)))
        return {"seconds": median(times)}

    def probe(self, precision: str) -> dict[str, Any]:
        """Some of the numbers of the solution, evenly spread."""
        found = self._solutions[precision](SIGMA).flatten().float().cpu()
        return {"values": found[:: max(1, len(found) // PROBES)].tolist()}

    def deviation(self, precision: str, sigmas: list[float]) -> dict[str, Any]:
        """Root mean square distance, angstrom, from float32 to a precision at some noise levels."""
        found = []
        for sigma in sigmas:
            exact, rough = (self._solutions[name](sigma).float() for name in ("float32", precision))
            found.append(float((exact - rough).square().sum(dim=-1).mean().sqrt()))
        return {"angstrom": found}

    def peak(self, problem: dict[str, Any], small: dict[str, Any], precision: str) -> dict[str, Any]:
        """Bytes that binding and the first call take beyond weights and inputs, and those of a second call.

        A small problem goes first: it loads code and packs weights, which `packed` tells.
        """
        if self._gauge is None:
            raise RuntimeError("this system does not tell how much memory a process has used")
        wanted = Problem(**problem)
        first = Problem(**small)
        inputs = self._program.inputs(first)
        before = self._gauge.held()
        self._program.bind(first, inputs, precision)(SIGMA)
        del inputs
        gc.collect()
        packed = self._gauge.held() - before
        self._inputs, self._problem = self._program.inputs(wanted), wanted
        gc.collect()

        def begin() -> None:
            self._solutions[precision] = self._program.bind(wanted, self._inputs, precision)
            self._solutions[precision](SIGMA)

        peak = self._gauge.peak(begin)
        return {"packed": packed, "peak": peak, "again": self._gauge.peak(lambda: self._solutions[precision](SIGMA))}

    def ceiling(self, precision: str, seconds: float) -> dict[str, Any]:
        """The machine's own product peak, now."""
        from frazil.bench.peaks import product_peak
        from frazil.nn.compute import Compute

        found = product_peak(Compute(precision).product_dtype, self._program.device, seconds)
        return {"flops": found.flops, "product": found.product}

    def profile(self, precision: str) -> dict[str, Any]:
        """Where the time of a solution goes."""
        return profiled(lambda: self._solutions[precision](SIGMA), self._program.device)

    def _forget(self) -> None:
        self._problem, self._inputs = None, None
        self._solutions.clear()
        gc.collect()


def serve(worker: Worker, requests: TextIO, answers: TextIO) -> None:
    """Answer until the requests end."""
    operations: dict[str, Callable[..., dict[str, Any]]] = {
        name: getattr(worker, name)
        for name in ("hello", "prepare", "call", "probe", "deviation", "peak", "ceiling", "profile")
    }
    for line in requests:
        request = json.loads(line)
        try:
            answer = operations[request.pop("do")](**request)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def main() -> None:
    """Start: answers go to what was stdout, and whatever libraries print goes to stderr."""
    name, device, threads = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    score = Path("/proc/self/oom_score_adj")
    if score.exists():
        # where memory runs out, it is this process that goes
        score.write_text("1000")
    if threads != "0":
        torch.set_num_threads(int(threads))
    torch.set_grad_enabled(False)
    serve(Worker(peer(name, torch.device(device))), sys.stdin, answers)


if __name__ == "__main__":
    main()
