"""Truths about `python -m benchmarks.ligands`: what its figures are, and that a crystal's conformer finds itself."""

from __future__ import annotations

import json
import subprocess
import sys
from math import inf
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdDistGeom

sys.path.append(str(Path(__file__).parents[1]))

from benchmarks.ligand_methods import Asked, _embed
from benchmarks.ligand_rows import Judged, Row, rows, table
from benchmarks.ligands import Checks, judge

from frazil.data.ccd import CrystalLigand
from frazil.data.molecules import drop_hydrogens

ROOT = Path(__file__).parents[1]
IBUPROFEN = "CC(C)Cc1ccc([C@H](C)C(=O)O)cc1"
NONE = Checks("none")


@pytest.fixture(scope="module")
def ligand():
    """A conformer that stands for a crystal's, and the molecule with it."""
    mol = Chem.AddHs(Chem.MolFromSmiles(IBUPROFEN))
    rdDistGeom.EmbedMolecule(mol, randomSeed=5)
    mol = drop_hydrogens(mol)
    return CrystalLigand("IBP", IBUPROFEN, mol.GetConformer().GetPositions().astype(np.float32)), mol


def test_a_turned_copy_is_found_and_its_mirror_image_has_the_stereo_wrong(ligand):
    target, mol = ligand
    mirrored = Chem.Mol(mol)
    mirrored.GetConformer().SetPositions(mol.GetConformer().GetPositions() * [1.0, 1.0, -1.0])
    turned = Chem.Mol(mol)
    turned.GetConformer().SetPositions(mol.GetConformer().GetPositions() @ np.eye(3)[[1, 2, 0]] + 7.0)
    same, other = judge(target, [turned, mirrored], NONE)
    assert same.rmsd[0] < 1e-3 and same.stereo == (True,)
    assert other.rmsd[0] > 0.3 and other.stereo == (False,)


def test_swapped_oxygens_and_a_flipped_ring_cost_nothing(ligand):
    target, mol = ligand
    swapped = Chem.Mol(mol)
    (pair,) = mol.GetSubstructMatches(Chem.MolFromSmarts("[OX1]=C[OX2]"))
    positions = mol.GetConformer().GetPositions()
    positions[[pair[0], pair[2]]] = positions[[pair[2], pair[0]]]
    swapped.GetConformer().SetPositions(positions)
    assert judge(target, [swapped], NONE)[0].rmsd[0] < 1e-3


def test_conformers_that_are_not_finite_are_none(ligand):
    target, mol = ligand
    broken = Chem.Mol(mol)
    broken.GetConformer().SetPositions(np.full((mol.GetNumAtoms(), 3), np.nan))
    (found,) = judge(target, [broken], NONE)
    assert found.rmsd == () and found.best == inf


def test_posebusters_looks_at_the_first_conformers_only():
    mol, seconds = _embed(IBUPROFEN, Asked(3))
    target = CrystalLigand("IBP", IBUPROFEN, mol.GetConformer(0).GetPositions().astype(np.float32))
    (found,) = judge(target, [mol], Checks("mol_fast", 2))
    assert len(found.rmsd) == 3 and found.valid == (True, True) and seconds > 0
    assert found.best < 1e-3 and all(found.stereo)


def test_rows_are_sums_over_ligands_by_size():
    found = [
        Judged("A", 12, (0.4, 0.8), (True, True), (True, False)),
        Judged("B", 25, (0.9, 3.0), (True, False), (True, True)),
        Judged("C", 26, (), ()),
    ]
    whole, small, middle = rows("ours", found, [1.0, 0.5, 0.5])
    assert [row.size for row in (whole, small, middle)] == ["all", "12-20", "25-30"]
    assert whole.within == (pytest.approx(1 / 3), pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert (whole.ligands, whole.without, whole.conformers) == (3, 1, 4)
    assert whole.median_best == 0.9 and whole.median_mean == pytest.approx(1.95)
    assert (whole.valid, whole.stereo, whole.per_second) == (0.75, 0.75, 2.0)
    assert whole.cov_p == (0.25, 0.25, 0.75) and whole.mat_p == pytest.approx((0.6 + 1.95) / 2)
    assert middle.median_best is None and small.per_second == 2.0
    assert "no conformer of 1 ligands" in table([whole, small, middle])


def test_a_row_without_any_conformer_is_still_a_row():
    (whole, _) = rows("ours", [Judged("A", 12, (), ())], [1.0])
    assert whole.within == (0.0, 0.0, 0.0) and whole.median_best is None and whole.per_second == 0.0
    assert isinstance(whole, Row) and "0.0/0.0/0.0" in table([whole])


@pytest.mark.slow
def test_the_benchmark_runs_and_writes_what_it_prints(tmp_path):
    command = [sys.executable, "-m", "benchmarks.ligands", "--count", "40", "--atoms", "25", "25"]
    methods = ["--methods", "frazil", "ETKDGv3+MMFF", "--steps", "2", "--posebusters", "mol_fast"]
    methods += ["--conformers", "2", "--checked", "1"]
    out = tmp_path / "ligands.json"
    done = subprocess.run(
        [*command, *methods, "--out", str(out)], cwd=ROOT, capture_output=True, text=True, timeout=500, check=True
    )
    found = json.loads(out.read_text())
    assert {row["method"] for row in found["rows"]} == {"frazil", "ETKDGv3+MMFF"}
    assert found["ligands"] and all(one["heavy_atoms"] == 25 for one in found["ligands"])
    assert all(row["conformers"] > 0 for row in found["rows"])
    assert "all ligands" in done.stdout and "ETKDGv3+MMFF" in done.stdout
