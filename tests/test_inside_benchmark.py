"""Truths about `python -m benchmarks.inside`: all predict the same, and ratios are what they are called."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("boltz")
sys.path.append(str(Path(__file__).parents[1]))

from benchmarks.crew import REPOSITORY, PeerFailed
from benchmarks.inside import NETWORKS, Bench, Run, Side, Task, furthest, summary, table
from oracle import FULL

RUNS = (
    Run("boltz-community", "float32", 8.0, 20.0, 900.0),
    Run("frazil", "bf16", 2.0, 10.0, 700.0),
    Run("frazil", "bf16", 4.0, 16.0, 800.0),
    Run("boltz-community", "float32", 10.0, 30.0, 800.0),
    Run("frazil", "bf16", 3.0, 12.5, 600.0),
)


def test_ratios_are_of_medians_and_to_the_first_side() -> None:
    reference, ours = summary(RUNS, {"bf16": 0.25})
    assert (reference["diffusion_seconds"], reference["diffusion_ratio"], reference["ratio"]) == (9.0, 1.0, 1.0)
    assert (ours["diffusion_seconds"], ours["diffusion_ratio"], ours["ratio"]) == (3.0, 3.0, 2.0)
    assert (ours["peak_mib"], ours["differs_by"]) == (800.0, 0.25)
    assert "3.00x" in table([reference, ours]) and "2.5e-01 A" in table([reference, ours])


def test_samples_in_another_order_are_the_same_samples() -> None:
    samples = np.arange(24.0).reshape(2, 4, 3)
    assert furthest(samples[::-1], samples) == 0
    samples[1, 2, 0] += 0.5
    assert furthest(samples, np.arange(24.0).reshape(2, 4, 3)) == 0.5


def test_the_full_network_is_that_of_the_other_benchmarks() -> None:
    assert NETWORKS["full"].items() >= FULL.items()


@pytest.mark.parametrize("tokens", [5, 128])
def test_the_input_has_so_many_residues(tokens: int, tmp_path: Path) -> None:
    text = Task(tokens, 5, 20).write(tmp_path).read_text()
    assert len(text.split("sequence: ")[1].split()[0]) == tokens


@pytest.mark.parametrize(("code", "reason"), [("print('bad input'); exit(3)", "code 3: bad input"), ("", "code 0")])
def test_a_prediction_that_failed_or_told_no_time_is_no_figure(code: str, reason: str, tmp_path: Path) -> None:
    bench = Bench(Task(5, 1, 1), tmp_path / "cache", tmp_path, threads=1)
    with pytest.raises(PeerFailed, match=f"boltz-9 float32, exit {reason}"):
        bench.run(Side("boltz-9", "float32", (sys.executable, "-c", code)), 0)


@pytest.mark.slow
def test_every_side_predicts_the_same_structures(tmp_path: Path) -> None:
    sizes = ["--network", "small", "--tokens", "12", "--samples", "2", "--steps", "4", "--rounds", "1"]
    command = [sys.executable, "-m", "benchmarks.inside", *sizes, "--out", str(tmp_path / "inside.json")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "inside.json").read_text())
    reference, exact, rough = found["summary"][:3]
    assert [(row["who"], row["precision"]) for row in (reference, exact, rough)] == [
        ("boltz-community", "float32"), ("frazil", "float32"), ("frazil", "bf16")
    ]  # fmt: skip
    assert exact["differs_by"] < 0.05
    assert rough["differs_by"] > exact["differs_by"]
    assert all(0 < run["diffusion_seconds"] < run["seconds"] and run["peak_mib"] > 100 for run in found["rounds"])
    assert found["sizes"]["tokens"] == 12 and "boltz-community" in found["programs"]["frazil"]
