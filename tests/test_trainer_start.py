"""Truths about runs that start from trained weights: they are those weights, and nothing else of the earlier run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from frazil.checkpoint import RunRecord, compact_model, load_model, load_tensors, read_record, save_model
from frazil.data import featurize, read
from frazil.denoiser import StructureModel
from frazil.errors import InputError
from frazil.trainer import TrainSettings, read_run, starting_settings
from frazil.trainer.batches import Share, StepBatches
from frazil.trainer.log import read_rows
from frazil.trainer.module import TrainingModule
from frazil.trainer.settings import model_difference
from frazil.trainer.start import first_model
from test_cli import fails, frazil
from tiny_run import TINY, loss_columns, run_quietly, single_thread, tiny_settings, write_ensemble


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    with single_thread():
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Other data than the earlier run had."""
    return write_ensemble(tmp_path_factory.mktemp("data"), "GGWAPK")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The earlier run."""
    folder = tmp_path_factory.mktemp("base")
    run_quietly(write_ensemble(folder), folder / "run", tiny_settings(max_steps=8, learning_rate=1e-2, seed=5))
    return folder / "run"


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_model(path)[0].state_dict()


def test_the_first_loss_is_that_of_the_loaded_model(data: Path, base: Path, tmp_path: Path) -> None:
    settings = tiny_settings(max_steps=1, seed=9)
    run_quietly(data, tmp_path / "run", settings, init=base)
    [row] = read_rows(tmp_path / "run" / "log.csv")
    features = featurize(read(data))
    [batch] = StepBatches([features], settings, first_step=0, rank=0, world_size=1).at(0)
    losses = []
    for model in (load_model(base)[0], first_model(settings)):
        module = TrainingModule(model, [features], settings)
        losses.append(module._terms(batch, Share(settings).places(0, 0)).total.item())
    assert float(row[3]) == pytest.approx(losses[0], rel=1e-5)
    assert abs(losses[1] / losses[0] - 1) > 1e-3, "a model of random weights has another"


def test_weights_and_their_running_mean_begin_at_the_loaded_ones(data: Path, base: Path, tmp_path: Path) -> None:
    """A step of AdamW is as long as the learning rate at most; of the mean's start a tenth is left after one."""
    rate = 1e-5
    small = compact_model(base, tmp_path / "small.safetensors")
    for number, init in enumerate((base, base / "model.safetensors", small)):
        out = tmp_path / str(number)
        run_quietly(data, out, tiny_settings(max_steps=1, learning_rate=rate, warmup_steps=0, seed=9), init=init)
        before, mean, state = weights(init), weights(out), load_tensors(out / "last.ckpt")[0]
        assert all(torch.allclose(mean[name], before[name], rtol=0, atol=1.1 * rate) for name in before)
        assert any(not torch.equal(mean[name], before[name]) for name in before), "a step was taken"
        assert all(tensor.dtype != torch.bfloat16 for tensor in state.values())


def test_all_but_the_weights_is_that_of_a_new_run(data: Path, base: Path, tmp_path: Path) -> None:
    run_quietly(data, tmp_path / "run", tiny_settings(max_steps=2), init=base)
    record = read_record(tmp_path / "run")
    assert (record.steps, record.seed, record.structures, record.config) == (2, 0, 1, TINY)
    assert record.entities == (), "what the weights saw before is not told, so no molecule is refused"
    rates = [float(row[2]) for row in read_rows(tmp_path / "run" / "log.csv")]
    run_quietly(data, tmp_path / "new", tiny_settings(max_steps=2))
    assert rates == [float(row[2]) for row in read_rows(tmp_path / "new" / "log.csv")]
    assert read_record(tmp_path / "new").entities == ("protein:GLY-GLY-TRP-ALA-PRO-LYS",)


def test_a_run_that_started_so_resumes_bit_for_bit_without_the_earlier_one(
    data: Path, base: Path, tmp_path: Path
) -> None:
    init = tmp_path / "base.safetensors"
    init.write_bytes((base / "model.safetensors").read_bytes())
    settings = tiny_settings(decay_fraction=0.0, max_steps=5)
    run_quietly(data, tmp_path / "one", settings, init=init)
    run_quietly(data, tmp_path / "two", replace(settings, max_steps=3), init=init)
    init.unlink()
    run_quietly(data, tmp_path / "two", settings, resume=True)
    assert loss_columns(tmp_path / "one") == loss_columns(tmp_path / "two")
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert read_run(tmp_path / "one").init == read_run(tmp_path / "two").init == init
    assert read_record(tmp_path / "two").entities == ()


