"""Truths about TOML: every known key arrives, every other thing is one line that names file, key and value."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from frazil.config import (
    Config,
    load_config,
    parse_config,
    predict_settings,
    requests_from_flags,
    steering_flags,
    train_settings,
)
from frazil.denoiser import ModelConfig
from frazil.errors import InputError
from frazil.potentials import POTENTIAL_SETS
from frazil.trainer import TrainSettings
from tiny_run import tiny_settings


def write(folder: Path, text: str) -> Path:
    path = folder / "run.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_no_file_is_an_empty_config() -> None:
    assert load_config(None) == Config()
    assert train_settings(Config(), {}) == TrainSettings()


def test_flags_come_over_the_file_and_the_file_over_the_preset(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
        [model]
        preset = "mini"
        sigma_data = 12
        [model.network]
        token_s = 48
        [model.trunk]
        depth = 1
        [train]
        copies = 4
        learning_rate = 1
        smooth_lddt = false
        [sample]
        steps = 50
        num_samples = 3
        """,
    )
    config = load_config(path)
    chosen = train_settings(config, {"copies": 6, "seed": None, "max_steps": 9})
    mini = ModelConfig.preset("mini")
    assert (chosen.copies, chosen.max_steps, chosen.seed, chosen.smooth_lddt) == (6, 9, 0, False)
    assert isinstance(chosen.learning_rate, float)
    assert (chosen.model.sigma_data, chosen.model.network.token_s, chosen.model.trunk.depth) == (12.0, 48, 1)
    assert chosen.model.network.token_z == mini.network.token_z
    assert train_settings(config, {}, preset="boltz2").model.network.token_z == 128
    drawn = predict_settings(config, {"steps": 10, "num_samples": None})
    assert (drawn.steps, drawn.num_samples) == (10, 3)


def test_a_resumed_run_s_settings_hold_where_nothing_is_said() -> None:
    stored = tiny_settings(copies=3, max_steps=5)
    assert train_settings(Config(), {"max_steps": None}, base=stored) == stored
    assert train_settings(Config(), {"max_steps": 8}, base=stored).max_steps == 8


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[train]\nlearning_rat = 1", ["[train]", "'learning_rat'", "'learning_rate'"]),
        ("[model.network]\ntokens = 1", ["[model.network]", "'tokens'", "'token_s'"]),
        ("[model.trunk]\ndeep = 1", ["[model.trunk]", "'depth'"]),
        ("[model]\nsigma = 1.0", ["[model]", "'sigma_data'"]),
        ("[trian]\ncopies = 1", ["section", "'trian'", "'train'"]),
        ("copies = 1", ["section", "'copies'"]),
        ("train = 3", ["[train]", "3", "not a section"]),
        ("[model]\nnetwork = 3", ["[model.network]", "3"]),
        ('[train]\ncopies = "many"', ["copies", "'many'", "text", "not int"]),
        ("[train]\ncopies = true", ["copies", "True", "not int"]),
        ("[train]\ncopies = 2.0", ["copies", "2.0", "float, not int"]),
        ("[train]\nsmooth_lddt = 1", ["smooth_lddt", "not bool"]),
        ("[train]\nlearning_rate = [1.0]", ["learning_rate", "a list", "not float"]),
        ("[train]\nmax_minutes = 1979-05-27", ["max_minutes", "date", "not float"]),
        ("[sample]\nsteps = 10000000000000000000000", ["steps", "too large"]),
        ("[sample]\nstart = 'x.cif'", ["[sample]", "'start'"]),
        ("[train]\ncopies = 1\ncopies = 2", ["TOML"]),
        ("[train", ["TOML"]),
        ("[train]\ncopies = " + "9" * 5000, ["TOML"]),
        ("a = " + "[" * 100_000, ["TOML"]),
    ],
)
def test_what_is_wrong_is_named_with_the_file(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        load_config(write(tmp_path, text))
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    assert all(word in message for word in ["run.toml", *words]), message


@pytest.mark.parametrize("content", ["[train]\ncopies = 0", "[train]\nlearning_rate = nan", "[model]\npreset = 'huge'"])
def test_values_out_of_range_are_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(InputError):
        train_settings(load_config(write(tmp_path, content)), {})


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.toml: cannot be read"):
        load_config(tmp_path / "nothing.toml")
    with pytest.raises(InputError, match="cannot be read"):
        load_config(tmp_path)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not valid TOML"):
        load_config(tmp_path / "binary.toml")


def test_every_setting_of_training_can_be_given() -> None:
    values = {f.name: f.default for f in fields(TrainSettings) if f.name != "model" and f.default is not None}
    assert train_settings(parse_config({"train": values}, "x"), {}) == TrainSettings()


keys = st.sampled_from([
    "model", "train", "sample", "network", "trunk", "copies", "steps", "learning_rate", "preset", "token_s", "depth",
    "steering", "sets", "particles", "lambda", "contact", "weights", "contacts", "guidance", "interval", "start", "end",
    "alpha", "thresholds", "values", "first", "second", "max_distance",
])  # fmt: skip
values = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.none(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(keys | st.text(max_size=4), inner, max_size=3),
    max_leaves=10,
)


def accept_or_refuse(make) -> None:
    try:
        config = make()
        train_settings(config, {})
        predict_settings(config, {})
    except InputError as error:
        assert "\n" not in str(error)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(keys, values, max_size=3))
def test_any_tables_are_accepted_or_refused(content: dict) -> None:
    accept_or_refuse(lambda: parse_config(content, "x.toml"))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=80) | st.text(alphabet="[]{}=.\"'\n train1e-_copies#", max_size=60).map(str.encode))
def test_any_bytes_are_accepted_or_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(content)
    accept_or_refuse(lambda: load_config(path))


def test_restraints_of_file_and_flags_both_count() -> None:
    config = parse_config({"steering": {"contact": ["A:1,A:2,8"], "particles": 2, "lambda": 3}}, "x.toml")
    flags = steering_flags("none", 5, None, None, requests_from_flags(["A:1,A:3,6"], ["A:1,A:4,5"], None))
    steering = predict_settings(config, {}, flags).steering
    assert [one.label for one in steering.requests] == ["A:1,A:2,8", "A:1,A:3,6", "A:1,A:4,5"]
    assert (steering.particles, steering.strength, steering.sets) == (5, 3.0, ())
    assert predict_settings(config, {}).steering.sets is None
    assert predict_settings(parse_config({"steering": {"sets": ["none"]}}, "x"), {}).steering.sets == ()


def test_weights_that_are_not_given_stay_as_usual() -> None:
    usual = POTENTIAL_SETS["contacts"]["contacts"].weights
    weights = {"contacts": {"guidance": {"thresholds": [0.5], "values": [0, 2]}}, "dihedrals": {"interval": 7}}
    found = predict_settings(parse_config({"steering": {"weights": weights}}, "x.toml"), {}).steering.weights
    assert (found["contacts"].resampling, found["contacts"].interval) == (usual.resampling, usual.interval)
    assert [found["contacts"].guidance.at(t) for t in (0.4, 0.6)] == [0.0, 2.0]
    assert found["dihedrals"].interval == 7
