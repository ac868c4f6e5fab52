"""Truths about `frazil sample` of small molecules, and the same in Python: no checkpoint, lists, mistakes."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem

from frazil import checkpoint
from frazil.data import read
from frazil.data.ligands import complete, ligand_of
from frazil.errors import InputError
from frazil.ligands import SampleChoices, conformers, draws_ligands, fast_precision
from frazil.metrics import count_clashes
from frazil.predictor.engine import LocalEngine
from frazil.predictor.ray_engine import RayEngine
from frazil.predictor.report import Quality
from ligand_model import ligand_checkpoint
from test_cli import fails, frazil

IBUPROFEN = "CC(C)Cc1ccc(cc1)[C@H](C)C(=O)O"
QUICK = ("--num-samples", 2, "--steps", 2, "--no-report")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ligand_checkpoint(tmp_path_factory.mktemp("model") / "run")


def summary(out: Path) -> list[dict[str, str]]:
    with (out / "summary.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_smiles_needs_no_checkpoint_and_gets_the_defaults_of_the_built_in_model(tmp_path: Path) -> None:
    result = frazil("sample", IBUPROFEN, "--out", tmp_path, "--steps", 2, "--no-report")
    assert result.exit_code == 0, result.output
    [row] = summary(tmp_path)
    rows = json.loads((tmp_path / row["name"] / "samples.json").read_text())
    assert len(rows) == 10 and {one["sampler"] for one in rows} == {"fast"}
    assert {one["precision"] for one in rows} == {fast_precision()}
    mols = list(Chem.SDMolSupplier(str(tmp_path / row["name"] / "samples.sdf")))
    assert len(mols) == int(row["finite"])
    assert all(mol.HasSubstructMatch(Chem.MolFromSmiles("c1ccccc1")) for mol in mols)


def test_a_model_of_ligands_that_one_trained_is_used_like_the_built_in_one(tmp_path: Path, run: Path) -> None:
    result = frazil("sample", "CC(C)O", "--checkpoint", run, "--out", tmp_path, "--steps", 2, "--no-report")
    assert result.exit_code == 0, result.output
    [row] = summary(tmp_path)
    rows = json.loads((tmp_path / row["name"] / "samples.json").read_text())
    assert len(rows) == 10 and {one["sampler"] for one in rows} == {"fast"}
    assert all(one["steps_guided"] > 0 for one in rows)


def test_flags_and_files_come_before_the_defaults(tmp_path: Path, run: Path) -> None:
    config = tmp_path / "a.toml"
    config.write_text("[sample]\nnum_samples = 3\nsteps = 2\n")
    for more, expected in (((), 3), (("--num-samples", 4), 4)):
        out = tmp_path / f"out{expected}"
        assert frazil("sample", "CC(C)O", "--out", out, "--config", config, "--no-report", *more).exit_code == 0
        assert int(summary(out)[0]["samples"]) == expected


@pytest.mark.parametrize("source", ["x.cif", "x.yaml", "folder"])
def test_anything_else_without_a_checkpoint_is_refused(tmp_path: Path, source: str, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    for name in ("x.cif", "x.yaml"):
        (tmp_path / name).touch()
    line = fails(2, "sample", source, "--out", tmp_path / "out")
    assert source in line and "--checkpoint" in line
    assert not (tmp_path / "out").exists()


def test_a_folder_of_ligands_is_refused_with_the_way_to_name_its_files(tmp_path: Path) -> None:
    line = fails(2, "sample", tmp_path, "--out", tmp_path / "out")
    assert f"{tmp_path}: is a folder" in line and str(tmp_path / "*.sdf") in line


@pytest.mark.parametrize("name", ["nothere.pdb", "nothere.sdf", "nothere.yaml", "./nothere"])
def test_a_missing_file_is_told_before_what_it_could_be_drawn_by(tmp_path: Path, name: str, run: Path) -> None:
    for more in ((), ("--checkpoint", run)):
        line = fails(2, "sample", name, *more, "--out", tmp_path / "out")
        assert f"{name}: no such file; check the path" in line


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["C[CH2]"], "a radical"),
        (["C" * 300], "300 heavy atoms"),
        (["CC(=O)[O-].[Na+]"], "2 fragments"),
        (["C[Qq]"], "not a SMILES"),
        (["ZZZZZ"], "'ZZZZZ': no such file, no code of the Chemical Component Dictionary and not a SMILES"),
        (["none.smi"], "none.smi: cannot be read"),
        (["CC(C)O", "--engine", "slurm"], "--engine 'slurm'"),
        (["CC(C)O", "--address", "1.2.3.4:5"], "add --engine ray"),
        (["CC(C)O", "--cluster", "0"], "--cluster is 0"),
        (["CC(C)O", "--processes", "0"], "--processes is 0"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_folder(tmp_path: Path, words: list[str], expected: str) -> None:
    assert expected in fails(2, "sample", *words, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def write_list(path: Path, count: int, bad: dict[int, str]) -> None:
    """Alkanols of unlike sizes, some lines replaced."""
    lines = [f"{'C' * (3 + number % 5)}O mol{number}" for number in range(1, count + 1)]
    for number, text in bad.items():
        lines[number - 1] = text
    path.write_text("\n".join(lines) + "\n")


BAD = {4: "C1CC broken", 11: "[Na+].[Cl-] salt", 17: "nonsense"}


def check_list(tmp_path: Path, run: Path, count: int, *more: object) -> None:
    path, out = tmp_path / "many.smi", tmp_path / "out"
    write_list(path, count, BAD)
    words = ("sample", path, "--checkpoint", run, "--out", out, "--num-samples", 1, "--steps", 1, *more)
    result = frazil(*words)
    assert result.exit_code == 1, result.output
    rows = summary(out)
    failed = [row for row in rows if row["status"] == "failed"]
    assert [row["source"] for row in failed] == [f"{path}:{number}" for number in BAD]
    assert all(row["reason"] for row in failed)
    for row in failed:
        assert f"{row['source']}: {row['reason']}" in result.stderr
    done = [row["name"] for row in rows if row["status"] == "done"]
    assert len(done) == count - len(BAD)
    assert sorted(done) == sorted(folder.name for folder in out.iterdir() if folder.is_dir())
    again = frazil(*words)
    assert again.exit_code == 1
    assert {row["status"] for row in summary(out)} == {"kept", "failed"}
    assert [row["finite"] for row in summary(out)] == [row["finite"] for row in rows]


def test_bad_lines_of_a_list_are_told_and_the_others_drawn_and_kept_next_time(tmp_path: Path, run: Path) -> None:
    check_list(tmp_path, run, 24, "--no-report")


@pytest.mark.slow
def test_three_bad_lines_in_a_thousand_leave_997_results(tmp_path: Path, run: Path) -> None:
    check_list(tmp_path, run, 1000)


def test_a_list_and_a_complex_are_not_mixed(tmp_path: Path, run: Path) -> None:
    (tmp_path / "a.smi").write_text("CC(C)O\n")
    (tmp_path / "x.cif").touch()
    line = fails(2, "sample", tmp_path / "a.smi", tmp_path / "x.cif", "--checkpoint", run, "--out", tmp_path / "out")
    assert "do one at a time" in line


def test_a_model_of_complexes_draws_single_ligands_the_other_way() -> None:
    assert draws_ligands(["CCC", "a.sdf"], None)
    with pytest.raises(InputError, match="no such run"):
        draws_ligands(["CCC"], "nowhere")


def test_the_header_tells_who_draws(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "load_tensors", None)
    assert draws_ligands(["CCC"], run)


def test_what_only_ligands_can_be_given_is_refused_for_others() -> None:
    SampleChoices().refuse_for_structures()
    with pytest.raises(InputError, match="--engine"):
        SampleChoices(engine="ray").refuse_for_structures()


def test_the_engine_follows_the_choice_and_the_number_of_inputs() -> None:
    assert SampleChoices().engine_for(3) == LocalEngine(1)
    assert SampleChoices(processes=2).engine_for(3) == LocalEngine(2)
    assert SampleChoices(engine="ray", address="auto").engine_for(3) == RayEngine("auto")


def test_molecules_in_and_out_in_their_own_atom_order(run: Path) -> None:
    given = [Chem.AddHs(Chem.MolFromSmiles("OC(C)C")), Chem.MolFromSmiles(IBUPROFEN), "C[C@H](F)Cl"]
    found = conformers(given, 3, checkpoint=run, steps=2)
    assert [mol.GetNumConformers() for mol in found] == [3, 3, 3]
    assert [atom.GetSymbol() for atom in found[0].GetAtoms()] == ["O", "C", "C", "C"]
    assert Chem.MolToSmiles(found[1]) == Chem.CanonSmiles(IBUPROFEN)
    assert given[0].GetNumConformers() == 0


def test_equal_seeds_give_equal_conformers_whatever_else_is_in_the_list(run: Path) -> None:
    def positions(mols: list, **options) -> np.ndarray:
        options = {"precision": "float32", "steps": 3, "checkpoint": run} | options
        return np.stack([conformer.GetPositions() for conformer in conformers(mols, 2, **options)[-1].GetConformers()])

    alone = positions([IBUPROFEN])
    assert np.array_equal(positions(["CC(C)O", "CC(=O)Oc1ccccc1C(=O)O", IBUPROFEN]), alone)
    assert not np.array_equal(positions([IBUPROFEN], seed=1), alone)


@pytest.mark.slow
def test_processes_that_share_the_molecules_give_the_same_ones(run: Path) -> None:
    named = Chem.MolFromSmiles(IBUPROFEN)
    named.SetProp("_Name", "ibuprofen")
    given = [named, Chem.MolFromSmiles("OC(C)C"), "CC(=O)Oc1ccccc1C(=O)O", "C[C@H](F)Cl"]
    options = {"checkpoint": run, "steps": 3, "precision": "float32"}
    here, beside = (conformers(given, 2, processes=processes, **options) for processes in (1, 2))
    assert [Chem.MolToMolBlock(mol, confId=1) for mol in here] == [Chem.MolToMolBlock(mol, confId=1) for mol in beside]
    with pytest.raises(InputError, match="processes is 0: give at least 1"):
        conformers(given, processes=0)


def test_hydrogens_and_clusters_of_molecules(run: Path) -> None:
    [mol] = conformers(["CC(C)O"], 4, checkpoint=run, steps=2, hydrogens=True, minimize=True, cluster=2.0)
    assert mol.GetNumAtoms() == 12 and mol.GetNumConformers() == 1


def test_a_bad_molecule_is_named_by_its_place(run: Path) -> None:
    with pytest.raises(InputError, match=r"molecule 2: .*radical"):
        conformers(["CCC", "C[CH2]"], checkpoint=run)
    assert conformers([], checkpoint=run) == []
    with pytest.raises(InputError, match="molecule 1: None"):
        conformers([None], checkpoint=run)
    with pytest.raises(InputError, match="molecule 2: 5 is no molecule"):
        conformers(["CCC", 5], checkpoint=run)  # type: ignore[list-item]
    with pytest.raises(InputError, match="steering takes a list"):
        conformers(["CCC"], steering="physical", checkpoint=run)
    for one in ("CCO", Chem.MolFromSmiles("CCO")):
        with pytest.raises(InputError, match="takes a list of molecules"):
            conformers(one, checkpoint=run)


def test_stereo_that_is_given_stays_where_the_reference_is_flat() -> None:
    given = ligand_of("C[C@H](F)" + 126 * "C" + "C(O)(F)Cl")
    assert complete(given, seed=0).mol.HasSubstructMatch(given.mol, useChirality=True)
    assert "@" in given.smiles and complete(given, seed=0).smiles.count("[C@") == 2


def test_clashes_of_small_molecules_are_counted_as_of_large_ones() -> None:
    structure = read("CC(C)Cc1ccc(cc1)[C@H](C)C(=O)O")
    quality = Quality.of(structure)
    samples = structure.ref_pos * np.linspace(0.2, 1, 6)[:, None, None]
    expected = [count_clashes(coords, quality.radii, quality.bonds) for coords in samples]
    assert quality.clashes(samples) == expected
    assert expected[0] > 0
    assert replace(quality, radii=quality.radii).clashes(samples[:0]) == []
