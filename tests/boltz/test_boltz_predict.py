"""`frazil boltz predict` writes what `boltz predict` writes: both as processes, with the same seed, on real inputs."""

from __future__ import annotations

import os
from dataclasses import astuple
from pathlib import Path

import pytest

pytest.importorskip("boltz")

from boltz_runs import FULL_PRECISION, OURS, QUICK, THEIRS, Deviation, Run, deviation, files, predict
from inputs import STRUCTURES, write_inputs

COORDINATES = 0.05
CONFIDENCE = 5e-3
"""Random weights make much of one distance that rounding moves from one bin into the next: 2e-3 was seen of it."""
AFFINITY = ("affinity",)
POTENTIALS = ("--use_potentials",)
PEER_PYTHON = "FRAZIL_PEER_PYTHON"


def hold_together(results: dict[str, Path], names: tuple[str, ...]) -> None:
    """Our folder holds their files, and the predictions of each input are theirs."""
    assert files(results["ours"]) == files(results["theirs"])
    assert all((results["ours"] / "predictions" / name / "samples.json").is_file() for name in names)
    for name, found in deviations(results["ours"], results["theirs"], names).items():
        assert found.coordinates < COORDINATES, name
        assert max(found.summaries, found.arrays) < CONFIDENCE, name


def deviations(results: Path, reference: Path, names: tuple[str, ...]) -> dict[str, Deviation]:
    """Of every input, printed: coordinates in angstrom, numbers in JSON files, arrays."""
    found = {name: deviation(results, reference, name) for name in names}
    for name, made in found.items():
        print(f"{name:16}", *(f"{value:9.2g}" for value in astuple(made)))
    return found


def both(*options: str) -> dict[str, Run]:
    return {"ours": Run(OURS, options), "theirs": Run(THEIRS, options)}


def test_the_same_seed_gives_the_same_files_structures_and_confidence(boltz_cache: Path, tmp_path: Path) -> None:
    inputs = write_inputs(tmp_path / "inputs")
    hold_together(predict(both(*QUICK), inputs, boltz_cache, tmp_path), STRUCTURES)


@pytest.mark.slow
def test_so_it_is_with_every_option_as_boltz_has_it_by_default(boltz_cache: Path, tmp_path: Path) -> None:
    inputs = write_inputs(tmp_path / "inputs")
    hold_together(predict(both(), inputs, boltz_cache, tmp_path), STRUCTURES)


@pytest.mark.slow
def test_so_it_is_with_potentials(boltz_cache: Path, tmp_path: Path) -> None:
    inputs = write_inputs(tmp_path / "inputs")
    hold_together(predict(both(*QUICK, *POTENTIALS), inputs, boltz_cache, tmp_path), STRUCTURES)


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), POTENTIALS], ids=["plain", "potentials"])
def test_the_same_seed_gives_the_same_affinity(options: tuple[str, ...], boltz_cache: Path, tmp_path: Path) -> None:
    inputs = write_inputs(tmp_path / "inputs", AFFINITY)
    results = predict(both(*QUICK, *options), inputs, boltz_cache, tmp_path)
    assert "predictions/affinity/affinity_affinity.json" in files(results["theirs"])
    hold_together(results, AFFINITY)


@pytest.fixture(scope="session")
def peer() -> str:
    """Interpreter of the environment with boltz 2.2.1."""
    python = os.environ.get(PEER_PYTHON)
    if python is None:
        pytest.skip(f"needs boltz 2.2.1: run `make test-slow`, or name an interpreter that has it in {PEER_PYTHON}")
    assert Path(python).is_file(), f"{PEER_PYTHON} = {python}: no such interpreter"
    return python


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), POTENTIALS], ids=["plain", "potentials"])
@pytest.mark.parametrize("names", [STRUCTURES, AFFINITY], ids=["structures", "affinity"])
def test_in_full_precision_boltz_2_2_1_is_the_same_too(
    names: tuple[str, ...], options: tuple[str, ...], peer: str, boltz_cache: Path, tmp_path: Path
) -> None:
    inputs = write_inputs(tmp_path / "inputs", names)
    runs = {
        "ours": Run((FULL_PRECISION, "frazil", "boltz"), (*QUICK, *options), peer),
        "theirs": Run((FULL_PRECISION, "boltz"), (*QUICK, *options), peer),
    }
    hold_together(predict(runs, inputs, boltz_cache, tmp_path), names)


@pytest.mark.slow
def test_boltz_2_2_1_as_it_is_differs_from_itself_by_bf16(peer: str, boltz_cache: Path, tmp_path: Path) -> None:
    inputs = write_inputs(tmp_path / "inputs")
    runs = {
        "exact": Run((FULL_PRECISION, "boltz"), QUICK, peer),
        "theirs": Run(THEIRS, QUICK, peer),
        "ours": Run(OURS, QUICK, peer),
    }
    results = predict(runs, inputs, boltz_cache, tmp_path)
    assert files(results["ours"]) == files(results["theirs"])
    print("unmodified boltz 2.2.1 and itself in full precision, then ours and unmodified boltz 2.2.1:")
    own = deviations(results["theirs"], results["exact"], STRUCTURES)
    between = deviations(results["ours"], results["theirs"], STRUCTURES)
    assert min(made.coordinates for made in own.values()) > COORDINATES
    # both have the trunk in bf16; the module is in bf16 in theirs alone
    assert max(made.coordinates for made in between.values()) < max(made.coordinates for made in own.values())
