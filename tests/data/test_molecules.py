"""SMILES, SDF and CCD: names, bonds, stereo and conformers."""

import numpy as np
import pytest
from biotite.structure import BondType
from hypothesis import given, settings
from hypothesis import strategies as st
from pdb_text import FILES
from rdkit import Chem

from frazil.chemistry import NONPOLYMER
from frazil.data import molecules, read, read_all
from frazil.data.residues import ccd_component, component_from_mol, in_order, renamed_to_match
from frazil.errors import InputError

SMILES = [
    "CC(=O)Oc1ccccc1C(=O)O", "C[C@H](N)C(=O)O", "F/C=C/F", "F/C=C\\F", "[Na+]", "C#N", "O=S(=O)([O-])[O-]",
    "c1ccc2[nH]ccc2c1", "C[N+](C)(C)C", "OC[C@H]1O[C@@H](O)[C@H](O)[C@@H](O)[C@@H]1O", "[Fe+2]", "ClCCl", "BrCI",
]  # fmt: skip


def rebuilt(structure):
    """The RDKit molecule of the atoms and bonds, stereo from the reference conformer."""
    atoms = structure.atoms
    mol = Chem.RWMol(
        molecules.mol_from_graph(atoms.element.tolist(), atoms.charge.tolist(), atoms.bonds.as_array().astype(int))
    )
    conformer = Chem.Conformer(len(atoms))
    for index, xyz in enumerate(structure.ref_pos.tolist()):
        conformer.SetAtomPosition(index, xyz)
    conformer.Set3D(True)
    mol.AddConformer(conformer)
    Chem.AssignStereochemistryFrom3D(mol)
    return mol


@pytest.mark.parametrize("smiles", SMILES)
def test_graph_charges_and_stereo_come_back_from_the_structure(smiles):
    structure = read(smiles)
    wanted = Chem.MolToSmiles(Chem.MolFromSmiles(smiles))
    assert structure.chains[0].label == wanted
    assert Chem.MolToSmiles(rebuilt(structure)) == wanted
    assert not structure.has_coords and structure.chains[0].mol_type == NONPOLYMER
    assert np.isfinite(structure.ref_pos).all()


@pytest.mark.parametrize("smiles", SMILES)
def test_atom_names_are_element_and_number_in_order_of_the_smiles(smiles):
    structure = read(smiles)
    counts = {}
    for name, element in zip(structure.atoms.atom_name.tolist(), structure.atoms.element.tolist(), strict=True):
        counts[element] = counts.get(element, 0) + 1
        assert name == f"{element}{counts[element]}"
    order = [atom.GetSymbol().upper() for atom in Chem.MolFromSmiles(smiles).GetAtoms()]
    assert structure.atoms.element.tolist() == order


def test_every_fragment_is_a_chain():
    structure = read("CC(=O)[O-].[Na+].CC(=O)[O-]")
    assert [c.chain_id for c in structure.chains] == ["A", "B", "C"]
    assert [c.entity_id for c in structure.chains] == [0, 1, 0] and [c.sym_id for c in structure.chains] == [0, 0, 1]
    assert structure.atoms.charge.sum() == -1
    assert sorted(set(structure.chain_index[np.unique(structure.atoms.bonds.as_array()[:, :2])])) == [0, 2]


def test_conformers_depend_on_seed_and_graph_alone():
    smiles = "CCCCCC(=O)OCC"
    assert np.array_equal(read(smiles, seed=5).ref_pos, read(smiles, seed=5).ref_pos)
    assert not np.allclose(read(smiles, seed=5).ref_pos, read(smiles, seed=6).ref_pos)


def test_bond_lengths_of_a_conformer_are_those_of_chemistry():
    structure = read("CC(=O)Oc1ccccc1C(=O)O")
    bonds = structure.atoms.bonds.as_array()
    lengths = np.linalg.norm(structure.ref_pos[bonds[:, 0]] - structure.ref_pos[bonds[:, 1]], axis=1)
    assert ((lengths > 1.1) & (lengths < 1.6)).all()
    doubles = lengths[bonds[:, 2] == BondType.DOUBLE]
    assert doubles.max() < 1.3


