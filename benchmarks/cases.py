"""Everything that is measured, by name, and the goals."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Final, final

from benchmarks.crew import REPOSITORY, Crew, PeerFailed
from benchmarks.findings import Figure, Goal
from benchmarks.measurements import Deviation, Growth, Measurement, PeakMemory, Share, Times
from benchmarks.problems import Problem

TOKENS: Final = (64, 128, 256, 512, 1024)
SAMPLES: Final = (1, 5, 25)
ATOMS_PER_TOKEN: Final = (8, 20)
STEERED: Final = Problem("denoise", 512, 8, 3)
_QUICK: Final = (128, 5)
"""Tokens and samples that `--quick` stays below."""


@final
@dataclass(frozen=True)
class SteeringStep(Measurement):
    """A guidance step beside the reference's potentials: `benchmarks.steering`, in a process of its own."""

    problem: Problem = STEERED

    @property
    def name(self) -> str:
        return "steering"

    @property
    def title(self) -> str:
        return "one guidance step of 20 moves, 3 samples, two chains with ligands, 4,096 atoms"

    def figures(self, crew: Crew, rounds: int) -> Iterator[Figure]:
        crew.rest()
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "steering.json"
            command = [sys.executable, "-m", "benchmarks.steering", "--rounds", str(rounds), "--out", str(out)]
            threads = ["--threads", str(crew.threads)] if crew.threads else []
            done = subprocess.run([*command, *threads], capture_output=True, text=True, cwd=REPOSITORY)
            if done.returncode:
                raise PeerFailed(f"benchmarks.steering: {done.stderr.strip().rpartition(chr(10))[2]}")
            found = json.loads(out.read_text())
        seconds, ratios = found["seconds"], found["ratios"]
        ours, theirs = crew.ours.name, crew.contestants[1].name
        yield Figure(ours, "float32", "time", "s", (seconds["ours"],), ratio=ratios["faster"], goal=Goal(50, True))
        yield Figure(theirs, "float32", "time", "s", (seconds["theirs"],))
        for who, key in ((ours, "ours"), (theirs, "theirs")):
            mib = found["mib"][key]
            ratio = mib / found["mib"]["theirs"] if key == "ours" else None
            goal = Goal(0.1, False) if key == "ours" else None
            yield Figure(who, "float32", "peak memory", "MiB", (mib,), ratio=ratio, goal=goal)


def targets() -> list[Measurement]:
    """The rows of the table of figures to reach."""
    atoms = Problem("denoise", 16, 256, 1, network="atoms")
    at_most = {"float32": Goal(4.4, False)}
    return [
        Times(Problem("denoise", 256, 8, 5), _at_least(1.4, 3.6)),
        Times(Problem("denoise", 256, 8, 25), _at_least(1.5, 4.0)),
        Times(Problem("denoise", 64, 8, 1), _at_least(1.2, 2.5)),
        Times(Problem("train", 128, 8, 16), _at_least(1.6, 3.5)),
        PeakMemory(Problem("denoise", 512, 8, 10), {"float32": Goal(0.35, False), "bf16": Goal(0.25, False)}),
        Growth(atoms, replace(atoms, tokens=64), at_most),
        Share(Problem("denoise", 256, 8, 5), _at_least(0.85, 0.65)),
        Deviation(Problem("denoise", 256, 8, 1), {"bf16": Goal(0.15, False)}),
    ]


def everything() -> list[Measurement]:
    """Targets, sampling, steering, memory, and calls of every size, the cheapest first."""
    more: list[Measurement] = [
        Times(Problem("sample", 128, 8, 5, steps=20)),
        PeakMemory(Problem("denoise", 256, 8, 5)),
        PeakMemory(Problem("train", 128, 8, 16)),
        SteeringStep(),
    ]
    grid = [
        Problem("denoise", tokens, atoms, samples)
        for tokens in TOKENS
        for atoms in ATOMS_PER_TOKEN
        for samples in SAMPLES
    ]
    calls: list[Measurement] = [Times(problem) for problem in sorted(grid, key=lambda problem: problem.cost)]
    by_name = {measurement.name: measurement for measurement in [*calls, *more, *targets()]}
    first = [measurement.name for measurement in [*targets(), *more]]
    return [by_name[name] for name in [*first, *(name for name in by_name if name not in first)]]


PRESETS: Final = {"targets": targets, "all": everything}


def chosen(preset: str, patterns: list[str], *, quick: bool, network: str) -> list[Measurement]:
    """The measurements of a preset whose names match one of the patterns.

    Parameters
    ----------
    preset : str
        Key of `PRESETS`.
    patterns : list of str
        Names or globs; empty for all.
    quick : bool
        Small problems only.
    network : str
        Key of `problems.NETWORKS`; with another than `full`, to try things out, there are no goals to reach.
    """
    found = PRESETS[preset]()
    if patterns:
        found = [m for m in found if any(fnmatch(m.name, pattern) for pattern in patterns)]
    if quick:
        most_tokens, most_samples = _QUICK
        found = [m for m in found if m.problem.tokens <= most_tokens and m.problem.samples <= most_samples]
    return found if network == "full" else [m.on(network) for m in found]


def _at_least(float32: float, bf16: float) -> dict[str, Goal]:
    return {"float32": Goal(float32, True), "bf16": Goal(bf16, True)}
