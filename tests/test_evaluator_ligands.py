"""Ligands against their crystal conformers: symmetric RMSD, coverage and matching, checks, and many inputs at once."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdDistGeom
from spyrmsd.rmsd import symmrmsd
from typer.testing import CliRunner

from frazil import data
from frazil.cli import app
from frazil.data.checks import PoseChecks
from frazil.data.sdf import structure_from_mol
from frazil.data.write import write_cif, write_sdf
from frazil.errors import InputError
from frazil.evaluator import evaluate, evaluate_inputs, result_folders

NMR = Path(data.__file__).parents[1] / "assets" / "1as5.cif.gz"
IBUPROFEN = "CC(C)Cc1ccc(cc1)[C@H](C)C(=O)O"
SYMMETRIC = {
    "carboxylate and ring": IBUPROFEN,
    "tert-butyl and trifluoromethyl": "CC(C)(C)c1ccc(C(F)(F)F)cc1",
    "triphosphate": "OP(=O)(O)OP(=O)(O)OP(=O)(O)O",
    "guanidine": "NC(=N)NCCC[C@H](N)C(=O)O",
    "biphenyl": "c1ccc(-c2ccccc2)cc1",
    "no symmetry": "CC(=O)N1CCO[C@@H]1C",
}


def conformers(smiles, number, seed=7):
    """The molecule and [number, A, 3] heavy-atom coordinates of ETKDG conformers."""
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    rdDistGeom.EmbedMultipleConfs(mol, number, randomSeed=seed)
    mol = Chem.RemoveHs(mol)
    return mol, np.stack([one.GetPositions() for one in mol.GetConformers()]).astype(np.float32)


def written(folder, smiles, coords, title=None):
    """An SDF of conformers, as `frazil sample` writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    structure = structure_from_mol(Chem.MolFromSmiles(smiles), name=title or folder.name, source=smiles, seed=0)
    write_sdf(folder / "samples.sdf", structure, coords)
    return folder / "samples.sdf"


@pytest.mark.parametrize("smiles", SYMMETRIC.values(), ids=SYMMETRIC.keys())
def test_ligand_rmsd_is_that_of_spyrmsd(smiles, tmp_path):
    mol, coords = conformers(smiles, 6)
    written(tmp_path / "samples", smiles, coords[:4])
    written(tmp_path / "truth", smiles, coords[4:])
    report = evaluate(tmp_path / "samples", tmp_path / "truth" / "samples.sdf")
    elements = np.array([atom.GetAtomicNum() for atom in mol.GetAtoms()])
    bonds = Chem.GetAdjacencyMatrix(mol)
    assert len(report.samples) == 4
    for sample, score in zip(coords[:4], report.samples, strict=True):
        expected = [
            symmrmsd(truth, sample, elements, elements, bonds, bonds, center=True, minimize=True)
            for truth in coords[4:].astype(np.float64)
        ]
        assert [one.rmsd for one in score.comparisons] == pytest.approx(expected, abs=2e-3)


def test_coverage_and_matching_follow_from_the_distances(tmp_path):
    _, coords = conformers(IBUPROFEN, 9)
    written(tmp_path / "samples", IBUPROFEN, coords[:7])
    truth = written(tmp_path / "truth", IBUPROFEN, coords[5:])
    report = evaluate(tmp_path / "samples", truth)
    distances = np.array([[one.rmsd for one in score.comparisons] for score in report.samples])
    found = report.coverage
    assert distances.shape == (7, 4)
    assert found.cov_r == tuple((distances.min(axis=0) < level).mean() for level in (0.5, 0.75, 1.0))
    assert found.cov_p == tuple((distances.min(axis=1) < level).mean() for level in (0.5, 0.75, 1.0))
    assert found.mat_r == pytest.approx(distances.min(axis=0).mean())
    # two conformers are both sample and reference
    assert found.cov_r[0] >= 0.5 and found.mat_p == pytest.approx(distances.min(axis=1).mean())
    summary = json.loads((tmp_path / "samples" / "evaluation.json").read_text())["summary"]
    assert summary["mat_r"] == found.mat_r and summary["cov_p_0.75"] == found.cov_p[1]


def test_posebusters_tells_a_good_conformer_from_a_bad_one(tmp_path):
    _, coords = conformers(IBUPROFEN, 1)
    squeezed = coords[0] * np.float32([1, 1, 0.3])
    written(tmp_path / "out", IBUPROFEN, np.stack([coords[0], squeezed]))
    report = evaluate(tmp_path / "out", tmp_path / "out" / "samples.sdf", checks=PoseChecks("mol_fast"))
    good, bad = report.samples
    assert good.valid is True and bad.valid is False
    assert {"bond_lengths", "bond_angles"} <= set(bad.failed_checks)
    assert report.passed_checks()["bond_lengths"] == 0.5 and report.passed_checks()["sanitization"] == 1.0
    with (tmp_path / "out" / "evaluation.csv").open() as file:
        assert [row["posebusters_valid"] for row in csv.DictReader(file) if row["nearest"] == "1"] == ["1", "0"]


