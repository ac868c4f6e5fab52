"""Truths about `frazil boltz`: Boltz gets its options as they were given, mishaps are one line, reports fit files."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import torch
from command_line import ON_CPU, fails, frazil
from inputs import write_inputs

from frazil.boltz import call, hooks

boltz_main = pytest.importorskip("boltz.main")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """An input, beside which Boltz finds nothing to do."""
    return write_inputs(tmp_path, ["protein"]) / "protein.yaml"


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, data: Path) -> Iterator[list[dict[str, Any]]]:
    """What Boltz's command would have run with; it makes one empty model instead."""
    got: list[dict[str, Any]] = []

    def run(**options: Any) -> None:
        got.append(options)
        folder = Path(options["out_dir"]) / f"boltz_results_{data.stem}" / "predictions" / data.stem
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{data.stem}_model_0.cif").touch()

    monkeypatch.setattr(boltz_main.predict, "callback", run)
    monkeypatch.setattr(call, "check_boltz_checkpoint", lambda path: None)
    monkeypatch.chdir(tmp_path)
    return got


def _words(option: click.Option, a_file: Path) -> Iterator[list[str]]:
    """Every way of giving an option: each of its names, each of the values it may take, or one of its kind."""
    for name in (*option.opts, *option.secondary_opts):
        if option.is_flag:
            yield [name]
        elif isinstance(option.type, click.Choice):
            yield from ([name, choice] for choice in option.type.choices if choice != "boltz1")
        else:
            value = str(a_file) if isinstance(option.type, click.Path) and option.type.exists else "3"
            yield [name, value]
            yield [f"{name}={value}"]


def _every_option(a_file: Path) -> list[list[str]]:
    options = [one for one in boltz_main.predict.params if isinstance(one, click.Option)]
    return [words for option in options for words in _words(option, a_file)]


OURS = (["--precision", "bf16"], ["--sampler=fast"], ["--no-report"], ["--write-conditioning"])


def test_boltz_gets_each_of_its_options_as_if_it_had_been_run_itself(stub: list[dict[str, Any]], data: Path) -> None:
    for words in _every_option(data):
        boltz_main.predict.main([str(data), *words], standalone_mode=False)
        result = frazil("boltz", "predict", data, *words)
        assert result.exit_code == 0, result.output
        theirs, ours = stub[-2:]
        assert theirs == ours, words


def test_boltz_gets_its_words_in_their_order_without_ours(
    stub: list[dict[str, Any]], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    got: list[list[str]] = []
    make = boltz_main.predict.make_context

    def make_context(name: str, words: list[str]) -> Any:
        got.append(list(words))
        return make(name, words)

    monkeypatch.setattr(boltz_main.predict, "make_context", make_context)
    every = [word for words in _every_option(data) for word in words]
    mixed = [
        piece
        for index, words in enumerate(_every_option(data))
        for piece in (*words, *(OURS[index % len(OURS)] if index % 3 == 0 else ()))
    ]
    assert frazil("boltz", "predict", *mixed, data).exit_code == 0
    assert got == [[*every, str(data)]]
    # nothing after -- is ours, and a number below 0 is no option
    for words in ([str(data), "--seed", "-5"], ["--seed", "3", "--", str(data)]):
        assert frazil("boltz", "predict", "--sampler", "heun", *words).exit_code == 0
        assert got[-1] == words


@pytest.mark.parametrize("command", [["boltz"], ["boltz", "predict"], ["boltz", "extract"]])
def test_help_fits_a_screen_and_has_an_example(command: list[str]) -> None:
    result = frazil(*command, "--help")
    assert result.exit_code == 0
    assert len(result.output.splitlines()) <= 30
    assert max(map(len, result.output.splitlines())) <= 110
    assert "Example: frazil boltz" in result.output


def test_help_of_predict_says_where_the_options_of_boltz_are() -> None:
    assert "boltz predict --help" in frazil("boltz", "predict", "--help").output


WITHOUT_BOLTZ = """
import sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "boltz":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Nothing())
from frazil.cli import main
main()
"""


def test_without_boltz_the_error_says_both_ways_to_get_it(data: Path) -> None:
    words = [sys.executable, "-c", WITHOUT_BOLTZ, "boltz", "predict", str(data)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line.startswith("error: boltz is not installed")
    assert "pip install boltz-community" in line and "pip install boltz==2.2.1" in line


@pytest.mark.parametrize(("number", "known"), [("0.4.1", False), ("2.2.0", False), ("2.2.1", True), ("2.12.0", True)])
def test_a_version_before_2_2_1_is_refused_by_number(
    number: str, known: bool, monkeypatch: pytest.MonkeyPatch, stub: list[dict[str, Any]], data: Path
) -> None:
    monkeypatch.setattr(call, "version", lambda package: number)
    if known:
        assert frazil("boltz", "predict", data).exit_code == 0
    else:
        line = fails("boltz", "predict", data)
        assert number in line and "2.2.1" in line and "2.12" in line
        assert not stub


def test_boltz_1_is_refused_by_name(stub: list[dict[str, Any]], data: Path) -> None:
    assert "boltz1" in fails("boltz", "predict", data, "--model", "boltz1")
    assert not stub


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere.yaml"], "nowhere.yaml"),
        (["protein.yaml", "--presicion", "bf16"], "--presicion"),
        (["protein.yaml", "--sampling_steps", "many"], "many"),
        (["protein.yaml", "--precision", "bf8"], "bf8"),
        (["protein.yaml", "--sampler", "best"], "best"),
        (["protein.yaml", "--steering-engine", "mine"], "mine"),
        (["protein.yaml", "--seed", "1", "--", "other.yaml"], "other.yaml"),
    ],
)
def test_a_wrong_word_is_one_line(words: list[str], said: str, stub: list[dict[str, Any]]) -> None:
    assert said in fails("boltz", "predict", *words)
    assert not stub


