"""What a molecule is, its own conformer obeys and its mirror image does not; and the reference says the same of it."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from biotite.structure import dihedral
from rdkit import Chem, rdBase

from frazil import data
from frazil.data.molecules import mol_from_graph
from frazil.data.residues import ccd_component
from frazil.data.restraints.geometry import geometry
from frazil.data.restraints.physical import physical_restraints

FILES = Path(__file__).parent / "files"
LIGANDS = (
    "ALA DAL IBP IZP ATP NAG BMA MAN GAL FUC SIA RET CLR TES STI AIN PLP NAD FAD FMN SAM SAH COA RTL TAX EST GLC FRU",
    "SUC PCW OLA PEE BEN CIT TRS EPE PG4 DMS ZMA CYC BCR LMT FK5 TMP MTX FOL VDX 9CR REA TPP MSE SEP TPO PTR HYP PSU",
    "5MC YYG 1MA KCX CSO LLP CRO PCA MHO SME",
)
CODES = " ".join(LIGANDS).split()
SMILES = (
    "C[C@H](N)C(=O)O",
    "CC(C)Cc1ccc(cc1)[C@@H](C)C(=O)[O-]",
    "OC[C@H]1O[C@@H](O)[C@H](O)[C@@H](O)[C@@H]1O",
    "C/C=C/C(=O)NC",
    "C/C(Cl)=C(F)/Br",
    "CC1=C(C)CCCC1",
    "F[C@](Cl)(Br)C",
    "C[C@]12CC[C@H]3[C@@H](CC=C4C[C@@H](O)CC[C@]34C)[C@@H]1CC[C@@H]2O",
    "c1ccc2c(c1)[nH]cc2CC(=O)O",
)


def values(terms, coords):
    """[T] distances, or dihedrals in radians."""
    points = np.asarray(coords, dtype=np.float64)[terms.atoms.numpy()].swapaxes(0, 1)
    return np.linalg.norm(points[0] - points[1], axis=-1) if len(points) == 2 else dihedral(*points)


def kept(terms, found, spare=0.0):
    """[T] bool, values within their bounds."""
    return (found >= terms.lower.numpy() - spare) & (found <= terms.upper.numpy() + spare)


def component_mol(code):
    component = ccd_component(code)
    mol = mol_from_graph(component.elements, component.charges.tolist(), component.bonds)
    conformer = Chem.Conformer(len(component))
    conformer.SetPositions(component.ref_pos.astype(np.float64))
    conformer.Set3D(True)
    mol.AddConformer(conformer)
    with rdBase.BlockLogs():
        Chem.AssignStereochemistryFrom3D(mol)
    return mol, component.ref_pos.astype(np.float64)


def test_ccd_conformers_obey_the_geometry_of_their_graphs():
    """Before it is loosened by the conformers: every hand and every E/Z, nearly every distance."""
    pairs = broken = centres = bonds = 0
    for code in CODES:
        mol, coords = component_mol(code)
        found = geometry(mol)
        first, second = coords[found.distances.atoms].swapaxes(0, 1)
        distance = np.linalg.norm(first - second, axis=-1)
        pairs += len(distance)
        broken += int(((distance < found.distances.lower) | (distance > found.distances.upper)).sum())
        if len(found.chirality.atoms):
            centres += len(found.chirality.atoms)
            improper = dihedral(*coords[found.chirality.atoms].swapaxes(0, 1))
            assert ((improper > 0) == (found.chirality.lower > 0)).all(), code
        for windows in (found.stereo_bonds, found.planar_bonds):
            if len(windows.atoms):
                bonds += len(windows.atoms)
                angle = np.abs(dihedral(*coords[windows.atoms].swapaxes(0, 1)))
                assert ((angle >= windows.lower) & (angle <= windows.upper)).all(), code
    assert centres > 150 and bonds > 60
    assert broken / pairs < 1e-3


@pytest.mark.parametrize("code", ["HEM", "SF4", "B12", "CLA", "RAP", "HEC", *CODES[::8]])
def test_the_conformer_itself_obeys_all_and_its_mirror_image_keeps_the_distances(code):
    structure = data.read(code)
    found = physical_restraints(structure)
    for terms, angle in (
        (found.distance_bounds, abs), (found.chirality, lambda x: x), (found.stereo_bonds, abs),
        (found.planar_bonds, abs),
    ):  # fmt: skip
        assert kept(terms, angle(values(terms, structure.ref_pos)), 1e-4).all()
    mirrored = structure.ref_pos * [1, 1, -1]
    assert kept(found.distance_bounds, values(found.distance_bounds, mirrored), 1e-4).all()
    assert not kept(found.chirality, values(found.chirality, mirrored)).any()


@pytest.mark.filterwarnings("ignore:IBP is taken for the CCD code")
@pytest.mark.parametrize(
    ("code", "centre", "positive"),
    [("ALA", "CA", False), ("DAL", "CA", True), ("IBP", "C6", False), ("IZP", "C6", True), ("SAM", "SD", False)],
)
def test_the_hand_is_that_of_the_chemical_component_dictionary(code, centre, positive):
    """The dictionary's own `pdbx_stereo_config`: S is negative, R positive, at sulfur with a lone pair too."""
    from biotite.structure.info import get_from_ccd

    structure = data.read(code)
    names = structure.atoms.atom_name
    terms = physical_restraints(structure).chirality
    label = dict(
        zip(
            get_from_ccd("chem_comp_atom", code, "atom_id").as_array(str),
            get_from_ccd("chem_comp_atom", code, "pdbx_stereo_config").as_array(str),
            strict=True,
        )
    )
    [row] = [k for k, atoms in enumerate(terms.atoms.tolist()) if names[atoms[3]] == centre]
    assert label[centre] == ("R" if positive else "S")
    assert (terms.lower[row] > 0) == positive
    assert float(terms.lower[row] if positive else -terms.upper[row]) == pytest.approx(math.pi / 6)


