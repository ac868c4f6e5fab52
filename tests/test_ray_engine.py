"""On a Ray cluster every entry comes to one outcome and one folder, whichever workers are lost on the way."""

from __future__ import annotations

import os
import platform
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fake_job import RESULT, FakeJob, diary, entries, in_batches
from frazil.errors import InputError
from frazil.ligands.command import SampleChoices
from frazil.predictor import PredictSettings
from frazil.predictor.engine import DONE, FAILED, KEPT, LocalEngine, Outcome
from frazil.predictor.ligands import LigandJob
from frazil.predictor.output import _published
from frazil.predictor.ray_engine import ENVIRONMENT, RayEngine

psutil = pytest.importorskip("psutil")

# workers find the job, and get their share of a busy machine
TESTED_ENVIRONMENT = ENVIRONMENT | {"PYTHONPATH": str(Path(__file__).parent), "RAY_worker_niceness": "0"}


def quietly(*_: int) -> None:
    """No progress."""


def outcomes(engine: Any, job: FakeJob, count: int, size: int = 2) -> dict[str, Outcome]:
    """By name; an entry told of twice is an error."""
    found = list(engine.run(job, in_batches(entries(count), size), quietly))
    assert len({one.name for one in found}) == len(found)
    return {one.name: one for one in found}


def wait_until(truth: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not truth():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.02)


