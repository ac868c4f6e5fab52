"""Symmetries, stereocentres and correspondences that a chemist would name."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from frazil import data
from frazil.data.correspondence import correspondence
from frazil.data.symmetry import equal_chains, isomorphisms, molecular_graph, symmetric_atoms
from frazil.data.topology import METAL_RADIUS, contact_radii, stereocentres, topology
from frazil.errors import InputError
from frazil.metrics import chirality_errors, clashes, handedness

FILES = Path(__file__).parent / "files"
NMR = Path(data.__file__).parents[1] / "assets" / "1as5.cif.gz"


def swapped_names(structure):
    """Sets of names that each residue's symmetries exchange."""
    return {
        (str(structure.atoms.res_name[rows[0, 0]]), frozenset(structure.atoms.atom_name[rows[0]].tolist()))
        for rows in symmetric_atoms(structure)
    }


def test_standard_residues_swap_by_the_table():
    found = swapped_names(data.read(FILES / "1ubi.pdb.gz"))
    assert ("PHE", frozenset({"CD1", "CD2", "CE1", "CE2"})) in found
    assert ("ARG", frozenset({"NH1", "NH2"})) in found
    assert ("GLU", frozenset({"OE1", "OE2"})) in found
    assert not {"LEU", "VAL", "ILE", "LYS"} & {residue for residue, _ in found}


def test_phosphates_swap_in_standard_and_modified_nucleotides():
    found = swapped_names(data.read(FILES / "1ehz.cif.gz"))
    for residue in ("G", "C", "PSU", "YYG", "7MG"):
        assert any(name == residue and {"OP1", "OP2"} <= atoms for name, atoms in found), residue


@pytest.mark.parametrize(
    ("smiles", "count"),
    [("c1ccccc1", 12), ("CCCO", 1), ("CC(=O)[O-]", 2), ("CC(C)(C)C", 24), ("[O-]P([O-])(=O)[O-]", 24)],
)
def test_symmetries_of_small_molecules_are_all_found(smiles, count):
    structure = data.read(smiles)
    mol = molecular_graph(structure, np.arange(len(structure.atoms)))
    assert len(isomorphisms(mol, mol)) == count
    assert sum(len(rows) for rows in symmetric_atoms(structure)) == (count if count > 1 else 0)


def test_symmetries_are_bounded_and_start_with_the_atoms_themselves():
    structure = data.read("C(C(F)(F)F)(C(F)(F)F)(C(F)(F)F)C(F)(F)F")
    (rows,) = symmetric_atoms(structure)
    assert len(rows) <= 1001
    assert (np.sort(rows, axis=1) == np.sort(rows[0])).all()
    assert (rows[0] == np.sort(rows[0])).all()


@pytest.mark.parametrize(
    ("smiles", "count"),
    [
        ("C[C@H](N)C(=O)O", 1),
        ("CC(C)C", 0),
        ("CC(N)(F)Cl", 1),
        ("CS(=O)CC", 1),
        ("CS(=O)(=O)CC", 0),
        ("CN(CC)CCC", 0),
        ("COP(=O)([O-])OCC", 0),
        ("c1ccccc1C", 0),
        ("CC(=O)NC", 0),
        ("OC[C@H]1O[C@@H](O)[C@H](O)[C@@H](O)[C@@H]1O", 5),
    ],
)
def test_stereocentres_of_small_molecules(smiles, count):
    assert len(stereocentres(data.read(smiles))) == count


@pytest.mark.parametrize("name", ["1as5", "1ubi", "1ejg", "1lcd", "1ehz", "4cup"])
def test_experimental_structures_are_of_the_right_hand_and_without_clash(name):
    path = NMR if name == "1as5" else next(FILES.glob(f"{name}*"))
    structure = data.read(path)
    known = topology(structure)
    assert len(known.centres) > 0
    right = handedness(structure.ref_pos, known.centres)
    for coords in structure.coords:
        assert chirality_errors(coords, known.centres, right).size == 0
        assert (
            chirality_errors(-coords, known.centres, right).size == np.isfinite(handedness(coords, known.centres)).sum()
        )
        assert len(clashes(coords, known.radii, known.bonds)) == 0


