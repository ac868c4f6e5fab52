"""Truths about checkpoints: what goes in comes out, and nothing but a whole model of ours is ever loaded."""

from __future__ import annotations

import json
import resource
import signal
from collections import OrderedDict
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from frazil.checkpoint import (
    EMA,
    RunRecord,
    builtin_model,
    compact_model,
    entities_of,
    entity_name,
    load_model,
    load_tensors,
    read_record,
    save_model,
    save_tensors,
)
from frazil.chemistry import NONPOLYMER, PROTEIN
from frazil.denoiser import StructureModel
from frazil.errors import InputError
from frazil.trainer.resume import SafetensorsCheckpointIO, flatten, unflatten
from tiny_run import TINY

RECORD = RunRecord(config=TINY, entities=("protein:GLY-ALA",), structures=1, steps=7, seed=3, seconds=1.5)


@pytest.fixture(scope="module")
def model() -> StructureModel:
    return StructureModel(TINY)


@pytest.fixture
def run(tmp_path: Path, model: StructureModel) -> Path:
    save_model(tmp_path / "model.safetensors", model, RECORD)
    return tmp_path


def test_a_model_comes_back_with_its_record(run: Path, model: StructureModel) -> None:
    loaded, record = load_model(run)
    assert record == RECORD
    assert not loaded.training
    for name, weight in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weight), name
    assert load_model(run / "model.safetensors")[1] == RECORD


def test_given_weights_replace_the_model_s_own(tmp_path: Path, model: StructureModel) -> None:
    name, weight = next(iter(model.named_parameters()))
    save_model(tmp_path / "model.safetensors", model, RECORD, {name: torch.full_like(weight, 0.25)})
    assert torch.equal(load_model(tmp_path)[0].state_dict()[name], torch.full_like(weight, 0.25))


def test_loading_leaves_the_global_generator_alone(run: Path) -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    load_model(run)
    assert torch.equal(torch.rand(3), expected)


# The record alone


def test_the_record_is_read_without_the_weights(
    run: Path, tmp_path: Path, model: StructureModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_record(run) == read_record(run / "model.safetensors") == RECORD
    name, weight = next(iter(model.named_parameters()))
    save_model(tmp_path / "model.safetensors", model, RECORD, {name: torch.full_like(weight, float("nan"))})
    monkeypatch.setattr("frazil.checkpoint.StructureModel", None)
    assert read_record(run) == RECORD


def test_a_record_that_cannot_be_read_is_the_line_that_the_whole_model_gives(run: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    whole = (run / "model.safetensors").read_bytes()
    for length in (0, 4, 2000, len(whole) - 1):
        (tmp_path / f"cut{length}").write_bytes(whole[:length])
    save_file({"w": torch.zeros(2)}, tmp_path / "foreign")
    for name, header in {
        "state": {"resume": {}},
        "new": {**asdict(RECORD), "format_version": 99},
        "key": {**asdict(RECORD), "colour": "blue"},
        "size": {**asdict(RECORD), "config": {"network": {"token_s": "wide"}}},
    }.items():
        save_tensors(tmp_path / name, {"w": torch.zeros(2)}, header)
    for path in (tmp_path / "nothing", *tmp_path.iterdir()):
        if path.name == "model.safetensors":
            continue
        with pytest.raises(InputError) as expected:
            load_model(path)
        with pytest.raises(InputError) as caught:
            read_record(path)
        assert str(caught.value) == str(expected.value)
        assert "\n" not in str(caught.value)


# Compact files


def stored(path: Path) -> dict[str, torch.Tensor]:
    return load_tensors(path)[0]


def test_a_compact_file_holds_trained_matrices_in_half_the_bytes_and_all_else_as_it_is(
    run: Path, tmp_path: Path, model: StructureModel
) -> None:
    small = stored(compact_model(run, tmp_path / "small.safetensors"))
    matrices = {name for name, weight in model.named_parameters() if weight.requires_grad and weight.dim() > 1}
    whole = model.state_dict()
    assert set(small) == set(whole)
    assert {name for name, tensor in small.items() if tensor.dtype == torch.bfloat16} == matrices
    assert all(torch.equal(small[name], whole[name]) for name in set(whole) - matrices)
    assert all(torch.equal(small[name], whole[name].bfloat16()) for name in matrices)
    in_matrices = sum(whole[name].numel() for name in matrices)
    saved = (run / "model.safetensors").stat().st_size - (tmp_path / "small.safetensors").stat().st_size
    # the places of tensors in the file have fewer digits, too
    assert 0 <= saved - 2 * in_matrices < 10 * len(whole)


def test_a_compact_file_is_read_as_any_other_and_computes_in_float32(
    run: Path, tmp_path: Path, model: StructureModel
) -> None:
    loaded, record = load_model(compact_model(run, tmp_path / "small.safetensors"))
    assert record == RECORD
    assert {weight.dtype for weight in loaded.parameters()} == {torch.float32}
    for name, weight in model.state_dict().items():
        # seven bits after the leading one
        torch.testing.assert_close(loaded.state_dict()[name], weight, rtol=2**-8, atol=0)


def test_compacting_again_changes_nothing(run: Path, tmp_path: Path) -> None:
    once = compact_model(run, tmp_path / "once.safetensors")
    assert compact_model(once, tmp_path / "twice.safetensors").read_bytes() == once.read_bytes()
    assert compact_model(run, run / "model.safetensors").read_bytes() == once.read_bytes(), "in place"


def test_what_cannot_be_compacted_is_one_line_and_no_file(run: Path, tmp_path: Path) -> None:
    for source, out in ((tmp_path / "none", tmp_path / "x.safetensors"), (run, tmp_path / "none" / "x.safetensors")):
        with pytest.raises(InputError) as caught:
            compact_model(source, out)
        assert "\n" not in str(caught.value) and "none" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_compact_file_with_nan_is_refused(run: Path, tmp_path: Path) -> None:
    tensors, header = load_tensors(compact_model(run, tmp_path / "small.safetensors"))
    name = next(name for name, tensor in tensors.items() if tensor.dtype == torch.bfloat16)
    tensors[name].view(-1)[0] = float("nan")
    save_tensors(tmp_path / "bad.safetensors", tensors, header)
    refuses(tmp_path / "bad.safetensors", name, "NaN")


def test_the_built_in_model_is_compact_and_reads_molecules() -> None:
    path = builtin_model()
    assert path.stat().st_size <= 12_000_000
    _, record = load_model(path)
    assert record.config.trunk is not None and record.config.trunk.molecule_graph
    half = sum(2 * t.numel() for t in stored(path).values() if t.dtype == torch.bfloat16)
    assert half / path.stat().st_size > 0.9


def refuses(path: Path, *words: str) -> None:
    with pytest.raises(InputError) as caught:
        load_model(path)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in (str(path).split("/")[-1], *words)), message


def test_missing_paths_are_named(tmp_path: Path) -> None:
    refuses(tmp_path / "nothing", "no such")
    (tmp_path / "empty").mkdir()
    refuses(tmp_path / "empty", "model.safetensors", "frazil train")


@pytest.mark.parametrize("length", [0, 4, 100, 2000, -1])
def test_a_truncated_file_is_refused(run: Path, length: int) -> None:
    file = run / "model.safetensors"
    file.write_bytes(file.read_bytes()[:length])
    refuses(file, "truncated")


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=300))
def test_garbage_is_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.mktemp("garbage") / "x.safetensors"
    file.write_bytes(content)
    with pytest.raises(InputError):
        load_model(file)


