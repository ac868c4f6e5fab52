"""Truths about many processes: the run is that of one process, and a lost one ends it with a whole checkpoint."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from frazil.checkpoint import MODEL_FILE, load_model, load_tensors
from frazil.denoiser import ModelConfig, StructureModel
from frazil.errors import InputError
from frazil.trainer import TrainSettings
from frazil.trainer.conductor import STATE_FILE, Conductor
from frazil.trainer.fitting import what_to_do
from frazil.trainer.log import read_rows
from frazil.trainer.processes import ContactLost, Standing, Workers, contact_failed, ended
from frazil.trainer.request import Request
from frazil.trainer.settings import first_difference
from random_features import random_features
from tiny_run import TINY, run_quietly, single_thread, tiny_settings, write_ensemble

PLACES = ("LOCAL_RANK", "RANK", "NODE_RANK", "GROUP_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
SLURM = {"SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "2", "SLURM_PROCID": "3", "SLURM_JOB_NAME": "train"}


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Both processes share few cores; nothing of a cluster is in the environment."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for name in (*PLACES, "TORCHELASTIC_RUN_ID", *SLURM):
        monkeypatch.delenv(name, raising=False)
    with single_thread():
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three structures of unlike sizes, so that those of a batch are padded."""
    out = tmp_path_factory.mktemp("many")
    for sequence, models in (("AGSV", 2), ("GGWAPK", 1), ("LV", 3)):
        write_ensemble(out, sequence, models)
    return out


def shared_settings(**changes: Any) -> TrainSettings:
    return tiny_settings(**({"max_steps": 8, "decay_fraction": 0.0, "checkpoint_steps": 4} | changes))


