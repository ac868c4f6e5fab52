"""PoseBusters through our eyes: names, unknown outcomes, and the same verdict as PoseBusters' own."""

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from frazil import data
from frazil.data.checks import PoseChecks, pose_checks, together
from frazil.errors import InputError


@pytest.fixture(scope="module")
def aspirin():
    mol = Chem.AddHs(Chem.MolFromSmiles("CC(=O)Oc1ccccc1C(=O)O"))
    rdDistGeom.EmbedMultipleConfs(mol, 3, randomSeed=3)
    return Chem.RemoveHs(mol)


def test_all_checks_of_the_configuration_are_made(aspirin):
    from posebusters import PoseBusters

    (found,) = PoseChecks("mol")([aspirin])
    expected = PoseBusters("mol").bust([aspirin])
    assert list(found) == list(expected.columns)
    assert all(found.values()) and bool(expected.iloc[0].all())
    (fast,) = PoseChecks("mol_fast")([aspirin])
    assert set(found) - set(fast) == {"internal_energy"}


def test_a_conformer_of_any_number_is_judged(aspirin):
    last = Chem.Mol(aspirin, confId=2)
    assert [one.GetId() for one in last.GetConformers()] == [2]
    assert PoseChecks("mol")([last])[0]["internal_energy"] is True


def test_a_molecule_without_conformer_has_unknown_checks():
    (found,) = PoseChecks("mol_fast")([Chem.MolFromSmiles("CCO")])
    assert found["bond_lengths"] is None and found["sanitization"] is True


def test_a_bad_geometry_fails_where_it_is_bad(aspirin):
    bent = Chem.Mol(aspirin, confId=0)
    positions = bent.GetConformer().GetPositions()
    positions[0] += 1.0
    bent.GetConformer().SetPositions(positions)
    (found,) = PoseChecks("mol_fast")([bent])
    assert found["bond_lengths"] is False and found["aromatic_ring_flatness"] is True


def test_nothing_is_printed(aspirin, capfd):
    PoseChecks("mol")([Chem.MolFromSmiles("CCO"), aspirin])
    assert capfd.readouterr() == ("", "")


def test_ligands_of_a_complex_are_judged_together():
    structure = data.read("AIN")
    assert all(PoseChecks("mol_fast").of(structure, structure.ref_pos).values())
    gone = np.full_like(structure.ref_pos, np.nan)
    assert PoseChecks("mol_fast").of(structure, gone) == {}
    peptide = data.read(Path(data.__file__).parents[1] / "assets" / "1as5.cif.gz")
    assert "bond_lengths" in PoseChecks("mol_fast").of(data.read("GLY"), data.read("GLY").ref_pos)
    assert PoseChecks("mol_fast").of(peptide, peptide.coords[0]) == {}


def test_together_one_failure_is_a_failure_and_unknown_says_nothing():
    assert together([{"a": True, "b": None, "c": None}, {"a": False, "b": True, "c": None}]) == {
        "a": False, "b": True, "c": None,
    }  # fmt: skip
    assert together([]) == {}


def test_checks_travel_to_other_processes(aspirin):
    again = pickle.loads(pickle.dumps(PoseChecks("mol_fast")))
    assert again([aspirin]) == PoseChecks("mol_fast")([aspirin])


def test_bad_names_and_an_absent_package_are_one_line(monkeypatch):
    with pytest.raises(InputError, match="mol, mol_fast or none"):
        pose_checks("dock")
    monkeypatch.setitem(sys.modules, "posebusters", None)
    with pytest.raises(InputError, match=r"pip install 'frazil\[eval\]'"):
        pose_checks("mol")
    monkeypatch.setattr("frazil.data.checks.HAS_POSEBUSTERS", False)
    assert pose_checks(None) is None