@pytest.fixture
def several(tmp_path):
    """Results of three inputs, and their references in another order in one SDF."""
    pairs = {"ibuprofen": IBUPROFEN, "arginine": SYMMETRIC["guanidine"], "amide": SYMMETRIC["no symmetry"]}
    records = []
    for name, smiles in pairs.items():
        _, coords = conformers(smiles, 3)
        written(tmp_path / "out" / name, smiles, coords[:2])
        records.insert(0, written(tmp_path / "truth" / name, smiles, coords[1:]).read_text())
    (tmp_path / "refs.sdf").write_text("".join(records))
    return tmp_path


def test_many_inputs_find_their_references_by_title(several):
    report = evaluate_inputs(several / "out", several / "refs.sdf")
    assert [one.name for one in report.inputs] == ["amide", "arginine", "ibuprofen"]
    assert not report.failed and not report.unused
    for one in report.inputs:
        assert one.molecule == one.name and one.report.reference_models == 2
        assert one.row()["best_rmsd"] < 2e-3 and one.row()["cov_r_0.5"] >= 0.5
        assert (several / "out" / one.name / "evaluation.json").exists()
    with (several / "out" / "evaluation.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["name"], row["status"], row["samples"]) for row in rows] == [
        (name, "done", "2") for name in ("amide", "arginine", "ibuprofen")
    ]
    summary = json.loads((several / "out" / "evaluation.json").read_text())["summary"]
    assert summary["inputs"] == 3 and summary["failed"] == 0 and summary["inputs_within_0.5"] == 1.0
    assert summary["mean_cov_p_0.5"] == pytest.approx(np.mean([float(row["cov_p_0.5"]) for row in rows]))


def test_references_without_titles_are_found_by_the_molecule(several):
    lines = [
        line.replace("ibuprofen", "").replace("amide", "x") for line in (several / "refs.sdf").read_text().split("\n")
    ]
    (several / "refs.sdf").write_text("\n".join(lines))
    report = evaluate_inputs(several / "out", several / "refs.sdf")
    assert [one.report.samples[0].nearest.rmsd < 2e-3 or one.row()["best_rmsd"] < 2e-3 for one in report.inputs] == [
        True
    ] * 3


def test_the_stereo_decides_between_references_of_one_graph(tmp_path):
    forms = {"r": IBUPROFEN, "s": IBUPROFEN.replace("@", "@@")}
    text = ""
    for name, smiles in forms.items():
        _, coords = conformers(smiles, 2)
        written(tmp_path / "out" / f"some_{name}", smiles, coords)
        text = written(tmp_path / "truth" / name, smiles, coords).read_text() + text
    (tmp_path / "refs.sdf").write_text(text)
    report = evaluate_inputs(tmp_path / "out", tmp_path / "refs.sdf")
    assert [one.molecule for one in report.inputs] == ["r", "s"]
    assert all(score.chirality_errors == 0 for one in report.inputs for score in one.report.samples)


def test_an_input_without_a_reference_is_a_row_and_the_others_go_on(several):
    _, coords = conformers("CCCCO", 2)
    written(several / "out" / "stranger", "CCCCO", coords)
    (several / "out" / "broken").mkdir()
    (several / "out" / "broken" / "samples.sdf").write_text("hello")
    (several / "out" / ".hidden.part").mkdir()
    report = evaluate_inputs(several / "out", several / "refs.sdf", several / "elsewhere")
    assert [one.name for one in report.failed] == ["broken", "stranger"]
    assert "none of the 3 molecules" in report.failed[1].reason and "\n" not in report.failed[1].reason
    assert len([one for one in report.inputs if one.report]) == 3
    assert sorted(path.name for path in (several / "elsewhere").iterdir()) == [
        "amide", "arginine", "evaluation.csv", "evaluation.json", "ibuprofen",
    ]  # fmt: skip
    assert not (several / "out" / "evaluation.json").exists()
    assert len(report.notes()) == 2


def test_where_nothing_can_be_judged_there_is_still_a_table_of_reasons(several):
    for name in ("amide", "arginine", "ibuprofen"):
        (several / "out" / name / "samples.sdf").write_text("hello")
    report = evaluate_inputs(several / "out", several / "refs.sdf")
    assert len(report.failed) == 3 == len(report.notes()) - 1
    assert report.table().row_count == 4
    with (several / "out" / "evaluation.csv").open() as file:
        assert all(row["status"] == "failed" and "samples.sdf" in row["reason"] for row in csv.DictReader(file))


def test_one_folder_with_many_references_takes_its_own(several):
    report = evaluate(several / "out" / "arginine", several / "refs.sdf")
    assert report.molecule == "arginine" and report.reference_models == 2