def test_foreign_safetensors_are_refused(tmp_path: Path) -> None:
    save_file({"w": torch.zeros(2)}, tmp_path / "foreign.safetensors")
    refuses(tmp_path / "foreign.safetensors", "not written by frazil")
    save_file({"w": torch.zeros(2)}, tmp_path / "odd.safetensors", metadata={"frazil": "[1"})
    refuses(tmp_path / "odd.safetensors")
    save_tensors(tmp_path / "state.safetensors", {"w": torch.zeros(2)}, {"resume": {}})
    refuses(tmp_path / "state.safetensors", "configuration")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_weight_that_is_not_finite_is_refused_by_name(tmp_path: Path, model: StructureModel, bad: float) -> None:
    name, weight = list(model.named_parameters())[3]
    spoiled = weight.detach().clone()
    spoiled.view(-1)[-1] = bad
    save_model(tmp_path / "model.safetensors", model, RECORD, {name: spoiled})
    refuses(tmp_path / "model.safetensors", name, "NaN")


def test_weights_that_do_not_fit_are_described(tmp_path: Path, model: StructureModel) -> None:
    weights = model.state_dict()
    first, second = list(weights)[:2]
    file = tmp_path / "m.safetensors"
    save_tensors(file, {k: v for k, v in weights.items() if k != first}, asdict(RECORD))
    refuses(file, "1 missing", first)
    save_tensors(file, {**weights, "extra.weight": torch.zeros(1)}, asdict(RECORD))
    refuses(file, "1 unknown", "extra.weight")
    save_tensors(file, {**weights, second: torch.zeros(3, 5, 7)}, asdict(RECORD))
    refuses(file, second, "[3, 5, 7]")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"format_version": 99}, "99"),
        ({"colour": "blue"}, "colour"),
        ({"config": {"network": {"token_q": 3}}}, "token_q"),
        ({"config": {"network": {"token_s": "wide"}}}, "token_s"),
        ({"config": {"network": {"token_s": 10**9}}}, "no network"),
        ({"config": None}, "configuration"),
    ],
)
def test_a_record_that_cannot_be_right_is_refused(
    tmp_path: Path, model: StructureModel, change: dict, word: str
) -> None:
    save_tensors(tmp_path / "m.safetensors", model.state_dict(), {**asdict(RECORD), **change})
    refuses(tmp_path / "m.safetensors", word)


def test_a_full_disk_is_one_line_and_the_earlier_file_is_whole(run: Path, model: StructureModel) -> None:
    """A limit on the size of files stands in for a full disk: writing fails half-way with the system's own error."""
    before = (run / "model.safetensors").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
        with pytest.raises(InputError, match="cannot be written"):
            save_model(run / "model.safetensors", model, RECORD)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert (run / "model.safetensors").read_bytes() == before
    assert [path.name for path in run.iterdir()] == ["model.safetensors"]


