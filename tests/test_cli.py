"""Truths about the command line: help that fits a screen, one line and the right exit code for every mishap."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from frazil import predictor, trainer
from frazil.cli import app
from frazil.errors import InputError
from tiny_run import write_ensemble

TOML = """
[model.network]
token_s = 16
token_z = 8
atom_s = 16
atom_z = 4
dim_fourier = 8
atom_encoder_depth = 1
atom_encoder_heads = 2
token_transformer_depth = 1
token_transformer_heads = 2
atom_decoder_depth = 1
atom_decoder_heads = 2
[model.trunk]
depth = 1
heads = 2
atom_s = 16
[train]
copies = 2
val_samples = 2
val_steps = 2
[sample]
steps = 3
"""


def frazil(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def fails(code: int, *words: object) -> str:
    """Run a command that must end with this code, without traceback and with one line on stderr; that line."""
    result = frazil(*words)
    assert result.exit_code == code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, result.stderr
    assert "Traceback" not in result.output
    return lines[0]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with AGSV.cif, tiny.toml and a RUN trained on the one with the other."""
    folder = tmp_path_factory.mktemp("cli")
    data = write_ensemble(folder)
    (folder / "tiny.toml").write_text(TOML)
    result = frazil(
        "train", "--data", data, "--out", folder / "run", "--max-steps", 3, "--config", folder / "tiny.toml"
    )
    assert result.exit_code == 0, result.output
    assert "3 steps" in result.stderr
    return folder


@pytest.mark.parametrize("command", [[], ["train"], ["sample"], ["evaluate"]])
def test_help_fits_a_screen_and_has_an_example(command: list[str]) -> None:
    result = frazil(*command, "--help")
    assert result.exit_code == 0
    assert len(result.output.splitlines()) <= 30
    assert max(map(len, result.output.splitlines())) <= 110
    assert "Example: frazil" in result.output


def test_help_and_version_do_not_wait_for_torch() -> None:
    code = "import sys; from frazil.cli import app; app(standalone_mode=False); print('torch' in sys.modules)"
    for option in ("--version", "--help"):
        words = [sys.executable, "-c", code, option]
        shown = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        assert "frazil" in shown
        assert shown.splitlines()[-1] == "False"


def test_train_sample_and_evaluate_are_a_chain(run: Path) -> None:
    data, out = run / "AGSV.cif", run / "samples"
    result = frazil("sample", data, "--checkpoint", run / "run", "--out", out, "--num-samples", 2, "--steps", 3)
    assert result.exit_code == 0, result.output
    assert len(list(out.rglob("sample_*.cif"))) == 2
    result = frazil("evaluate", out / "AGSV", "--reference", data, "--out", run / "report")
    assert result.exit_code == 0, result.output
    assert "RMSD" in result.stdout and "sample_0.cif" in result.stdout
    assert {path.suffix for path in (run / "report").iterdir()} == {".json", ".csv"}


def test_sampler_and_precision_come_from_flags_over_the_file(run: Path, tmp_path: Path) -> None:
    words = ("sample", run / "AGSV.cif", "--checkpoint", run / "run", "--num-samples", 1)
    (tmp_path / "x.toml").write_text('[sample]\nsampler = "heun"\nsteps = 3\nprecision = "bf16"\ncompile = false\n')
    for name, flags in (("file", ()), ("flags", ("--sampler", "fast", "--steps", 2, "--precision", "float32"))):
        result = frazil(*words, "--out", tmp_path / name, "--config", tmp_path / "x.toml", *flags)
        assert result.exit_code == 0, result.output
    rows = [json.loads((tmp_path / name / "AGSV" / "samples.json").read_text())[0] for name in ("file", "flags")]
    keys = ("sampler", "steps", "evaluations", "precision")
    assert [tuple(row[key] for key in keys) for row in rows] == [("heun", 3, 5, "bf16"), ("fast", 2, 2, "float32")]


def test_resume_needs_nothing_but_the_folder(run: Path) -> None:
    result = frazil("train", "--out", run / "run", "--resume", "--max-steps", 4)
    assert result.exit_code == 0, result.output
    assert "4 steps" in result.stderr