def test_a_molecule_that_distance_geometry_cannot_do_still_gets_a_conformer():
    crowded = "C1" + "C" * (molecules.MAX_EMBED_ATOMS + 10) + "1"
    assert np.isfinite(read(crowded).ref_pos).all()
    # a cube of impossible stereo centres: every embedding fails
    impossible = Chem.MolFromSmiles("[C@H]12[C@@H]3[C@H]1[C@@H]23")
    if impossible is not None:
        assert np.isfinite(molecules.embed(impossible, 0)).all()


@pytest.mark.parametrize(
    "smiles", ["C(", "xx", "c1cc", "C$$C", "[Xx]", "C=C=C=", "CC C", "C\x00C", "*C", "[H][H]",
               "C(C)(C)(C)(C)C", ")", "[13"]
)  # fmt: skip
def test_refused_smiles_are_one_line_and_rdkit_is_silent(smiles, capfd):
    with pytest.raises(InputError) as caught:
        read(smiles)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_explicit_hydrogens_and_isotopes_are_dropped_with_stereo_kept():
    assert read("[H]C([H])([H])O[2H]").atoms.atom_name.tolist() == ["C1", "O1"]
    assert read("[H][C@](C)(N)C(=O)O").chains[0].label == Chem.CanonSmiles("[H][C@](C)(N)C(=O)O")
    assert "@" in read("[2H][C@](C)(N)C(=O)O").chains[0].label


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=150, deadline=None)
@given(text=st.text(alphabet="CNOSPFclnos()[]=#@+-123456.%/\\HBr ", max_size=24))
def test_any_text_is_a_molecule_or_one_line(text):
    try:
        structure = read(text)
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert len(structure.atoms) > 0 and np.isfinite(structure.ref_pos).all()


def test_ccd_code():
    structure = read("ATP")
    assert structure.chains[0].sequence == ("ATP",) and len(structure.atoms) == 31
    assert not structure.has_coords


def test_text_that_is_code_and_smiles_is_the_code_with_a_warning():
    with pytest.warns(UserWarning, match="CCD code"):
        assert read("CCO").chains[0].sequence == ("CCO",)
    assert read("OC[CH3]").chains[0].label == "CCO"


def test_sdf_records_of_one_molecule_are_an_ensemble():
    structure = read(FILES / "1ia1_ligands.sdf")
    assert structure.coords.shape == (2, 19, 3) and structure.resolved.all() and structure.name == "TQ3"
    mols = list(Chem.SDMolSupplier(str(FILES / "1ia1_ligands.sdf")))
    assert np.allclose(structure.coords[0], mols[0].GetConformer().GetPositions(), atol=1e-3)
    assert structure.chains[0].label == Chem.MolToSmiles(mols[0])


def test_sdf_records_in_another_atom_order_are_brought_into_the_first_ones(tmp_path):
    mol = Chem.SDMolSupplier(str(FILES / "1s3v_ligand.sdf"))[0]
    order = np.random.default_rng(0).permutation(mol.GetNumAtoms()).tolist()
    with Chem.SDWriter(str(tmp_path / "x.sdf")) as writer:
        writer.write(mol)
        writer.write(Chem.RenumberAtoms(mol, order))
    structure = read(tmp_path / "x.sdf")
    assert len(structure.coords) == 2
    apart = np.linalg.norm(structure.coords[0] - structure.coords[1], axis=1)
    assert (apart > 1e-3).sum() <= 6, "only symmetric atoms may be exchanged"


def test_own_coordinates_of_an_sdf_never_become_the_reference(tmp_path):
    mol = Chem.SDMolSupplier(str(FILES / "1s3v_ligand.sdf"))[0]
    before = read(FILES / "1s3v_ligand.sdf")
    positions = mol.GetConformer().GetPositions() + np.array([100.0, 0, 0])
    for index, xyz in enumerate(positions.tolist()):
        mol.GetConformer().SetAtomPosition(index, xyz)
    with Chem.SDWriter(str(tmp_path / "moved.sdf")) as writer:
        writer.write(mol)
    after = read(tmp_path / "moved.sdf")
    assert np.array_equal(before.ref_pos, after.ref_pos)
    assert np.allclose(after.coords - before.coords, [100, 0, 0], atol=1e-3)


