"""Truths about ligands with crystal coordinates, and about what is stored of them to train on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from biotite.structure.info import residue
from rdkit import Chem

from frazil.data.ccd import CrystalLigand, CrystalLigands, ligand_with_coords
from frazil.data.molecules import embed, mol_from_smiles
from frazil.data.targets import ligand_of_record, placed_by, stored_ligand
from frazil.errors import InputError
from frazil.preparer.ids import packaged_ids

CODES = ("IBP", "ATP", "STI", "GLC", "GLY", "BTN")


@pytest.fixture(scope="module")
def ligands() -> CrystalLigands:
    return CrystalLigands()


def with_conformer(ligand: CrystalLigand) -> Chem.Mol:
    """The ligand as a mol with its coordinates."""
    mol = mol_from_smiles(ligand.smiles)
    conformer = Chem.Conformer(mol.GetNumAtoms())
    conformer.SetPositions(ligand.coords.astype(np.float64))
    mol.AddConformer(conformer)
    return mol


@pytest.mark.parametrize("code", CODES)
def test_coordinates_are_in_the_order_of_the_smiles(ligands: CrystalLigands, code: str) -> None:
    ligand = ligands[code]
    mol = mol_from_smiles(ligand.smiles)
    assert ligand.coords.shape == (mol.GetNumAtoms(), 3) and ligand.coords.dtype == np.float32
    for bond in mol.GetBonds():
        ends = ligand.coords[[bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()]]
        assert 1.1 < np.linalg.norm(ends[0] - ends[1]) < 2.0


def test_heavy_atoms_are_those_of_the_dictionary(ligands: CrystalLigands) -> None:
    for code in CODES:
        elements = residue(code).element
        symbols = [atom.GetSymbol().upper() for atom in mol_from_smiles(ligands[code].smiles).GetAtoms()]
        assert sorted(symbols) == sorted(elements[~np.isin(elements, ("H", "D"))].tolist())


def test_stereo_is_that_of_the_coordinates(ligands: CrystalLigands) -> None:
    for code in ("IBP", "GLC", "BTN"):
        ligand = ligands[code]
        mirrored = ligand_with_coords(code, mol_from_smiles(ligand.smiles), ligand.coords * (1, 1, -1))
        other = mol_from_smiles(mirrored.smiles)
        assert mirrored.smiles != ligand.smiles
        centres = [len(Chem.FindMolChiralCenters(mol)) for mol in (with_conformer(ligand), other)]
        assert centres[0] == centres[1] > 0
        assert Chem.MolToSmiles(mol_from_smiles(ligand.smiles), isomericSmiles=False) == Chem.MolToSmiles(
            other, isomericSmiles=False
        )


def test_the_smiles_is_that_of_the_coordinates_again(ligands: CrystalLigands) -> None:
    for code in CODES:
        ligand = ligands[code]
        again = ligand_with_coords(code, mol_from_smiles(ligand.smiles), ligand.coords)
        assert again.smiles == ligand.smiles


def record(smiles: str = "C[C@H](N)C(=O)O", *, move: tuple[int, float] | None = None, flat: bool = False) -> str:
    """An SDF record with ETKDG coordinates, one atom of which may be moved."""
    mol = mol_from_smiles(smiles)
    conformer = Chem.Conformer(mol.GetNumAtoms())
    coords = embed(mol, 0).astype(np.float64)
    if move:
        coords[move[0]] += move[1]
    conformer.SetPositions(coords * (1, 1, 0) if flat else coords)
    conformer.Set3D(not flat)
    mol.AddConformer(conformer)
    return Chem.MolToMolBlock(mol) + "$$$$\n"


BAD_RECORDS = {
    "flat": (record(flat=True), "no 3-D coordinates"),
    "two fragments": (record("CC(=O)[O-].[Na+]"), "2 fragments"),
    "torn": (record("CCCO", move=(3, 9.0)), "a bond of"),
    "cut": (record()[:150], "not a molecule"),
    "five bonds": (record("CC(C)(C)C").replace("\n  1  2  1", "\n  1  2  3"), "not a molecule"),
    "letter": ("Dear reader,\n\n\nthis is no molecule\n", "not a molecule"),
    "empty": ("\n", "not a molecule"),
    "hydrogen": ("H2\n\n\n  0  0\n", "not a molecule"),
}


@pytest.mark.parametrize("case", BAD_RECORDS)
def test_bad_records_say_what_is_wrong(case: str) -> None:
    text, reason = BAD_RECORDS[case]
    with pytest.raises(InputError, match=reason) as caught:
        ligand_of_record(text, "x")
    assert str(caught.value).startswith("x: ")


def test_hydrogens_of_a_record_are_left_out() -> None:
    mol = Chem.AddHs(with_conformer(ligand_of_record(record(), "ala")), addCoords=True)
    ligand = ligand_of_record(Chem.MolToMolBlock(mol), "ala")
    assert ligand.smiles == ligand_of_record(record(), "ala").smiles == "C[C@H](N)C(=O)O"
    assert ligand.coords.shape == (6, 3)


@pytest.mark.parametrize(("code", "reason"), [("NOSUCH", "no component"), ("UNL", "UNL: "), ("", "no component")])
def test_components_that_are_no_ligand_say_why(ligands: CrystalLigands, code: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        ligands[code]


def test_reference_conformers_know_the_smiles_and_not_the_target(ligands: CrystalLigands) -> None:
    ligand = ligands["IBP"]
    rng = np.random.default_rng(0)
    shaken = ligand_with_coords("x", mol_from_smiles(ligand.smiles), ligand.coords + rng.normal(0, 0.02, (15, 3)))
    assert shaken.smiles == ligand.smiles and not np.allclose(shaken.coords, ligand.coords)
    one, other = (stored_ligand(which, 3, origin="IBP") for which in (ligand, shaken))
    assert torch.equal(one.conformers, other.conformers)
    assert one.conformers.shape == (3, 15, 3)
    assert all(not torch.allclose(one.conformers[i], one.conformers[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
    np.testing.assert_array_equal(one.features.coords[0, 0].numpy(), ligand.coords)
    assert torch.equal(one.features.ref_pos, one.conformers[:1])


def test_every_conformer_has_the_stereo_of_the_target(ligands: CrystalLigands) -> None:
    for code in ("IBP", "GLC", "BTN"):
        ligand = ligands[code]
        for coords in stored_ligand(ligand, 3, origin=code).conformers.numpy():
            assert ligand_with_coords(code, mol_from_smiles(ligand.smiles), coords).smiles == ligand.smiles


@pytest.mark.parametrize("seed", range(4))
def test_equivalent_atoms_are_exchanged_to_lie_nearest_to_the_conformer(seed: int) -> None:
    mol = mol_from_smiles("Cc1ccc(C(C)(C)C)cc1")
    reference = embed(mol, 0)
    symmetries = mol.GetSubstructMatches(mol, uniquify=False, maxMatches=100)
    assert len(symmetries) == 12
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    turn[:, 0] *= np.linalg.det(turn)
    moved = (reference @ turn + 5).astype(np.float32)
    for symmetry in symmetries:
        np.testing.assert_allclose(placed_by(mol, moved[list(symmetry)], reference), moved, atol=1e-3)


def test_halves_of_a_meso_compound_are_not_exchanged() -> None:
    mol = mol_from_smiles("O[C@H](C)CCCC[C@@H](C)O")
    for seed in range(8):
        coords = embed(mol, seed)
        placed = placed_by(mol, coords, embed(mol, seed + 20))
        assert ligand_with_coords("x", mol, placed).smiles == ligand_with_coords("x", mol, coords).smiles
        assert np.sign(handedness(placed)).tolist() == np.sign(handedness(coords)).tolist()


def handedness(coords: np.ndarray) -> np.ndarray:
    """Volumes that the heavy neighbours of both stereocentres of the meso diol span."""
    around = np.array([[1, 0, 2, 3], [7, 6, 8, 9]])
    return np.linalg.det(coords[around[:, 1:]] - coords[around[:, :1]])


def test_the_store_has_the_target_placed_for_every_conformer(ligands: CrystalLigands) -> None:
    ligand = ligands["IBP"]
    stored = stored_ligand(ligand, 4, origin="IBP")
    assert stored.placed is not None and stored.placed.shape == stored.conformers.shape
    for index in range(4):
        features = stored.with_conformer(index)
        assert torch.equal(features.coords[0, 0], stored.placed[index])
        assert torch.equal(features.ref_pos[0], stored.conformers[index])
        rows = sorted(map(tuple, features.coords[0, 0].tolist()))
        assert rows == sorted(map(tuple, ligand.coords.tolist()))


def test_the_packaged_parts_share_no_ligand_and_are_in_the_dictionary(ligands: CrystalLigands) -> None:
    parts = [set(packaged_ids(split)) for split in ("train", "val", "test")]
    assert len(set.union(*parts)) == sum(map(len, parts))
    assert set.union(*parts) <= set(ligands.names)


def test_ligands_of_the_packaged_list_can_be_used(ligands: CrystalLigands) -> None:
    for split in ("train", "val", "test"):
        for code in packaged_ids(split)[::100]:
            assert 1 <= len(ligands[code].coords) <= 60
