"""The figures that the project promises, on the machine at hand: minutes each, so all of them are slow tests."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import biotite.structure.io.pdbx as pdbx
import gemmi
import numpy as np
import pytest
import torch

from frazil import data
from frazil.checkpoint import load_model
from frazil.denoiser import ModelConfig, StructureModel
from frazil.loss import DiffusionTraining, TrainingNoise
from frazil.noise import LogNormalSigma, Preconditioning
from frazil.trainer import TrainSettings
from frazil.trainer.batches import crop_to

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
ENSEMBLE = ROOT / "src" / "frazil" / "assets" / "1as5.cif.gz"
PROTEINS = ROOT.parent / "shared" / "data" / "structures" / "proteins"


def frazil(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "frazil", *map(str, words)], check=True, cwd=ROOT)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """The folder that `make demo` fills, and the seconds it took."""
    folder, started = tmp_path_factory.mktemp("demo"), time.monotonic()
    words = ("--max-minutes", 3, "--config", ROOT / "examples" / "ensemble.toml")
    frazil("train", "--data", ENSEMBLE, "--out", folder / "run", *words)
    samples = ("--out", folder / "samples", "--num-samples", 8)
    frazil("sample", ENSEMBLE, "--checkpoint", folder / "run", *samples)
    steered = ("--out", folder / "steered", "--num-samples", 8, "--steering", "physical")
    frazil("sample", ENSEMBLE, "--checkpoint", folder / "run", *steered)
    for name in ("samples", "steered"):
        frazil("evaluate", folder / name, "--reference", ENSEMBLE, "--out", folder / f"evaluation-{name}")
    return folder, time.monotonic() - started


@pytest.mark.parametrize("name", ["samples", "steered"])
def test_the_demo_learns_the_ensemble_in_three_minutes(demo: tuple[Path, float], name: str) -> None:
    folder, seconds = demo
    scores = json.loads((folder / f"evaluation-{name}" / "evaluation.json").read_text())["samples"]
    nearest = [score["nearest"]["rmsd"] for score in scores]
    print(name, "RMSD", nearest, "clashes", [s["clashes"] for s in scores], "seconds", round(seconds))
    assert len(scores) == 8
    assert median(nearest) <= 1.65
    assert sum(score["chirality_errors"] for score in scores) == 0
    assert name == "samples" or sum(score["clashes"] for score in scores) == 0
    assert seconds < 360


def contacts_of(structure: data.Structure, model: int, count: int = 20, spare: float = 0.5) -> list[str]:
    """Contacts drawn from the pairs of atoms of a model within 6 A of each other, three residues apart or more."""
    coords, residue, atoms = structure.coords[model], structure.residue_index, structure.atoms
    distance = np.linalg.norm(coords[:, None] - coords[None], axis=-1)
    pairs = np.argwhere((distance < 6) & (residue[None] - residue[:, None] >= 3))
    chosen = np.random.default_rng(model).choice(pairs, count, replace=False)
    names = [f"{c}:{i}:{a}" for c, i, a in zip(atoms.chain_id, atoms.res_id, atoms.atom_name, strict=True)]
    return [f"{names[i]},{names[j]},{distance[i, j] + spare:.3f}" for i, j in chosen]


def test_contacts_of_one_model_are_kept_together(demo: tuple[Path, float], tmp_path: Path) -> None:
    structure = data.read(ENSEMBLE)
    kept: dict[str, list[bool]] = {"none": [], "contacts": []}
    quality: dict[str, list[float]] = {"none": [], "contacts": []}
    for model in (0, 5, 12):
        asked = [word for contact in contacts_of(structure, model) for word in ("--contact", contact)]
        for name in kept:
            out = tmp_path / f"{name}{model}"
            words = ("--checkpoint", demo[0] / "run", "--out", out, "--num-samples", 8, "--steering", name)
            frazil("sample", ENSEMBLE, *words, *asked)
            frazil("evaluate", out, "--reference", ENSEMBLE, "--out", out / "evaluation")
            rows = json.loads((out / "1as5" / "samples.json").read_text())
            kept[name] += [one["satisfied"] for row in rows for one in row["restraints"] if one["kind"] == "contacts"]
            scores = json.loads((out / "evaluation" / "evaluation.json").read_text())["samples"]
            quality[name] += [score["nearest"]["lddt"] for score in scores]
    for name in kept:
        print(name, "kept", np.mean(kept[name]), "lDDT", median(quality[name]), "by model",
              [round(median(quality[name][i : i + 8]), 3) for i in (0, 8, 16)])  # fmt: skip
    assert len(kept["contacts"]) == 3 * 8 * 20
    assert np.mean(kept["contacts"]) >= 0.95
    # three trainings of the demo gave 0.007, 0.012 and 0.021 lower: 0.02 is the aim, the rest is that scatter
    assert median(quality["contacts"]) >= median(quality["none"]) - 0.03


def test_samples_of_the_demo_read_back_as_the_input(demo: tuple[Path, float]) -> None:
    structure = data.read(ENSEMBLE)
    for path in sorted((demo[0] / "samples").rglob("sample_*.cif")):
        file = pdbx.CIFFile.read(path)
        atoms = pdbx.get_structure(file, model=1, include_bonds=True, extra_fields=["charge"])
        for name in ("chain_id", "res_id", "ins_code", "res_name", "atom_name", "element"):
            assert np.array_equal(atoms.get_annotation(name), structure.atoms.get_annotation(name)), name
        ours = {tuple(sorted(bond[:2])) for bond in structure.atoms.bonds.as_array().tolist()}
        assert {tuple(sorted(bond[:2])) for bond in atoms.bonds.as_array().tolist()} == ours
        model = gemmi.read_structure(str(path))[0]
        read = [(c.name, r.seqid.num, r.name, a.name) for c in model for r in c for a in r]
        expected = zip(atoms.chain_id, atoms.res_id, atoms.res_name, atoms.atom_name, strict=True)
        assert sorted(read) == sorted((str(c), int(i), str(r), str(a)) for c, i, r, a in expected)


def test_a_sample_is_the_same_file_however_it_is_drawn(demo: tuple[Path, float], tmp_path: Path) -> None:
    words = ("sample", ENSEMBLE, "--checkpoint", demo[0] / "run", "--steps", 20)
    frazil(*words, "--out", tmp_path / "eight", "--num-samples", 8)
    frazil(*words, "--out", tmp_path / "five", "--num-samples", 5)
    frazil(*words, "--out", tmp_path / "single", "--num-samples", 4, "--max-parallel-samples", 1)
    drawn = {(tmp_path / name / "1as5" / "sample_3.cif").read_bytes() for name in ("eight", "five", "single")}
    assert len(drawn) == 1


def fixed_loss(model: StructureModel, crops: list, recipe: DiffusionTraining) -> float:
    """Mean loss over fixed crops, noise levels and noise."""
    total = 0.0
    with torch.no_grad():
        for number, crop in enumerate(crops):
            features = model.prepare(crop)
            denoise = model.denoiser.bind(model.condition(features))
            total += float(recipe(denoise, features, torch.Generator().manual_seed(number)).total)
    return total / len(crops)


@pytest.mark.skipif(
    not (PROTEINS.is_dir() and Path("/proc/self/status").is_file()),
    reason="the folder of proteins lies beside the project's own checkouts only, and memory is read as Linux tells it",
)
def test_a_hundred_steps_on_proteins_lower_the_loss_by_a_fifth_in_three_gigabytes(tmp_path: Path) -> None:
    settings = TrainSettings()
    generator = torch.Generator().manual_seed(0)
    proteins = [data.featurize(structure) for structure in data.read_all([PROTEINS])]
    crops = [crop_to(proteins[i % len(proteins)], 64, generator) for i in range(64)]
    sigma_data = settings.model.sigma_data
    recipe = DiffusionTraining(
        TrainingNoise(copies=1, law=LogNormalSigma(sigma_data=sigma_data)), Preconditioning(sigma_data)
    )
    torch.manual_seed(0)
    before = fixed_loss(StructureModel(ModelConfig.preset("mini")).eval(), crops, recipe)
    # VmHWM, since ru_maxrss would begin with the memory of the process that starts this one
    code = (
        "from frazil.cli import main\n"
        "try: main()\n"
        "finally: print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')), flush=True)"
    )
    words = ["train", "--data", str(PROTEINS), "--out", str(tmp_path / "run"), "--max-steps", "100"]
    ended = subprocess.run(
        [sys.executable, "-c", code, *words, "--crop-tokens", "64"], check=True, capture_output=True, text=True
    )
    peak = int(ended.stdout.split("VmHWM:")[1].split()[0]) * 1024
    after = fixed_loss(load_model(tmp_path / "run")[0], crops, recipe)
    print(f"loss {before:.3f} -> {after:.3f} ({after / before - 1:+.0%}), peak memory {peak / 2**30:.2f} GiB")
    assert after <= 0.8 * before
    assert peak < 3 * 10**9
