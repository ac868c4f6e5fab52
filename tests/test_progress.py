"""A person sees a bar in a terminal, and a line every ten seconds anywhere else."""

from __future__ import annotations

import io
import re
import threading

import pytest
from rich.console import Console

from frazil.predictor.progress import EntryProgress, StepProgress
from frazil.preparer.progress import PrepareProgress


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock, at the reader's command."""
    time = [100.0]
    monkeypatch.setattr("frazil.progress.time.monotonic", lambda: time[0])
    return time


def test_away_from_a_terminal_a_line_comes_every_ten_seconds(now: list[float]) -> None:
    text = io.StringIO()
    with EntryProgress(Console(file=text)) as progress:
        for done in range(1, 31):
            now[0] += 1.0
            progress.done(done, 30)
    assert text.getvalue().splitlines() == [
        "10 of 30 inputs, 20 s left",
        "20 of 30 inputs, 10 s left",
        "30 of 30 inputs, 0 s left",
    ]


def test_before_anything_is_done_the_time_left_is_a_guess(now: list[float]) -> None:
    text = io.StringIO()
    with EntryProgress(Console(file=text)) as progress:
        now[0] += 12.0
        progress.done(0, 3)
    assert text.getvalue() == "0 of 3 inputs, 36 s left\n"


def test_the_time_left_is_that_of_all_inputs(now: list[float]) -> None:
    text = io.StringIO()
    with StepProgress(Console(file=text), 2) as progress:
        progress.begin("a[b]")
        now[0] += 10.0
        progress.step(5, 10)
        progress.begin("c")
        now[0] += 20.0
        progress.step(5, 10)
    assert text.getvalue().splitlines() == [
        "a[b] (1/2): step 5 of 10, 30 s left",
        "c (2/2): step 5 of 10, 10 s left",
    ]


def test_a_bar_beside_forks_has_no_thread_and_is_drawn_now_and_then(now: list[float]) -> None:
    screen = io.StringIO()
    before = set(threading.enumerate())
    with PrepareProgress(Console(file=screen, force_terminal=True, width=100), 400) as progress:
        assert set(threading.enumerate()) <= before
        for done in range(1, 101):
            now[0] += 0.0625
            progress.update(done, done // 4)
    drawn = re.findall(r"(\d+)/400 (\d+) failed", re.sub(r"\x1b\[[0-9;?]*\w", "", screen.getvalue()))
    assert [int(done) for done, _ in drawn[:3]] == [4, 8, 12]
    assert drawn[-1] == ("100", "25")


def test_without_a_console_nothing_is_seen(now: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with PrepareProgress(None, 4) as preparing, StepProgress(None, 1) as sampling:
        sampling.begin("a")
        now[0] += 60.0
        preparing.update(1, 0)
        sampling.step(1, 2)
        sampling.say("a line")
    assert capsys.readouterr() == ("", "")