@pytest.mark.parametrize("smiles", SMILES)
def test_smiles_have_the_bounds_and_stereo_of_the_reference(smiles):
    """Bounds, impropers and dihedrals as boltz-community makes and buffers them."""
    schema = pytest.importorskip("boltz.data.parse.schema")
    import torch
    from boltz.model.potentials.potentials import PoseBustersPotential

    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    heavy = {a.GetIdx(): a.GetIdx() for a in mol.GetAtoms() if a.GetAtomicNum() > 1}
    theirs = schema.compute_geometry_constraints(mol, heavy)
    elements = torch.tensor([[a.GetAtomicNum() for a in mol.GetAtoms()]])
    feats = {
        "rdkit_bounds_index": torch.tensor([c.atom_idxs for c in theirs]).T[None],
        "rdkit_lower_bounds": torch.tensor([[c.lower_bound for c in theirs]]),
        "rdkit_upper_bounds": torch.tensor([[c.upper_bound for c in theirs]]),
        "rdkit_bounds_bond_mask": torch.tensor([[c.is_bond for c in theirs]]),
        "rdkit_bounds_angle_mask": torch.tensor([[c.is_angle for c in theirs]]),
        "ref_element": torch.nn.functional.one_hot(elements, 128),
    }
    buffers = {"bond_buffer": 0.125, "angle_buffer": 0.125, "clash_buffer": 0.1}
    index, (_, lower, upper), *_ = PoseBustersPotential().compute_args(feats, buffers)
    chiral = schema.compute_chiral_atom_constraints(mol, heavy)
    double = schema.compute_stereo_bond_constraints(mol, heavy)
    planar, *_ = schema.compute_flatness_constraints(mol, heavy)

    ours = geometry(Chem.MolFromSmiles(smiles))
    assert (ours.distances.atoms == index.T.numpy()).all()
    assert np.allclose(ours.distances.lower, lower, rtol=1e-5) and np.allclose(ours.distances.upper, upper, rtol=1e-5)
    signs = {tuple(row): bool(low > 0) for row, low in zip(ours.chirality.atoms, ours.chirality.lower, strict=True)}
    assert signs == {c.atom_idxs: c.is_r for c in chiral}
    trans = {tuple(row): low > 0 for row, low in zip(ours.stereo_bonds.atoms, ours.stereo_bonds.lower, strict=True)}
    assert trans.items() >= {c.atom_idxs: c.is_e for c in double}.items()
    flat = {(frozenset(row[:3]), row[3]) for row in ours.planar_bonds.atoms.tolist()}
    for a, b, c, d, e, f in (c.atom_idxs for c in planar):
        assert {(frozenset((b, c, d)), a), (frozenset((e, f, a)), d)} <= flat


@pytest.mark.parametrize(
    ("smiles", "centres"),
    [
        ("C[C@H](N)C(=O)O", 1), ("CC(N)C(=O)O", 0), ("C[S@](=O)CC", 1), ("C[S@@](=O)CC", 1), ("CS(=O)(=O)CC", 0),
        ("CC[S@+](C)CCC", 1), ("COP(=O)([O-])OCC", 0), ("C[P@@](=O)(CC)CCC", 4), ("F[C@@](Cl)(Br)C", 4),
        ("C[C@H](O)[C@@H](C)O", 2), ("CC(F)[C@H](O)CC(N)[C@@H](O)C(F)C", 2), ("[C@H](C)(F)OC(C)O[C@@H](C)F", 2),
    ],
)  # fmt: skip
def test_smiles_restrain_the_centres_they_state_and_no_others(smiles, centres):
    """Also meso compounds: of the two ways to lay the SMILES on the atoms, that of the reference conformer."""
    structure = data.read(smiles)
    terms = physical_restraints(structure).chirality
    assert len(terms) == centres
    assert ((values(terms, structure.ref_pos) > 0) == (terms.lower.numpy() > 0)).all()