class Payload:
    """What would write a file if it were unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("option", ["--checkpoint", "--affinity_checkpoint"])
def test_a_checkpoint_with_a_pickled_call_is_refused_and_the_call_not_made(
    option: str, tmp_path: Path, data: Path
) -> None:
    marker, path = tmp_path / "owned", tmp_path / "x.ckpt"
    torch.save({"state_dict": {}, "hyper_parameters": Payload(marker)}, path)
    assert str(path) in fails("boltz", "predict", data, option, path, "--out_dir", tmp_path, "--cache", tmp_path)
    assert not marker.exists()
    pickle.loads(pickle.dumps(Payload(marker)))
    assert marker.exists()


def test_checkpoints_of_boltz_1_and_truncated_ones_are_refused(tmp_path: Path, data: Path) -> None:
    old, cut = tmp_path / "old.ckpt", tmp_path / "cut.ckpt"
    names = ("structure_module.score_model.pairwise_conditioner.w.weight", "input_embedder.w")
    torch.save({"state_dict": {name: torch.ones(20000) for name in names}, "hyper_parameters": {}}, old)
    cut.write_bytes(old.read_bytes()[:50000])
    for path, said in ((old, "Boltz-1"), (cut, "truncated")):
        line = fails("boltz", "predict", data, "--checkpoint", path, "--out_dir", tmp_path, "--cache", tmp_path)
        assert str(path) in line and said in line


def _pressed(**options: Any) -> None:
    raise KeyboardInterrupt


def _pressed_in_lightning(**options: Any) -> None:
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        sys.exit(1)


def _broken(**options: Any) -> None:
    torch.load = print  # type: ignore[assignment]
    torch.set_grad_enabled(False)
    raise RuntimeError("no such thing")


def _entered() -> list[Any]:
    """All that is replaced while Boltz's command runs."""
    from boltz.data.module.inferencev2 import PredictionDataset
    from boltz.data.write.writer import BoltzWriter
    from boltz.model.models.boltz2 import Boltz2

    owners = (Boltz2, BoltzWriter, PredictionDataset, hooks._read_input)
    own = [dict(vars(owner)) for owner in owners]
    state = [torch.load, torch.is_grad_enabled(), signal.getsignal(signal.SIGINT)]
    return [*own, boltz_main.process_input, traceback.print_exc, *state]


@pytest.mark.parametrize(("callback", "code"), [(_pressed, 130), (_pressed_in_lightning, 130), (_broken, 2)])
def test_afterwards_nothing_of_boltz_is_replaced(
    callback: Callable[..., None], code: int, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boltz_main.predict, "callback", callback)
    before = _entered()
    result = frazil("boltz", "predict", data)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    assert _entered() == before


def test_nothing_predicted_is_an_error_that_names_the_input(
    data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(boltz_main.predict, "callback", lambda **options: None)
    assert "protein.yaml" in fails("boltz", "predict", data, "--out_dir", tmp_path)


def test_a_folder_without_inputs_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boltz_main.predict, "callback", lambda **options: None)
    (tmp_path / "in").mkdir()
    assert "no input in this folder" in fails("boltz", "predict", tmp_path / "in", "--out_dir", tmp_path)


def test_what_boltz_says_of_a_bad_input_comes_through_once(boltz_cache: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("version: 1\nsequences:\n  - protien:\n      id: A\n      sequence: GAS\n")
    words = ("boltz", "predict", bad, "--cache", boltz_cache, "--out_dir", tmp_path, *ON_CPU)
    line = fails(*words)
    assert "Invalid entity type: protien" in line and "bad.yaml" in line
    assert frazil(*words).output.count("protien") == 1


def test_a_truncated_checkpoint_in_the_cache_is_one_line(boltz_cache: Path, tmp_path: Path, data: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    for name in ("mols", "mols.tar", "boltz2_aff.ckpt"):
        (cache / name).symlink_to(boltz_cache / name)
    whole = (boltz_cache / "boltz2_conf.ckpt").read_bytes()
    (cache / "boltz2_conf.ckpt").write_bytes(whole[: len(whole) // 2])
    assert "boltz2_conf.ckpt" in fails("boltz", "predict", data, "--cache", cache, "--out_dir", tmp_path, *ON_CPU)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_input_that_boltz_cannot_prepare_is_one_line_from_any_process(
    workers: int, boltz_cache: Path, tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from boltz.data.module.inferencev2 import Boltz2Featurizer

    def process(*given: Any, **named: Any) -> None:
        raise ValueError("odd features")

    monkeypatch.setattr(Boltz2Featurizer, "process", process)
    words = ("boltz", "predict", data, "--cache", boltz_cache, "--out_dir", tmp_path, *ON_CPU)
    line = fails(*words, "--num_workers", workers)
    assert line == "error: protein: boltz cannot prepare it: odd features"