@pytest.fixture(scope="module")
def alone(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one process that takes two structures a step."""
    out = tmp_path_factory.mktemp("alone") / "run"
    run_quietly(folder, out, shared_settings(batch_size=2))
    return out


def numbers(out: Path) -> torch.Tensor:
    """[steps, 5]: learning rate, loss, its terms, norm of the gradient."""
    return torch.tensor([[float(cell) for cell in row[2:7]] for row in read_rows(out / "log.csv")])


def assert_same_run(out: Path, other: Path) -> None:
    """The order in which sums are taken differs, nothing else."""
    torch.testing.assert_close(numbers(out), numbers(other), rtol=2e-4, atol=2e-4)
    ours, theirs = (load_tensors(run / "model.safetensors")[0] for run in (out, other))
    assert ours.keys() == theirs.keys()
    # a step of AdamW is as long as the learning rate, however small the gradient; where that is zero, rounding decides
    assert torch.cat([(ours[name] - theirs[name]).abs().flatten() for name in ours]).mean() < 1e-5


def copies_by_level(out: Path) -> dict[str, int]:
    """How many noised copies of each noise level a run has seen."""
    found: dict[str, int] = {}
    for _, low, _, _, count in read_rows(out / "noise.csv", 5):
        found[low] = found.get(low, 0) + int(count)
    return found


# --- the same run ---------------------------------------------------------------------------------------------------


def test_accumulated_batches_are_one_batch(folder: Path, alone: Path, tmp_path: Path) -> None:
    """What is random in a structure's copies follows from its place in the run, not from its batch or padding."""
    run_quietly(folder, tmp_path / "run", shared_settings(batch_size=1, accumulate=2))
    torch.testing.assert_close(numbers(tmp_path / "run")[:3], numbers(alone)[:3], rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_are_one_with_the_same_global_batch(
    folder: Path, alone: Path, tmp_path: Path, strategy: str
) -> None:
    out = tmp_path / "run"
    settings = shared_settings(devices=2, strategy=strategy)
    result = run_quietly(folder, out, settings, val_data=[folder / "LV.cif"])
    assert (result.steps, result.stopped) == (8, "steps")
    assert result.validation is not None and result.validation.failed == 0
    assert_same_run(out, alone)
    assert copies_by_level(out) == copies_by_level(alone)
    assert load_model(out)[1].steps == 8
    assert not torch.distributed.is_initialized()
    assert not {"LOCAL_RANK", "MASTER_PORT", "WORLD_SIZE"} & set(os.environ)


@pytest.mark.slow
def test_a_run_goes_on_in_another_number_of_processes(folder: Path, alone: Path, tmp_path: Path) -> None:
    """One process, then two by FSDP, then two by DDP: the state is whole each time, mean and optimiser with it."""
    out = tmp_path / "run"
    run_quietly(folder, out, shared_settings(batch_size=2, max_steps=3))
    run_quietly(folder, out, shared_settings(devices=2, strategy="fsdp", max_steps=6), resume=True)
    run_quietly(folder, out, shared_settings(devices=2, strategy="ddp"), resume=True)
    assert_same_run(out, alone)
    assert copies_by_level(out) == copies_by_level(alone)


@pytest.mark.slow
def test_two_processes_in_bf16_are_one_in_bf16(folder: Path, tmp_path: Path) -> None:
    run_quietly(folder, tmp_path / "one", shared_settings(batch_size=2, precision="bf16", max_steps=4))
    run_quietly(folder, tmp_path / "two", shared_settings(devices=2, precision="bf16", max_steps=4))
    torch.testing.assert_close(numbers(tmp_path / "two"), numbers(tmp_path / "one"), rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("preset", ["mini", "ligand"])
def test_every_trained_weight_has_a_gradient_whatever_the_input(preset: str) -> None:
    """Else processes would wait for each other's gradients in vain."""
    config = ModelConfig.preset(preset)
    config = replace(config, network=replace(config.network, token_transformer_depth=1))
    unbonded = {"token_bonds": torch.full((1, 1, 2), -1), "token_bond_type": torch.ones(1, 1).long()}
    for features in (random_features(5), replace(random_features(1), **unbonded)):
        model = StructureModel(config)
        prepared = model.prepare(features)
        model(prepared, torch.randn(1, 2, prepared.num_atoms, 3), torch.ones(1, 2)).square().sum().backward()
        assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


# --- a lost process -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_killed_worker_ends_the_run_with_a_whole_checkpoint(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, honest, deaths = tmp_path / "run", Conductor.on_train_batch_end, []
    started: list[Workers] = []
    enter = Workers.__enter__

    def deadly(self: Conductor, trainer: Any, module: Any, *rest: Any) -> None:
        honest(self, trainer, module, *rest)
        if module.steps == 6:
            deaths.append(time.monotonic())
            os.kill(started[0].pids[0], signal.SIGKILL)

    with monkeypatch.context() as patch:
        patch.setattr(Workers, "__enter__", lambda self: (started.append(self), enter(self))[1])
        patch.setattr(Conductor, "on_train_batch_end", deadly)
        with pytest.raises(ContactLost, match=r"process 1 of 2 was killed \(SIGKILL\); .*--resume"):
            run_quietly(folder, out, shared_settings(devices=2, max_steps=100_000))
    assert time.monotonic() - deaths[0] < 15
    assert load_model(out)[1].steps == 4
    result = run_quietly(folder, out, shared_settings(devices=2), resume=True)
    assert (result.steps, result.stopped) == (8, "steps")
    assert [int(row[0]) for row in read_rows(out / "log.csv")] == list(range(1, 9))


ENDLESS = """
import sys
from pathlib import Path
from tiny_run import run_quietly, tiny_settings
run_quietly(Path(sys.argv[1]), Path(sys.argv[2]), tiny_settings(devices=2, max_steps=100_000, checkpoint_steps=4))
"""


@pytest.mark.slow
def test_the_others_end_with_the_first_process(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    script = [sys.executable, "-c", ENDLESS, str(folder), str(out)]
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    first = subprocess.Popen(script, env={**os.environ, "PYTHONPATH": paths}, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 240
    while not (out / MODEL_FILE).is_file() and time.monotonic() < until and first.poll() is None:
        time.sleep(0.1)
    first.kill()
    # standard error is closed once the last process that has it is gone
    assert "the first process of the run was killed; the checkpoint" in first.communicate(timeout=60)[1]
    assert load_model(out)[1].steps >= 4


STUCK = """
import os, sys, time
from pathlib import Path
from frazil.trainer import TrainSettings, processes
from frazil.trainer.request import Request
processes.GRACE_SECONDS = 0.5
settings = TrainSettings(devices=2, max_steps=1)
request = Request((Path("nowhere.cif"),), Path("run"), settings, (), 0.0, None, False, os.getpid())
with processes.Workers(processes.Standing.find(2, 1), request, lambda: "that is all"):
    time.sleep(300)
"""


@pytest.mark.slow
def test_a_process_that_hangs_in_a_call_to_a_lost_one_is_ended(tmp_path: Path) -> None:
    """As NCCL does; the worker here fails at once, since there is no such data."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    stuck = subprocess.run(
        [sys.executable, "-c", STUCK], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=240,
        check=False,
    )  # fmt: skip
    assert stuck.returncode == 2
    assert "error: process 1: nowhere.cif" in stuck.stderr
    assert "error: process 1 of 2 ended with exit code 2; that is all" in stuck.stderr
    assert "Traceback" not in stuck.stderr


def test_errors_of_contact_are_told_from_others() -> None:
    closed = "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:23451."
    assert contact_failed(RuntimeError(closed))
    assert contact_failed(torch.distributed.DistNetworkError("the client socket has timed out"))
    assert not contact_failed(RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"))
    assert not contact_failed(ValueError("gloo"))
    assert ended("process 3", 1) == "process 3 ended with exit code 1"


def test_what_to_do_depends_on_whether_there_is_a_checkpoint(tmp_path: Path) -> None:
    assert "start anew" in what_to_do(tmp_path)
    (tmp_path / STATE_FILE).touch()
    assert "--resume" in what_to_do(tmp_path)


# --- who is who -----------------------------------------------------------------------------------------------------


def test_alone_a_process_is_the_first_whatever_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "3")
    standing = Standing.find(1, 1)
    assert (standing.rank, standing.size, standing.main, standing.starts_others) == (0, 1, True, False)


def test_the_first_process_starts_those_of_its_node(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Standing.find(4, 1).starts_others
    for name, value in (("MASTER_ADDR", "10.0.0.1"), ("MASTER_PORT", "4000"), ("NODE_RANK", "1")):
        monkeypatch.setenv(name, value)
    standing = Standing.find(4, 2)
    assert (standing.rank, standing.size, standing.main, standing.starts_others) == (4, 8, False, True)
    monkeypatch.setenv("LOCAL_RANK", "2")
    standing = Standing.find(4, 2)
    assert (standing.rank, standing.starts_others) == (6, False)


def test_torchrun_and_slurm_say_who_is_who(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        torchrun = {"TORCHELASTIC_RUN_ID": "x", "RANK": "5", "LOCAL_RANK": "1", "GROUP_RANK": "2", "WORLD_SIZE": "8"}
        for name, value in torchrun.items():
            patch.setenv(name, value)
        standing = Standing.find(2, 4)
        assert (standing.rank, standing.size, standing.starts_others) == (5, 8, False)
        with pytest.raises(InputError, match=r"are 2 process.*torchrun started 8"):
            Standing.find(2, 1)
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    standing = Standing.find(2, 2)
    assert (standing.rank, standing.size, standing.starts_others) == (3, 4, False)
    with pytest.raises(InputError, match="SLURM started 4"):
        Standing.find(4, 2)


def test_nodes_that_cannot_find_each_other_are_refused() -> None:
    with pytest.raises(InputError, match=r"--num-nodes 2: .*torchrun or srun.*NODE_RANK"):
        Standing.find(1, 2)


@pytest.mark.parametrize("init", [None, Path("first")])
def test_a_request_survives_its_way(init: Path | None) -> None:
    settings = tiny_settings(devices=2)
    request = Request((Path("a"), Path("b")), Path("out"), settings, (Path("c"),), 0.0, init, True, 7)
    assert Request.from_json(request.to_json()) == request
    assert json.loads(request.to_json())["settings"]["model"] == TINY.to_dict()


def test_the_structures_of_a_step_may_be_shared_out_anew() -> None:
    one = tiny_settings(batch_size=4)
    assert first_difference(one, replace(one, batch_size=2, devices=2, strategy="fsdp")) is None
    assert first_difference(one, replace(one, batch_size=1, devices=2, num_nodes=2)) is None
    difference = first_difference(one, replace(one, devices=2))
    assert difference == "batch_size x devices x num_nodes was 4, now 8"


def test_an_unknown_strategy_is_refused() -> None:
    with pytest.raises(InputError, match="no strategy 'deepspeed'; there are auto, ddp, fsdp"):
        TrainSettings(strategy="deepspeed")