def test_a_run_of_before_has_no_start_and_can_be_read(base: Path, tmp_path: Path) -> None:
    assert read_run(base).init is None
    stored = json.loads((base / "run.json").read_text())
    del stored["init"]
    (tmp_path / "run.json").write_text(json.dumps(stored))
    (tmp_path / "last.ckpt").touch()
    assert read_run(tmp_path).init is None


# --- refusals ------------------------------------------------------------------------------------------------------


def refuses(data: Path, init: Path, settings: TrainSettings, out: Path, *words: str, **options: bool) -> None:
    with pytest.raises(InputError) as caught:
        run_quietly(data, out, settings, init=init, **options)
    line = str(caught.value)
    assert "\n" not in line
    assert all(word in line for word in (init.name, *words)), line


def test_weights_that_cannot_be_started_from_are_one_line_and_no_folder(data: Path, base: Path, tmp_path: Path) -> None:
    out, settings = tmp_path / "out", tiny_settings(max_steps=1)
    refuses(data, tmp_path / "nothing", settings, out, "no such run folder")
    (tmp_path / "cut.safetensors").write_bytes((base / "model.safetensors").read_bytes()[:3000])
    refuses(data, tmp_path / "cut.safetensors", settings, out, "truncated")
    refuses(data, base / "last.ckpt", settings, out, "not a model of frazil")
    wider = replace(TINY, network=replace(TINY.network, token_s=32))
    refuses(data, base, replace(settings, model=wider), out, "network.token_s was 16, now 32", "--preset")
    refuses(data, base, replace(settings, model=replace(TINY, sigma_data=3.0)), out, "sigma_data was 16.0, now 3.0")
    without = replace(TINY, trunk=None)
    save_model(tmp_path / "bare.safetensors", StructureModel(without), RunRecord(config=without))
    refuses(data, tmp_path / "bare.safetensors", replace(settings, model=without), out, "no trunk", "frazil train")
    assert not out.exists()


def test_a_resumed_run_keeps_its_weights(data: Path, base: Path, tmp_path: Path) -> None:
    refuses(data, base, tiny_settings(max_steps=1), tmp_path / "out", "--resume", "own weights", resume=True)


def test_models_with_and_without_a_trunk_differ_either_way() -> None:
    without = replace(TINY, trunk=None)
    assert model_difference(TINY, without) == "model trunk.depth was 1, now None"
    assert model_difference(without, TINY) == "model trunk.depth was None, now 1"
    assert model_difference(TINY, TINY) is None


# --- the command ---------------------------------------------------------------------------------------------------


def test_the_command_takes_the_model_of_the_checkpoint_unless_another_is_named(
    data: Path, base: Path, tmp_path: Path
) -> None:
    assert starting_settings(base) == TrainSettings(model=TINY)
    assert starting_settings(None) == TrainSettings()
    command = ("train", "--data", data, "--out", tmp_path / "run", "--init", base, "--max-steps", 1)
    (tmp_path / "same.toml").write_text("[model.network]\ntoken_s = 16\n[train]\ncopies = 2\nval_steps = 2\n")
    (tmp_path / "other.toml").write_text("[model.trunk]\ndepth = 2\n")
    assert "network.token_s was 16, now 64" in fails(2, *command, "--preset", "mini")
    assert "trunk.depth was 1, now 2" in fails(2, *command, "--config", tmp_path / "other.toml")
    assert "nothing" in fails(2, *command, "--init", tmp_path / "nothing")
    assert not (tmp_path / "run").exists()
    result = frazil(*command, "--config", tmp_path / "same.toml")
    assert result.exit_code == 0, result.output
    assert f"starting from the weights of {base}" in result.stderr
    assert read_record(tmp_path / "run").config == TINY
    assert "--init" in fails(2, *command, "--resume")
    result = frazil("train", "--out", tmp_path / "run", "--resume", "--max-steps", 2)
    assert result.exit_code == 0, result.output
    assert "starting" not in result.stderr
    assert read_run(tmp_path / "run").init == base
