"""Truths about what `frazil boltz predict` puts beside Boltz's files: it fits them, and nothing else is there."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gemmi
import numpy as np
import pytest
import torch
from command_line import ON_CPU, fails, frazil
from inputs import write_inputs

from frazil.boltz.hooks import Made
from frazil.boltz.report import described, reports, table

pytest.importorskip("boltz.main")


@pytest.fixture(scope="module")
def predicted(boltz_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Contacts and a pocket predicted in one run, three samples each."""
    folder = tmp_path_factory.mktemp("predicted")
    inputs = write_inputs(folder / "in", ["contact", "pocket"])
    words = (*("boltz", "predict", inputs, "--cache", boltz_cache, "--out_dir", folder), *ON_CPU)
    result = frazil(*words, "--diffusion_samples", 3, "--write-conditioning")
    assert result.exit_code == 0, result.output
    return SimpleNamespace(result=result, words=words, folder=folder / "boltz_results_in" / "predictions")


def _rows(predicted: SimpleNamespace, name: str) -> list[dict[str, Any]]:
    return json.loads((predicted.folder / name / "samples.json").read_text(), parse_constant=pytest.fail)


@pytest.mark.parametrize("name", ["contact", "pocket"])
def test_samples_json_has_an_object_for_each_file_of_boltz(predicted: SimpleNamespace, name: str) -> None:
    rows = _rows(predicted, name)
    assert [row["file"] for row in rows] == [f"{name}_model_{model}.cif" for model in range(3)]
    assert sorted(row["sample"] for row in rows) == [0, 1, 2]
    for row in rows:
        assert (predicted.folder / name / row["file"]).exists()
        told = json.loads((predicted.folder / name / f"confidence_{name}_model_{row['model']}.json").read_text())
        assert row["confidence_score"] == pytest.approx(told["confidence_score"])
        same = {"name": name, "seed": 3, "steps": 4, "evaluations": 4, "precision": "float32", "finite": True}
        assert same.items() <= row.items()
        assert row["sampler"] == row["steering_engine"] == "reference"
        assert Path(row["input"]).name == f"{name}.yaml" and row["seconds"] > 0


def _nearest(model: gemmi.Model, first: tuple[str, int | None], second: tuple[str, int | None]) -> float:
    """Least distance of atoms of two residues, or chains."""

    def atoms(chain: str, number: int | None) -> np.ndarray:
        residues = [one for one in model[chain] if number is None or one.seqid.num == number]
        return np.array([atom.pos.tolist() for residue in residues for atom in residue])

    return float(np.linalg.norm(atoms(*first)[:, None] - atoms(*second)[None], axis=-1).min())


def test_restraints_are_judged_by_the_distances_in_the_files(predicted: SimpleNamespace) -> None:
    places = {
        "contact": [("A:2,B:9,6", ("A", 2), ("B", 9), True), ("A:7,B:4,8", ("A", 7), ("B", 4), False)],
        "pocket": [(f"L,A:{number},6", ("L", None), ("A", number), True) for number in (3, 8, 12)],
    }
    for name, asked in places.items():
        for row in _rows(predicted, name):
            model = gemmi.read_structure(str(predicted.folder / name / row["file"]))[0]
            assert [one["label"] for one in row["restraints"]] == [label for label, *_ in asked]
            for one, (_, first, second, forced) in zip(row["restraints"], asked, strict=True):
                assert one["value"] == pytest.approx(_nearest(model, first, second), abs=1e-3)
                assert one["satisfied"] == (one["value"] <= one["upper"] + 1e-3)
                assert one["enforced"] == forced
            assert row["restraints_satisfied"] == sum(one["satisfied"] for one in row["restraints"])


def test_a_constraint_that_names_no_atom_is_told(batch: dict[str, Any]) -> None:
    [record] = batch["record"]
    nowhere = ((0, 99), (1, 3), 6.0, True)
    options = replace(record.inference_options, contact_constraints=[nowhere], pocket_constraints=[])
    batch["record"] = [replace(record, inference_options=options)]
    with pytest.warns(UserWarning, match=r"contact: contact A:100,B:4,6: names no atom"):
        features = described(_made(batch, torch.zeros(1, 1, 3), None), 0)
    assert not len(features.restraints.contacts)


def test_a_line_a_table_and_warnings_are_told_of_each_input(predicted: SimpleNamespace) -> None:
    lines = predicted.result.stderr.splitlines()
    for name in ("contact", "pocket"):
        assert any(line.startswith(f"frazil: {name}: diffusion ") and "3 samples x 4 steps" in line for line in lines)
        broken = {one["label"] for row in _rows(predicted, name) for one in row["restraints"] if not one["satisfied"]}
        warned = [line for line in lines if line.startswith(f"warning: {name}: not satisfied")]
        assert len(warned) == len(broken) and all(any(label in line for line in warned) for label in broken)
    assert "stereo violations" in predicted.result.stderr


def test_stored_conditioning_is_of_the_input_without_padding(predicted: SimpleNamespace) -> None:
    from frazil.predictor.conditioned import read_conditioning

    for name in ("contact", "pocket"):
        stored = read_conditioning(predicted.folder / name / f"{name}_conditioning.safetensors")
        tokens = 12 + 15 if name == "contact" else 15 + 15
        assert stored.features.num_tokens == tokens
        assert stored.features.restraints.contacts.labels[0] in ("A:2,B:9,6", "L,A:3,6")


