"""Processes are as many as there are cores for us, on every system."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from frazil.ligands.command import MANY, SampleChoices
from frazil.predictor.engine import LocalEngine
from frazil.preparer.settings import PrepareSettings
from frazil.processors import usable_cores


def test_affinity_limits_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {2, 5, 7}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert usable_cores() == 3


@pytest.mark.parametrize(("counted", "cores"), [(6, 6), (None, 1)])
def test_systems_without_affinity_have_all_their_cores(
    monkeypatch: pytest.MonkeyPatch, counted: int | None, cores: int
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: counted)
    assert usable_cores() == cores
    assert PrepareSettings().num_workers == cores
    assert SampleChoices().engine_for(MANY) == LocalEngine(cores)


def test_a_number_that_is_given_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0}, raising=False)
    assert PrepareSettings(workers=5).num_workers == 5
    assert SampleChoices(processes=5).engine_for(MANY) == LocalEngine(5)
    assert SampleChoices().engine_for(MANY - 1) == LocalEngine(1)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux to see processes")
def test_a_process_that_works_for_another_ends_with_it_and_leaves_ctrl_c_to_it() -> None:
    code = """
import multiprocessing, os, signal, time
from frazil.processors import work_for_parent
def work():
    work_for_parent()
    os.kill(os.getpid(), signal.SIGINT)
    print(os.getpid(), flush=True)
    time.sleep(120)
if __name__ == "__main__":
    multiprocessing.get_context("fork").Process(target=work).start()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = Path("/proc") / parent.stdout.readline().strip()
        assert worker.name.isdigit() and worker.exists()
        parent.kill()
        # both ends of the pipe are gone only when the worker is
        assert parent.stdout.read() == ""
    ended = time.monotonic() + 20
    while worker.exists() and time.monotonic() < ended:
        time.sleep(0.05)
    assert not worker.exists()