def test_a_folder_of_reference_files_is_as_good_as_an_sdf(several):
    (several / "files").mkdir()
    for name in ("ibuprofen", "arginine", "amide"):
        (several / "truth" / name / "samples.sdf").rename(several / "files" / f"{name}.sdf")
    report = evaluate_inputs(several / "out", several / "files")
    assert [one.molecule for one in report.inputs] == ["amide", "arginine", "ibuprofen"]


def test_molecules_that_nobody_sampled_are_counted(several):
    for file in (several / "out" / "amide").iterdir():
        file.unlink()
    report = evaluate_inputs(several / "out", several / "refs.sdf")
    assert report.unused == ("amide",) and [one.name for one in report.inputs] == ["arginine", "ibuprofen"]


def command(*words):
    return CliRunner().invoke(app, ["evaluate", *map(str, words)])


def test_the_command_sums_up_many_inputs(several):
    result = command(several / "out", "--reference", several / "refs.sdf", "--posebusters", "mol_fast", "--workers", 1)
    assert result.exit_code == 0, result.output
    shown = ("3 inputs against refs.sdf", "arginine", "COV-R 0.5/0.75/1", "100%/100%/100%")
    assert all(words in result.stdout for words in shown)
    assert json.loads((several / "out" / "evaluation.json").read_text())["summary"]["posebusters_valid"] == 1.0


def test_the_command_ends_with_1_if_an_input_failed(several):
    _, coords = conformers("CCCCO", 1)
    written(several / "out" / "stranger", "CCCCO", coords)
    asked = ("--reference", several / "refs.sdf", "--posebusters", "none", "--workers", 1)
    result = command(several / "out", *asked)
    assert result.exit_code == 1 and "Traceback" not in result.output
    assert [line for line in result.stderr.splitlines() if line.startswith("stranger: ")]
    assert "failed" in result.stdout and (several / "out" / "evaluation.csv").exists()


def test_the_command_refuses_an_unknown_configuration_in_one_line(several):
    result = command(several / "out", "--reference", several / "refs.sdf", "--posebusters", "dock")
    assert result.exit_code == 2
    assert result.stderr == "error: dock: no PoseBusters configuration for a molecule; choose mol, mol_fast or none\n"


@pytest.mark.parametrize("workers", [0, -2])
def test_the_command_refuses_fewer_than_one_process(several, workers):
    for samples in ("out", "out/amide"):
        result = command(several / samples, "--reference", several / "refs.sdf", "--workers", workers)
        assert result.exit_code == 2
        assert result.stderr == f"error: --workers {workers}: give 1 or more, or leave it out for one a core\n"


def test_one_lone_ligand_shows_its_coverage_and_checks(several):
    result = command(
        several / "out" / "amide", "--reference", several / "truth" / "amide" / "samples.sdf", "--posebusters", "mol"
    )
    assert result.exit_code == 0, result.output
    assert "COV-R" in result.stdout and "MAT-P" in result.stdout and "pass" in result.stdout


@pytest.mark.slow
def test_processes_find_the_same(several):
    for number in range(2):
        _, coords = conformers(IBUPROFEN, 2)
        written(several / "out" / f"ibuprofen_{number}", IBUPROFEN, coords)
    alone = evaluate_inputs(several / "out", several / "refs.sdf", checks=PoseChecks("mol"))
    calls = []
    together = evaluate_inputs(
        several / "out",
        several / "refs.sdf",
        checks=PoseChecks("mol"),
        workers=2,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert together == alone and calls == [(done, 5) for done in range(1, 6)]


def test_bad_folders_are_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    for folder in ("empty", "absent"):
        assert result_folders(tmp_path / folder) == {}
        with pytest.raises(InputError, match="no folders with results"):
            evaluate_inputs(tmp_path / folder, tmp_path / "refs.sdf")


def test_only_a_lone_ligand_has_coverage(tmp_path):
    peptide = data.read(NMR)
    write_cif(tmp_path / "sample_0.cif", peptide, peptide.coords[0])
    report = evaluate(tmp_path, tmp_path / "sample_0.cif")
    assert report.coverage is None
    assert report.samples[0].nearest.tm_score == pytest.approx(1.0, abs=1e-4)
    assert report.samples[0].nearest.parts[0].tm_score == report.samples[0].nearest.tm_score


def test_without_the_extra_the_report_says_what_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr("frazil.evaluator.judge.HAS_POSEBUSTERS", False)
    monkeypatch.setattr("frazil.evaluator.judge.HAS_TMTOOLS", False)
    _, coords = conformers("CCCCO", 2)
    written(tmp_path / "out", "CCCCO", coords)
    report = evaluate(tmp_path / "out", tmp_path / "out" / "samples.sdf")
    assert report.notes == ("PoseBusters' checks left out: pip install 'frazil[eval]' for them",)
    assert report.samples[0].valid is None and report.samples[0].nearest.tm_score is None