def test_what_is_there_already_stays_and_what_is_made_anew_is_told_anew(
    predicted: SimpleNamespace, tmp_path: Path
) -> None:
    copied = shutil.copytree(predicted.folder.parents[1], tmp_path / "copy")
    folder = copied / "boltz_results_in" / "predictions" / "contact"
    ours = [folder / name for name in ("samples.json", "contact_conditioning.safetensors")]
    before = [path.read_bytes() for path in ours]
    again = frazil(*predicted.words, "--out_dir", copied, "--precision", "bf16")
    assert again.exit_code == 0
    assert "frazil: kept from an earlier run: contact, pocket; give --override" in again.stderr
    assert [path.read_bytes() for path in ours] == before
    anew = frazil(*predicted.words, "--out_dir", copied, "--override", "--no-report")
    assert anew.exit_code == 0 and "kept from" not in anew.stderr
    assert not any(path.exists() for path in ours)
    line = fails(*predicted.words, "--out_dir", copied, "--write-conditioning")
    assert "contact, pocket" in line and "--override" in line


def test_inputs_that_run_together_are_told_apart_and_one_that_fails_is_named(
    boltz_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from boltz.model.models.boltz2 import Boltz2

    inputs = write_inputs(tmp_path / "in", ["contact", "pocket", "protein"])
    step = Boltz2.predict_step

    def predict_step(self: Any, batch: Any, *more: Any) -> Any:
        short = any(record.id == "protein" for record in batch["record"])
        return {"exception": True} if short else step(self, batch, *more)

    monkeypatch.setattr(Boltz2, "predict_step", predict_step)
    words = ("boltz", "predict", inputs, "--cache", boltz_cache, "--out_dir", tmp_path, *ON_CPU)
    line = fails(*words, "--batch_size", 1, "--sampler", "heun", "--output_format", "pdb")
    assert "protein.yaml" in line and "contact.yaml" not in line
    folder = SimpleNamespace(folder=tmp_path / "boltz_results_in" / "predictions")
    assert not (folder.folder / "protein").exists()
    [row] = _rows(folder, "contact")
    # the steps were given, so they count for another sampler too
    assert (row["file"], row["sampler"], row["steps"], row["evaluations"]) == ("contact_model_0.pdb", "heun", 4, 7)


@pytest.mark.slow
def test_a_batch_gives_every_input_its_own_samples(boltz_cache: Path, tmp_path: Path) -> None:
    inputs = write_inputs(tmp_path / "in", ["contact", "pocket", "protein"])
    words = ("boltz", "predict", inputs, "--cache", boltz_cache, "--out_dir", tmp_path, *ON_CPU)
    result = frazil(*words, "--batch_size", 2, "--write-conditioning")
    assert result.exit_code == 0, result.output
    folder = SimpleNamespace(folder=tmp_path / "boltz_results_in" / "predictions")
    for name, chains in (("contact", ("A", "B")), ("pocket", ("L", "A"))):
        [row] = _rows(folder, name)
        model = gemmi.read_structure(str(folder.folder / name / row["file"]))[0]
        one = row["restraints"][0]
        numbers = [int(part.split(":")[1]) if ":" in part else None for part in one["label"].split(",")[:2]]
        found = _nearest(model, (chains[0], numbers[0]), (chains[1], numbers[1]))
        assert one["value"] == pytest.approx(found, abs=1e-3)
        # Boltz guides no contacts in batches
        assert not one["enforced"]
        assert (folder.folder / name / f"{name}_conditioning.safetensors").exists()


def _made(batch: dict[str, Any], coords: torch.Tensor, confidence: torch.Tensor | None) -> Made:
    prediction = {"coords": coords, "masks": batch["atom_pad_mask"]}
    if confidence is not None:
        prediction["confidence_score"] = confidence
    return Made(None, SimpleNamespace(steering_args=None), prediction, batch)


def test_ranks_are_those_of_confidence_or_else_the_order(batch: dict[str, Any]) -> None:
    coords = torch.zeros(3, batch["atom_pad_mask"].shape[1], 3)
    assert _made(batch, coords, torch.tensor([0.1, 0.9, 0.5])).ranks(0) == [2, 0, 1]
    assert _made(batch, coords, None).ranks(0) == [0, 1, 2]


def test_samples_that_are_not_finite_are_told_and_not_judged(batch: dict[str, Any]) -> None:
    coords = torch.randn(2, batch["atom_pad_mask"].shape[1], 3)
    coords[1, 0] = torch.nan
    made = _made(batch, coords, torch.tensor([0.5, torch.nan]))
    for finite in ([True, False], [False, False]):
        found = reports(made, 0, described(made, 0), torch.tensor(finite))
        assert {one.sample: one.finite for one in found} == dict(enumerate(finite))
        json.dumps([one.to_dict() for one in found], allow_nan=False)
        assert table("x", found).row_count == 2
    assert [one.confidence for one in sorted(found, key=lambda one: one.sample)] == [0.5, None]