def test_names_of_the_ccd_do_not_lend_their_stereo_to_other_molecules():
    """A ligand of the file's own under a code of the CCD: other bonds, so the file's coordinates say which hand."""
    structure = data.read("C[C@@](F)(Cl)Br")
    unlabelled = replace(structure, chains=(replace(structure.chains[0], label=None, sequence=("ALA",)),))
    unlabelled.atoms.res_name[:] = "ALA"
    assert len(physical_restraints(unlabelled).chirality) == 0
    for sign in (1, -1):
        coords = (structure.ref_pos * [1, 1, sign])[None].astype(np.float32)
        resolved = np.ones(coords.shape[:2], dtype=bool)
        terms = physical_restraints(replace(unlabelled, coords=coords, resolved=resolved)).chirality
        assert len(terms) == 4 and ((values(terms, coords[0]) > 0) == (terms.lower.numpy() > 0)).all()


def test_standard_residues_have_bonds_alone():
    structure = data.read(FILES / "1ejg.pdb.gz")
    found = physical_restraints(structure)
    assert len(found) == len(found.connections) == 45 + 3
    assert {tuple(sorted(pair)) for pair in found.bonds.atoms.tolist()} == {
        tuple(sorted(pair)) for pair in structure.atoms.bonds.as_array()[:, :2].tolist()
    }
    assert kept(found.connections, values(found.connections, structure.coords[0])).all()
    sulfur = structure.atoms.element[found.connections.atoms.numpy()[:, 0]] == "S"
    assert found.connections.upper.numpy()[sulfur] == pytest.approx([2.2] * 3)
    assert found.connections.upper.numpy()[~sulfur] == pytest.approx([2.0] * 45)


def test_modified_residues_are_restrained_within_and_linked():
    structure = data.read(FILES / "1ehz.cif.gz")
    found = physical_restraints(structure)
    names = structure.atoms.res_name
    assert {"PSU", "YYG", "7MG"} <= set(names[found.chirality.atoms.numpy()[:, 3]])
    assert not {"G", "C", "A", "U"} & set(names[found.distance_bounds.atoms.numpy().ravel()])
    right = kept(found.distance_bounds, values(found.distance_bounds, structure.coords[0]), 0.1)
    assert right.mean() > 0.998
    improper = values(found.chirality, structure.coords[0])
    assert ((improper > 0) == (found.chirality.lower.numpy() > 0)).all()


def test_an_anomeric_carbon_keeps_its_hand_when_its_oxygen_left(tmp_path):
    path = tmp_path / "glycan.yaml"
    path.write_text(
        "sequences:\n  - ligand: {id: L, ccd: [NAG, NAG]}\n"
        "constraints:\n  - bond: {atom1: [L, 1, O4], atom2: [L, 2, C1]}\n"
    )
    structure = data.read(path)
    found = physical_restraints(structure)
    selector = data.Selector(structure)
    centre, heir = selector.one("L:2:C1"), selector.one("L:1:O4")
    [row] = [k for k, atoms in enumerate(found.chirality.atoms.tolist()) if atoms[3] == centre]
    assert heir in found.chirality.atoms[row].tolist()
    component = ccd_component("NAG")
    coords = structure.ref_pos.copy()
    coords[heir] = component.ref_pos[component.atom_names.index("O1")]
    assert kept(found.chirality, values(found.chirality, coords))[row]
    assert found.connections.labels == ("L:1:O4,L:2:C1",)


def test_metals_are_not_linked_but_by_a_persons_wish(tmp_path):
    path = tmp_path / "zinc.yaml"
    path.write_text("sequences:\n  - protein: {id: A, sequence: GCG}\n  - ligand: {id: Z, ccd: ZN}\n")
    structure = data.read(path)
    assert len(physical_restraints(structure).connections) == 2
    bound = data.with_requests(structure, [data.CovalentBond("A:2:SG", "Z:1:ZN", enforced=False)])
    terms = physical_restraints(bound).connections
    assert terms.labels == ("", "", "A:2:SG,Z:1:ZN") and terms.weight.tolist() == [1, 1, 0]
    assert 2.2 < float(terms.upper[2]) < 2.6


@pytest.mark.parametrize("code", ["ZN", "CHL", "BCL", "PCW", "WRT", "SIW"])
def test_odd_molecules_give_finite_restraints_or_none(code):
    found = physical_restraints(data.read(code))
    for terms in (found.distance_bounds, found.chirality, found.stereo_bonds, found.planar_bonds):
        assert not terms.lower.isnan().any() and not terms.upper.isnan().any()
        assert (terms.lower <= terms.upper).all()
