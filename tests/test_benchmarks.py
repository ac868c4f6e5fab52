"""Truths about `python -m benchmarks`: all solve the same problem, and figures are what they are called."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("boltz")
sys.path.append(str(Path(__file__).parents[1]))

from benchmarks.cases import chosen, everything, targets
from benchmarks.findings import Figure, Finding, Goal, exponents
from benchmarks.ours import Program as Ours
from benchmarks.peers import Peer
from benchmarks.problems import Problem
from benchmarks.profiling import KINDS, profiled
from benchmarks.reference import Program as Reference
from benchmarks.report import Results, table
from benchmarks.worker import Worker, serve

from frazil.errors import InputError

CPU = torch.device("cpu")
PROBLEM = Problem("denoise", 12, 8, 2, network="small")
SETTING: dict[str, Any] = {"machine": {"date": "a", "load": 1.0, "cpu": "x"}, "programs": {}, "network": "small"}


@torch.no_grad()
def answers(program: Peer, *requests: dict[str, Any]) -> list[dict[str, Any]]:
    """What a worker of this program answers."""
    out = io.StringIO()
    serve(Worker(program), io.StringIO("".join(json.dumps(request) + "\n" for request in requests)), out)
    return [json.loads(line) for line in out.getvalue().splitlines()]


def prepared(problem: Problem, precision: str = "float32") -> dict[str, Any]:
    return {"do": "prepare", "problem": vars(problem), "precision": precision}


def test_ours_and_the_reference_solve_the_same_problem() -> None:
    values = []
    for program in (Ours(CPU), Reference(CPU)):
        *_, found = answers(program, prepared(PROBLEM), {"do": "probe", "precision": "float32"})
        values.append(torch.tensor(found["values"]))
    assert values[0].std() > 1
    torch.testing.assert_close(*values, atol=2e-4, rtol=0)


@pytest.mark.parametrize("kind", ["train", "sample"])
@pytest.mark.parametrize("program", [Ours, Reference])
def test_every_kind_of_problem_is_solved(program: type[Peer], kind: str) -> None:
    problem = Problem(kind, 12, 8, 2, steps=2, network="small")
    found = answers(program(CPU), prepared(problem), {"do": "call", "precision": "float32"})
    assert all(answer["seconds"] > 0 for answer in found)


def test_a_worker_tells_what_went_wrong_and_goes_on() -> None:
    wrong, hello = answers(Reference(CPU), prepared(PROBLEM, "bf16"), {"do": "hello"})
    assert "no bf16" in wrong["error"]
    assert {"torch", "boltz-community"} <= set(hello["versions"])


def test_a_ratio_falls_short_by_its_share_of_the_goal() -> None:
    figure = Figure("frazil", "bf16", "time", "s", (2.0, 1.0, 9.0), ratio=2.7, goal=Goal(3.6, True))
    assert (figure.value, figure.verdict) == (2.0, "short by 25%")
    assert Figure("x", "bf16", "share", "", (0.7,), goal=Goal(0.65, True)).verdict == "met"
    assert Figure("x", "bf16", "growth", "x", (4.62,), goal=Goal(4.4, False)).verdict == "short by 5%"
    assert Figure("x", "bf16", "time", "s", (), goal=Goal(1.0, True)).verdict == "not measured"


def finding(tokens: int, seconds: float) -> Finding:
    problem = Problem("denoise", tokens)
    sizes = vars(problem) | {"name": problem.name}
    return Finding(problem.name, "", (Figure("frazil", "float32", "time", "s", (seconds,)),), sizes)


def test_growth_exponents_are_those_of_a_power_law() -> None:
    found = exponents([finding(n, 1e-6 * n**1.5) for n in (64, 256, 1024)])
    assert [(e.who, round(e.exponent, 6), e.tokens) for e in found] == [("frazil float32", 1.5, (64, 256, 1024))]
    assert exponents([finding(64, 1.0), finding(128, 2.0)]) == []


def test_a_file_of_results_is_added_to_and_only_by_the_same_machine(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    Results(SETTING).add(finding(64, 1.0)).add(finding(128, 2.0)).write(path)
    later = SETTING | {"machine": SETTING["machine"] | {"date": "b", "load": 0.0}}
    results = Results.read(path, later).add(finding(64, 3.0))
    assert [f.figures[0].value for f in results.findings] == [2.0, 3.0]
    assert results.findings[0] == finding(128, 2.0)
    assert "3 s" in table(results.findings[1])
    with pytest.raises(InputError, match="another machine"):
        Results.read(path, SETTING | {"programs": {"frazil": {"threads": 7}}})


def test_names_are_unique_and_every_row_of_the_issue_is_a_target() -> None:
    names = [measurement.name for measurement in everything()]
    assert len(set(names)) == len(names) and {m.name for m in targets()} <= set(names)
    assert len(targets()) == 8
    assert {m.problem.tokens for m in chosen("all", ["denoise-*"], quick=False, network="full")} >= {64, 1024}
    assert [m.name for m in chosen("targets", ["share*"], quick=False, network="small")] == [
        "share-denoise-256x8-5-small"
    ]


def test_a_profile_adds_up_and_knows_products_from_the_rest() -> None:
    x, w = torch.randn(256, 512), torch.randn(512, 512)
    found = profiled(lambda: torch.sigmoid(torch.mm(x, w)).cumsum(0), CPU)
    assert sum(found["kinds"].values()) == pytest.approx(found["seconds"])
    assert {"products", "norms and elementwise"} <= set(found["kinds"]) <= {*KINDS, "other"}


def test_the_list_of_measurements_is_printed() -> None:
    command = [sys.executable, "-m", "benchmarks", "--list", "--preset", "targets"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1], check=True)
    assert len(done.stdout.splitlines()) == len(targets())