def is_over(process: psutil.Process) -> bool:
    """Whether a process has ended; nobody may have asked yet how."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


# Without a cluster


def test_without_ray_one_line_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"^[^\n]*pip install 'frazil\[ray\]'$"):
        outcomes(RayEngine(), FakeJob(tmp_path), 1)


def test_nothing_to_do_starts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert outcomes(RayEngine(), FakeJob(tmp_path), 0) == {}


def closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize(
    "address", [closed_port(), "cluster", "ray://127.0.0.1:1", "127.0.0.1:port", "127.0.0.1:99999"]
)
def test_an_address_without_a_cluster_is_one_line_at_once(tmp_path: Path, address: str) -> None:
    pytest.importorskip("ray")
    began = time.monotonic()
    with pytest.raises(InputError, match="no Ray cluster to join") as caught:
        outcomes(RayEngine(address), FakeJob(tmp_path), 1)
    assert time.monotonic() - began < 20
    assert address in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_no_address_is_told_so(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    with pytest.raises(InputError, match=r"--address bogus: .*\(it is not of the form host:port\)"):
        outcomes(RayEngine("bogus"), FakeJob(tmp_path), 1)


def test_the_address_may_stand_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    address = closed_port()
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(InputError, match=address):
        outcomes(RayEngine(), FakeJob(tmp_path), 1)


def test_a_cluster_that_does_not_start_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("no room in /dev/shm\nmore")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(pytest.importorskip("ray"), "init", refuse)
    with pytest.raises(InputError, match=r"^[^\n]*\(no room in /dev/shm\); use --engine local$"):
        outcomes(RayEngine(), FakeJob(tmp_path), 1)


def test_of_two_workers_on_one_entry_the_first_one_s_results_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "ligand"
    there.mkdir()
    (there / RESULT).write_text("first")
    # the second one has looked before the first one wrote
    monkeypatch.setattr(Path, "exists", lambda _: False)
    with _published(there) as part:
        (part / RESULT).write_text("second")
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["ligand", f"ligand/{RESULT}"]
    assert (there / RESULT).read_text() == "first"


def test_a_machine_without_the_folder_of_the_results_is_refused(tmp_path: Path) -> None:
    job = LigandJob(None, tmp_path / "elsewhere", PredictSettings())
    with pytest.raises(InputError, match=f"elsewhere: no such folder on {platform.node()}; [^\n]*share"):
        job.open()


def test_a_worker_gets_a_gpu_where_one_is_asked_for() -> None:
    choices = SampleChoices(engine="ray", address="10.0.0.1:6379")
    assert choices.engine_for(5) == RayEngine("10.0.0.1:6379")
    assert choices.engine_for(5, "cuda:0") == RayEngine("10.0.0.1:6379", gpus=1)


# On a local cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two machines of one core each, which are processes of this one."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        for name, value in TESTED_ENVIRONMENT.items():
            patch.setenv(name, value)
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        made.add_node(num_cpus=1, include_dashboard=False)
        yield made
        made.shutdown()


@pytest.mark.slow
def test_outcomes_and_progress_are_those_of_one_process(cluster: Any, tmp_path: Path) -> None:
    folders = [tmp_path / "local", tmp_path / "ray"]
    found = []
    told: list[list[tuple[int, int]]] = [[], []]
    for k, engine in enumerate((LocalEngine(), RayEngine(cluster.address))):
        folders[k].mkdir()
        batches = [*in_batches(entries(9), 2), []]
        job = FakeJob(folders[k], seconds=0.3, bad=("ligand-3",))
        found.append({one.name: one for one in engine.run(job, batches, lambda *now, k=k: told[k].append(now))})
    assert found[0] == found[1] and len(found[0]) == 9
    assert found[0]["ligand-3"].reason == "told to fail"
    assert all(counts == sorted(counts) and counts[-1] == (9, 9) and len(counts) >= 5 for counts in told)
    processes = [pid for (pid,) in diary(folders[1], "open")]
    assert len(processes) == len(set(processes)) == 2, "a model is opened once in each process, not for each batch"
    again = outcomes(RayEngine(cluster.address), FakeJob(folders[1], bad=("ligand-3",)), 9)
    assert {one.status for one in again.values()} == {KEPT, FAILED}
    assert len(diary(folders[1], "wrote")) == 8


@pytest.mark.slow
def test_a_machine_killed_in_the_middle_loses_nothing_and_repeats_nothing(cluster: Any, tmp_path: Path) -> None:
    doomed = cluster.add_node(num_cpus=1, include_dashboard=False)
    raylet = psutil.Process(doomed.all_processes["raylet"][0].process.pid)
    its_workers: set[str] = set()

    def in_hand() -> set[str]:
        """Entries that the machine has begun and not written."""
        its_workers.update(str(child.pid) for child in raylet.children(recursive=True))
        begun = {name for name, pid in diary(tmp_path, "begin") if pid in its_workers}
        return begun - {name for name, _ in diary(tmp_path, "wrote")}

    lost: set[str] = set()

    def kill_once(*_: int) -> None:
        if lost:
            return
        wait_until(lambda: bool(in_hand()))
        for child in raylet.children(recursive=True):
            child.kill()
        lost.update(in_hand())
        cluster.remove_node(doomed, allow_graceful=False)

    count = 24
    found = list(RayEngine(cluster.address).run(FakeJob(tmp_path, 0.4), in_batches(entries(count), 3), kill_once))
    assert lost, "the machine was killed with work in hand"
    names = [one.name for one in entries(count)]
    assert sorted(one.name for one in found) == sorted(names), "one outcome each"
    assert {one.status for one in found} <= {DONE, KEPT}
    assert sorted(name for name, _ in diary(tmp_path, "wrote")) == sorted(names), "written once each"
    assert {name for name, pid in diary(tmp_path, "wrote") if pid not in its_workers} >= lost
    assert all((tmp_path / one.name / RESULT).read_text() == one.source for one in entries(count))


# In a session of the program's own


@pytest.fixture(scope="module")
def session(cluster: Any) -> Iterator[Any]:
    """A program that has joined the cluster by itself."""
    import ray

    ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")
    yield ray
    ray.shutdown()


@pytest.mark.slow
def test_an_entry_that_kills_its_workers_fails_alone(
    session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frazil.predictor.ray_engine.RETRIES", 0)
    found = outcomes(RayEngine(), FakeJob(tmp_path, deadly=("ligand-1",)), 6, size=3)
    assert found.pop("ligand-1") == Outcome("ligand-1", "ligands.smi:2", FAILED, "the worker died in each of 1 tries")
    assert len(found) == 5 and {one.status for one in found.values()} == {DONE, KEPT}
    assert len(diary(tmp_path, "wrote")) == 5
    assert session.is_initialized(), "the program's session stays open"


@pytest.mark.slow
def test_what_stops_a_worker_is_one_line_here(session: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^model\.safetensors: no such file$"):
        outcomes(RayEngine(), FakeJob(tmp_path, closed="model.safetensors: no such file"), 4)


@pytest.mark.slow
def test_a_worker_that_no_machine_can_hold_is_refused(session: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none of the cluster's \d machines offers 1 CPU and 1 GPU"):
        outcomes(RayEngine(gpus=1), FakeJob(tmp_path), 1)


DRIVER = """
import sys
from pathlib import Path
from fake_job import FakeJob, entries, in_batches
from frazil.predictor.ray_engine import RayEngine
list(RayEngine("local").run(FakeJob(Path(sys.argv[1]), 0.5), in_batches(entries(200), 4), lambda *_: None))
"""


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program that runs a long job on a cluster of its own."""
    pytest.importorskip("ray")
    command = [sys.executable, "-c", DRIVER, str(tmp_path)]
    program = subprocess.Popen(
        command, start_new_session=True, env=os.environ | TESTED_ENVIRONMENT, stderr=subprocess.PIPE
    )
    yield program
    if program.poll() is None:
        for process in psutil.Process(program.pid).children(recursive=True):
            process.kill()
        program.kill()
        program.communicate()


@pytest.mark.slow
def test_an_interrupt_leaves_whole_results_and_no_process(driver: subprocess.Popen[bytes], tmp_path: Path) -> None:
    wait_until(lambda: len(diary(tmp_path, "wrote")) > 2, 180)
    children = psutil.Process(driver.pid).children(recursive=True)
    assert children
    os.killpg(driver.pid, signal.SIGINT)
    _, told = driver.communicate(timeout=60)
    assert b"KeyboardInterrupt" in told and driver.returncode != 0
    wait_until(lambda: all(map(is_over, children)), 60)
    folders = [path for path in tmp_path.iterdir() if path.is_dir()]
    assert folders and all((folder / RESULT).exists() for folder in folders), "no unfinished folder stays"
    assert len(folders) < 100