def test_a_ligand_pushed_into_a_protein_clashes():
    structure = data.read(FILES / "4cup.cif.gz")
    known = topology(structure)
    ligand = structure.chain_index == max(
        range(1, len(structure.chains)), key=lambda i: (structure.chain_index == i).sum()
    )
    coords = structure.coords[0].copy()
    coords[ligand] += np.nanmean(coords[~ligand], axis=0) - coords[ligand].mean(axis=0)
    pairs = clashes(coords, known.radii, known.bonds)
    assert len(pairs) > 5
    assert (ligand[pairs].sum(axis=1) == 1).all()


@pytest.mark.parametrize("code", ["ZN", "CL", "SO4", "FES", "SF4", "HEM", "ATP", "B12"])
def test_ions_clusters_and_cofactors_are_described_without_clash(code):
    structure = data.read(code)
    known = topology(structure)
    assert len(clashes(structure.ref_pos, known.radii, known.bonds)) == 0
    assert (known.radii > 0).all() and len(known.radii) == len(structure.atoms)


def test_metals_have_the_radius_of_an_ion():
    radii = contact_radii(np.array(["C", "ZN", "MG", "CL"]))
    assert radii.tolist() == [1.7, METAL_RADIUS, METAL_RADIUS, 1.8]


def test_equal_chains_and_ions_are_copies():
    structure = data.read(FILES / "1ehz.cif.gz")
    for chains in equal_chains(structure):
        names = structure.atoms.res_name[chains]
        assert (names == names[0]).all() and len(chains) > 1


def test_correspondence_with_itself_is_the_identity():
    for name in ("4cup.cif.gz", "1lcd.cif.gz"):
        structure = data.read(FILES / name)
        assert (correspondence(structure, structure) == np.arange(len(structure.atoms))).all()


def test_correspondence_follows_names_whatever_the_order():
    structure = data.read(FILES / "1ubi.pdb.gz")
    order = np.random.default_rng(0).permutation(len(structure.atoms))
    shuffled = replace(
        structure, atoms=structure.atoms[order], chain_index=structure.chain_index[order],
        residue_index=structure.residue_index[order],
    )  # fmt: skip
    assert (order[correspondence(shuffled, structure)] == np.arange(len(order))).all()


def test_ligands_with_other_names_are_matched_by_their_graphs():
    ours, theirs = data.read("OC(=O)c1ccccc1OC(C)=O"), data.read("AIN")
    partner = correspondence(ours, theirs)
    assert (ours.atoms.element[partner] == theirs.atoms.element).all()
    image = {frozenset(pair) for pair in ours.atoms.bonds.as_array()[:, :2].tolist()}
    assert {frozenset(partner[pair].tolist()) for pair in theirs.atoms.bonds.as_array()[:, :2]} == image


def test_ligands_of_equal_names_but_unequal_graphs_are_not_confused():
    ours, theirs = data.read("CC(C)CO"), data.read("CCCCO")
    assert ours.atoms.atom_name.tolist() == theirs.atoms.atom_name.tolist()
    with pytest.raises(InputError, match="same molecules"):
        correspondence(ours, theirs)


def test_a_ligand_is_not_a_piece_of_another_one():
    """Atoms C1, C2, O1, O2 of acetate have the names and bonds of four in aspirin."""
    acetate, aspirin = data.read("CC(=O)[O-]"), data.read("CC(=O)Oc1ccccc1C(=O)O")
    for ours, theirs in ((acetate, aspirin), (aspirin, acetate)):
        with pytest.raises(InputError, match="same molecules"):
            correspondence(ours, theirs)


def test_other_sequences_are_refused_and_extra_ligands_of_the_reference_are_left_out():
    with pytest.raises(InputError, match="no partner in 1ejg"):
        correspondence(data.read(FILES / "1ubi.pdb.gz"), data.read(FILES / "1ejg.pdb.gz"))
    whole = data.read(FILES / "4cup.cif.gz")
    kept = whole.chain_index == 0
    part = replace(
        whole, atoms=whole.atoms[kept], chains=whole.chains[:1], chain_index=whole.chain_index[kept],
        residue_index=whole.residue_index[kept],
    )  # fmt: skip
    assert ((correspondence(part, whole) >= 0) == kept).all()
    with pytest.raises(InputError, match="no partner"):
        correspondence(whole, part)
