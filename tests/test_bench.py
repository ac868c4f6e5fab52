"""Truths about `frazil bench`: its arithmetic is torch's own count, and its record is well formed and whole."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop
from typer.testing import CliRunner

from frazil.bench.counting import count_products
from frazil.bench.machine import Machine
from frazil.bench.measuring import Gauge
from frazil.bench.peaks import Peak
from frazil.bench.report import Report, Trial
from frazil.bench.run import BenchSettings, benchmark
from frazil.bench.subject import random_conditioning, random_coords, random_subject
from frazil.checkpoint import RunRecord, save_model
from frazil.cli import app
from frazil.denoiser import ModelConfig, StructureModel
from frazil.errors import InputError
from frazil.nn.compute import Compute
from tiny_run import TINY

CPU = torch.device("cpu")
DEEPER = replace(
    TINY.network, atom_decoder_depth=2, token_transformer_depth=3, token_s=24, conditioning_transition_layers=2
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A RUN of a tiny network."""
    path = tmp_path_factory.mktemp("run")
    save_model(path / "model.safetensors", StructureModel(TINY), RunRecord(TINY))
    return path


@pytest.mark.parametrize(("network", "tokens", "samples"), [(TINY.network, 16, 1), (DEEPER, 20, 3)])
@torch.no_grad()
def test_products_are_counted_as_torch_counts_them(network, tokens: int, samples: int) -> None:
    subject = random_subject("x", ModelConfig(network=network), CPU)
    conditioning = random_conditioning(subject, tokens)
    attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    formulas = {attention: lambda q, k, v, *_, out_shape=None, **__: sdpa_flop(q, k, v)}
    with FlopCounterMode(display=False, custom_mapping=formulas) as counter:
        subject.denoiser.plain(conditioning)(random_coords(conditioning, samples), torch.full((1, 1), 4.0))
    count = count_products(network, tokens, conditioning.atom_mask.shape[1])
    assert count.of_plain_call(samples) == counter.get_total_flops()
    assert count.of_call(2) - count.of_call(1) == count.per_sample


def test_a_random_subject_is_as_large_as_its_preset_and_gives_finite_coordinates() -> None:
    subject = random_subject("x", TINY, CPU)
    assert subject.num_parameters == sum(p.numel() for p in StructureModel(TINY).denoiser.parameters())
    conditioning = random_conditioning(subject, 5)
    coords = random_coords(conditioning, 2)
    assert subject.denoiser.bind(conditioning)(coords, torch.ones(1, 1)).isfinite().all()
    assert float(coords.square().sum(dim=-1).mean().sqrt()) == pytest.approx(15.0, rel=0.1)


def test_the_gauge_sees_what_a_call_takes_and_gives_back() -> None:
    gauge = Gauge.on(CPU)
    if gauge is None:
        pytest.skip("this system does not tell")
    size = 64 * 2**20
    assert gauge.peak(lambda: torch.ones(size // 4)) == pytest.approx(size, rel=0.1)
    assert gauge.peak(lambda: None) < size / 8


def test_a_tiny_budget_gives_a_whole_record(run: Path) -> None:
    state = torch.random.get_rng_state()
    report = benchmark(BenchSettings(seconds=1, checkpoint=run, tokens=(20, 16), samples=(1, 2)))
    assert torch.equal(state, torch.random.get_rng_state())
    assert [(t.tokens, t.samples) for t in report.trials] == 2 * [(16, 1), (16, 2)] + 2 * [(20, 1), (20, 2)]
    assert {trial.compute.precision for trial in report.trials} == set(report.peaks) == {"float32", "bf16"}
    assert all(trial.seconds > 0 and trial.atoms % 32 == 0 for trial in report.trials)
    assert all(peak.flops > 0 for peak in report.peaks.values())
    assert json.loads(json.dumps(report.to_dict()))["machine"]["versions"].keys() == {"frazil", "torch"}


def _report(*trials: Trial) -> Report:
    peaks = {name: Peak(1e11, "linear") for name in ("float32", "bf16")}
    return Report(replace(Machine.here(), load=0.0), peaks, trials)


def test_advice_follows_the_largest_call_that_was_made_both_ways() -> None:
    slow, fast = (
        Trial("x", 64, 512, 5, Compute(p), 1, s, 0.5, measured=True) for p, s in (("float32", 3.0), ("bf16", 1.0))
    )
    estimate = replace(fast, tokens=128, measured=False)
    lines = _report(slow, fast, replace(slow, tokens=128), estimate).advice()
    assert lines[-1] == "x, 64 tokens, 5 samples, bf16: 3.0 times as fast as float32; use --precision bf16"
    assert _report(slow, replace(fast, seconds=2.9)).advice()[-1].endswith("--precision bf16 is not worth it")
    assert slow.sample_seconds(200) == 120.0


def test_the_file_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "speed.json"
    _report().write(path)
    before = path.read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(InputError, match="No space left"):
        _report().write(path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_the_command_prints_a_table_and_writes_json(run: Path, tmp_path: Path) -> None:
    words = ["bench", "--checkpoint", run, "--tokens", 16, "--seconds", 1, "--json", tmp_path / "x.json"]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    assert "GFLOP/s in float32" in result.stdout and "s left" in result.stderr
    assert {call["tokens"] for call in json.loads((tmp_path / "x.json").read_text())["calls"]} == {16}


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--seconds", "0"], "seconds is 0"),
        (["--seconds", "nan"], "seconds is nan"),
        (["--tokens", "-3"], "tokens is -3"),
        (["--device", "abacus"], "device abacus: cannot be used"),
        (["--checkpoint", "nowhere"], "nowhere: no such run"),
        (["--json", "nowhere/x.json"], "nowhere/x.json: no file can be written there"),
    ],
)
def test_bad_input_is_one_line(words: list[str], line: str) -> None:
    result = CliRunner().invoke(app, ["bench", *words])
    assert result.exit_code == 2 and result.stdout == ""
    errors = [text for text in result.stderr.splitlines() if text.startswith("error: ")]
    assert len(errors) == 1 and line in errors[0]


def test_help_fits_a_screen_and_has_an_example() -> None:
    lines = CliRunner().invoke(app, ["bench", "--help"]).output.splitlines()
    assert len(lines) <= 30 and max(map(len, lines)) <= 110
    assert any("Example: frazil bench" in line for line in lines)