def test_several_paths_may_follow_data(run: Path, tmp_path: Path) -> None:
    other = write_ensemble(tmp_path, "GG")
    result = frazil(
        "train", "--data", run / "AGSV.cif", other, "--out", tmp_path / "run", "--max-steps", 1,
        "--config", run / "tiny.toml",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "2 structure(s)" in result.stderr


def test_bad_input_is_one_line_and_exit_code_2(run: Path, tmp_path: Path) -> None:
    data, out = run / "AGSV.cif", tmp_path / "out"
    broken = tmp_path / "broken.cif.gz"
    broken.write_bytes(b"\x1f\x8b\x08\x00rubbish")
    assert "--data" in fails(2, "train", "--out", out)
    assert "broken.cif.gz" in fails(2, "train", "--data", broken, "--out", out)
    assert "nothing.cif" in fails(2, "train", "--data", "nothing.cif", "--out", out)
    assert "preset" in fails(2, "train", "--data", data, "--out", out, "--preset", "huge")
    assert "not empty" in fails(2, "train", "--data", data, "--out", run / "run")
    assert "nothing to resume" in fails(2, "train", "--out", tmp_path, "--resume")
    assert "max_steps = 0" in fails(2, "train", "--data", data, "--out", out, "--max-steps", 0)
    sample = ["sample", data, "--out", out, "--checkpoint"]
    assert "nothing" in fails(2, *sample, tmp_path / "nothing")
    assert "--num-samples" in fails(2, *sample, run / "run", "--num-samples", 0)
    assert "--steps is 0" in fails(2, *sample, run / "run", "--steps", 0)
    line = fails(2, *sample, run / "run", "--sampler", "langevin")
    assert all(name in line for name in ("'langevin'", "fast", "heun"))
    line = fails(2, *sample, run / "run", "--precision", "fp8")
    assert all(name in line for name in ("'fp8'", "float32", "tf32", "bf16"))
    line = fails(2, "train", "--data", data, "--out", out, "--precision", "fp8")
    assert all(name in line for name in ("'fp8'", "float32", "tf32", "bf16"))
    assert "--start" in fails(2, *sample, run / "run", "--start-sigma", 1.0)
    assert "other.toml" in fails(2, *sample, run / "run", "--config", "other.toml")
    assert "is a file" in fails(2, "sample", data, "--checkpoint", run / "run", "--out", data)
    assert "too long" in fails(2, "sample", data, "--checkpoint", run / "run", "--out", tmp_path / ("x" * 300))
    assert "nothing" in fails(2, "evaluate", tmp_path / "nothing", "--reference", data)
    assert not out.exists() or not list(out.rglob("*.cif"))


def test_another_molecule_than_the_trained_one_is_refused(run: Path, tmp_path: Path) -> None:
    other = write_ensemble(tmp_path, "GGG")
    line = fails(2, "sample", other, "--checkpoint", run / "run", "--out", tmp_path / "out")
    assert "GLY-GLY-GLY" in line


@pytest.mark.parametrize("words", [["train", "--colour"], ["sing"], ["sample"], ["train", "--out", "x", "--seed", "y"]])
def test_a_wrong_command_line_is_exit_code_2(words: list[str]) -> None:
    result = frazil(*words)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("error", "code", "word"),
    [
        (InputError("two\nlines"), 2, "two lines"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError(errno.ENOSPC, "No space left on device", "/out/x"), 2, "/out/x: cannot be written"),
    ],
)
def test_errors_become_one_line(
    run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: BaseException, code: int, word: str
) -> None:
    def failing(*values: object, **named: object) -> None:
        raise error

    monkeypatch.setattr(predictor, "predict", failing)
    monkeypatch.setattr(trainer, "train", failing)
    data = run / "AGSV.cif"
    assert word in fails(code, "sample", data, "--checkpoint", run / "run", "--out", tmp_path)
    assert word in fails(code, "train", "--data", data, "--out", tmp_path / "x")


def test_a_warning_is_one_line(run: Path, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("sequences:\n  - protein: {id: A, sequence: AGSV, msa: empty}\nproperties: []\n")
    words = ("--checkpoint", run / "run", "--out", tmp_path / "out", "--num-samples", 1, "--steps", 1)
    result = frazil("sample", tmp_path / "x.yaml", *words)
    assert result.exit_code == 0, result.output
    assert result.stderr.splitlines()[0] == f"warning: {tmp_path / 'x.yaml'}: keys not used: msa, properties"
    assert "UserWarning" not in result.stderr


def test_a_mistake_of_ours_is_not_hidden(run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(predictor, "predict", lambda *values, **named: 1 / 0)
    result = frazil("sample", run / "AGSV.cif", "--checkpoint", run / "run", "--out", tmp_path)
    assert isinstance(result.exception, ZeroDivisionError)


def test_the_module_runs_as_a_program(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "frazil", "evaluate", str(tmp_path / "nothing"), "--reference", "x.cif"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