def test_files_have_the_permissions_that_the_user_asks_for(run: Path) -> None:
    plain = run / "plain"
    plain.touch()
    assert (run / "model.safetensors").stat().st_mode == plain.stat().st_mode


def test_entities_are_distinct_and_sorted() -> None:
    chains = [(PROTEIN, ("GLY",), None), (NONPOLYMER, ("LIG",), "CCO"), (PROTEIN, ("GLY",), None)]
    assert entities_of(chains) == ("nonpolymer:CCO", "protein:GLY")
    assert entity_name(NONPOLYMER, ("ATP",)) != entity_name(NONPOLYMER, ("LIG",), "CCO")


def test_the_mean_follows_its_closed_form() -> None:
    module = nn.Linear(1, 1, bias=False)
    ema = EMA(module, decay=0.5)
    expected = module.weight.item()
    for n in range(40):
        with torch.no_grad():
            module.weight.fill_(float(n))
        ema.update()
        decay = min(0.5, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * n
    assert ema.weights()["weight"].item() == pytest.approx(expected, rel=1e-5)


def test_the_mean_is_lent_and_taken_back_exactly() -> None:
    module = nn.Linear(3, 2)
    ema = EMA(module, decay=0.9)
    own = module.weight.detach().clone()
    with torch.no_grad():
        module.weight += 1
    with ema.applied():
        assert torch.equal(module.weight, own)
    assert torch.equal(module.weight, own + 1)
    assert torch.equal(ema.weights()["weight"], own)


def test_the_mean_s_state_continues_it_bit_for_bit() -> None:
    module, twin = nn.Linear(3, 2), nn.Linear(3, 2)
    twin.load_state_dict(module.state_dict())
    ema, other = EMA(module, 0.99), EMA(twin, 0.99)
    ema.update()
    other.load_state({"updates": 1, "mean": {k: v.clone() for k, v in ema.state()["mean"].items()}})
    for both in (module, twin):
        with torch.no_grad():
            both.weight.mul_(3.0)
    ema.update()
    other.update()
    assert torch.equal(ema.weights()["weight"], other.weights()["weight"])
    with pytest.raises(ValueError, match="another model"):
        EMA(nn.Linear(3, 2, bias=False), 0.9).load_state(ema.state())


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.integers() | st.none(), inner, max_size=3)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3).map(OrderedDict)
    ),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(plain)
def test_plain_values_survive_json_exactly(value: object) -> None:
    tree, tensors = flatten(value)
    again = unflatten(json.loads(json.dumps(tree)), tensors)
    # repr tells 1 from 1.0, -0.0 from 0.0 and a tuple from a list
    assert repr(again) == repr(value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool])
def test_a_resume_state_comes_back_bit_for_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    shared = (torch.randn(3, 4) * 3).to(dtype)
    state = {
        "optimizer": {0: {"step": torch.tensor(4.0), "shape": shared.T}, "betas": (0.9, 0.99), "fused": None},
        "twice": [shared, shared], "none": torch.zeros(0, 3, dtype=dtype), "nan": float("nan"), "inf": -float("inf"),
    }  # fmt: skip
    io = SafetensorsCheckpointIO()
    io.save_checkpoint(state, tmp_path / "last.ckpt")
    again = io.load_checkpoint(tmp_path / "last.ckpt")
    assert torch.equal(again["optimizer"][0]["shape"], shared.T)
    assert again["optimizer"][0]["step"].shape == ()
    assert again["optimizer"]["betas"] == (0.9, 0.99)
    assert [t.dtype for t in again["twice"]] == [dtype, dtype]
    assert again["none"].shape == (0, 3)
    assert again["nan"] != again["nan"]
    assert again["inf"] == -float("inf")
    io.remove_checkpoint(tmp_path / "last.ckpt")
    assert not (tmp_path / "last.ckpt").exists()


@pytest.mark.parametrize("alien", [object(), {1, 2}, Path("x"), lambda: 0, nn.Linear(1, 1), torch.float32, b"bytes"])
def test_what_is_not_plain_is_refused_by_place(tmp_path: Path, alien: object) -> None:
    with pytest.raises(TypeError, match=r"state\.loops\[1\]"):
        SafetensorsCheckpointIO().save_checkpoint({"loops": [0, alien]}, tmp_path / "last.ckpt")
    assert not list(tmp_path.iterdir())


def test_a_damaged_resume_state_is_refused(run: Path, tmp_path: Path) -> None:
    io = SafetensorsCheckpointIO()
    with pytest.raises(InputError, match="file of weights"):
        io.load_checkpoint(run / "model.safetensors")
    save_tensors(tmp_path / "bad.ckpt", {}, {"resume": {"tensor": "5"}})
    with pytest.raises(InputError, match="damaged"):
        io.load_checkpoint(tmp_path / "bad.ckpt")
    with pytest.raises(InputError, match="no such file"):
        load_tensors(tmp_path / "nothing")