def test_sdf_of_several_molecules(tmp_path):
    with Chem.SDWriter(str(tmp_path / "two.sdf")) as writer:
        for smiles in ("CCO", "CCN", "OCC"):
            mol = Chem.MolFromSmiles(smiles)
            mol.SetProp("_Name", "x")
            writer.write(mol)
    with pytest.raises(InputError, match="2 different molecules"):
        read(tmp_path / "two.sdf")
    first, second = read_all([tmp_path / "two.sdf"])
    assert (first.name, second.name) == ("x", "x_2")
    assert first.coords.shape[0] == 2 and not first.has_coords, "flat records have no coordinates"


def test_enantiomers_in_an_sdf_are_two_molecules(tmp_path):
    from rdkit.Chem import rdDistGeom

    with Chem.SDWriter(str(tmp_path / "two.sdf")) as writer:
        for smiles in ("C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O"):
            mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
            rdDistGeom.EmbedMolecule(mol, randomSeed=1)
            writer.write(mol)
    assert len(read_all([tmp_path / "two.sdf"])) == 2


@pytest.mark.parametrize(
    "content",
    ["", "garbage", "\n\n\n  1  0  0\n", "x\n  RDKit\n\n  1  0  0  0  0  0  0  0  0  0999 V2000\n    0.0 0.0"],
)
def test_bad_sdf(tmp_path, content, capfd):
    path = tmp_path / "bad.sdf"
    path.write_text(content)
    with pytest.raises(InputError, match=r"bad\.sdf"):
        read(path)
    assert capfd.readouterr().err == ""


def test_ccd_components_are_heavy_complete_and_finite():
    for name in ("ALA", "HEM", "NAG", "GTP", "ZN", "SO4", "MSE", "PSU", "DA", "U", "NH2"):
        component = ccd_component(name)
        assert len(component) == len(component.ref_pos) == len(component.elements) == len(component.leaving)
        assert "H" not in component.elements and np.isfinite(component.ref_pos).all()
        assert component.bonds[:, :2].max(initial=-1) < len(component)
    assert ccd_component("NOSUCH") is None and ccd_component("UNL") is None


def test_reordering_a_component_keeps_its_graph_and_geometry():
    component = ccd_component("TRP")
    names = tuple(np.random.default_rng(1).permutation(component.atom_names).tolist())
    other = in_order(component, names)

    def described(c):
        bonds = {(frozenset((c.atom_names[a], c.atom_names[b])), int(k)) for a, b, k in c.bonds}
        return bonds, {n: (e, *map(float, x)) for n, e, x in zip(c.atom_names, c.elements, c.ref_pos, strict=True)}

    assert described(component) == described(other)


def test_atoms_under_other_names_are_recognised_by_their_graph():
    component = component_from_mol(molecules.mol_from_smiles("C[C@H](N)C(=O)O"), 0)
    from biotite.structure import AtomArray

    observed = AtomArray(6)
    observed.coord = component.ref_pos.copy()
    observed.element = np.array(component.elements)
    observed.atom_name = np.array(["Q1", "Q2", "Q3", "Q4", "Q5", "Q6"])
    assert renamed_to_match(component, observed).atom_names == ("Q1", "Q2", "Q3", "Q4", "Q5", "Q6")
    observed.element = np.array(["C", "C", "N", "C", "S", "O"])
    assert renamed_to_match(component, observed) is None


@pytest.mark.parametrize("smiles", ["CC\u041e", "N#C\u00e9", "CCO\u2026", "CCO\u00b7"])
def test_a_letter_that_is_not_of_ascii_is_refused_and_not_cut_off(smiles):
    with pytest.raises(InputError, match="not a SMILES that RDKit accepts"):
        molecules.mol_from_smiles(smiles)
