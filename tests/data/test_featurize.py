"""Tokens, bonds and atom features, against counts made another way and truths of the file."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from biotite.structure.io.pdbx import CIFFile, get_structure
from pdb_text import ASSETS, FILES, peptide_lines, residue_lines, unzipped, write
from rdkit import Chem

from ccd_ligands import features_of, ligands, structure_of
from frazil.chemistry import (
    AMINO_ACIDS,
    ATOMIC_NUMBER,
    NONPOLYMER,
    PROTEIN,
    RESIDUE_TYPE_INDEX,
    RNA,
    encode_atom_name,
)  # fmt: skip
from frazil.data import featurize, on_reference, read
from frazil.data.ligands import ligand_of
from frazil.features import Features, tensor_fields

STANDARD = {*AMINO_ACIDS.values(), "A", "C", "G", "U", "DA", "DC", "DG", "DT"}


@pytest.fixture(scope="module")
def conotoxin():
    structure = read(ASSETS / "1as5.cif.gz")
    return structure, featurize(structure)


def test_types_and_shapes_are_those_of_features(conotoxin):
    structure, features = conotoxin
    assert isinstance(features, Features) and features.batch_size == 1
    tokens, atoms = features.num_tokens, len(structure.atoms)
    assert features.coords.shape == (1, 14, atoms, 3) and features.coords.dtype == torch.float32
    assert features.resolved_mask.shape == (1, 14, atoms) and features.resolved_mask.dtype == torch.bool
    assert features.ref_pos.dtype == features.ref_charge.dtype == features.plddt.dtype == torch.float32
    for name in (
        "token_index",
        "residue_index",
        "asym_id",
        "entity_id",
        "sym_id",
        "mol_type",
        "res_type",
        "cyclic_period",
    ):
        assert getattr(features, name).shape == (1, tokens) and getattr(features, name).dtype == torch.int64, name
    assert features.modified.dtype == features.token_mask.dtype == features.atom_mask.dtype == torch.bool
    assert features.ensemble_size.tolist() == [14]
    assert features.token_mask.all() and features.atom_mask.all()


def test_token_count_by_the_rule_from_the_file_itself():
    for name in ("4cup", "1lcd", "1gbt"):
        file = CIFFile.read(io.StringIO(unzipped(FILES / f"{name}.cif.gz")))
        atoms = get_structure(file, model=1, altloc="first")
        heavy = atoms[~np.isin(atoms.element, ("H", "D")) & (atoms.res_name != "HOH")]
        features = featurize(read(FILES / f"{name}.cif.gz"))
        sequence = file.block["entity_poly_seq"]["entity_id"].as_array(str)
        in_file = file.block["struct_asym"]["entity_id"].as_array(str)
        residues = sum(int((sequence == entity).sum()) for entity in in_file)
        loose = heavy[~np.isin(heavy.res_name, sorted(STANDARD))]
        # in the file of 1gbt the ligand lacks an atom and the two sulfates have their sulfur only
        assert features.num_tokens == residues + len(loose) + (1 + 2 * 4 if name == "1gbt" else 0), name


def test_1as5_tokens(conotoxin):
    structure, features = conotoxin
    sequence = structure.chains[0].sequence
    modified = sum(name not in STANDARD for name in sequence)
    assert modified == 4
    assert features.num_tokens == 21 + 3 * 8 + 1
    assert features.modified.sum() == 3 * 8 + 1
    assert (features.mol_type == PROTEIN).all()
    names = [sequence[k] if sequence[k] in STANDARD else "UNK" for k in features.residue_index[0].tolist()]
    assert features.res_type[0].tolist() == [RESIDUE_TYPE_INDEX[name] for name in names]


def test_atoms_are_contiguous_in_token_order_and_every_token_has_one(conotoxin):
    for features in (conotoxin[1], featurize(read(FILES / "2gdi.pdb.gz"))):
        steps = features.atom_token_index[0].diff()
        assert ((steps == 0) | (steps == 1)).all()
        assert features.atom_token_index[0].unique().tolist() == features.token_index[0].tolist()
        assert features.atom_token_index[0, 0] == 0


def test_representative_atoms(conotoxin):
    for structure, features in (conotoxin, (s := read(FILES / "1lcd.cif.gz"), featurize(s))):
        owner = features.atom_token_index[0, features.representative_atom_index[0]]
        assert owner.tolist() == features.token_index[0].tolist()
        wanted = {"GLY": "CA", "DA": "C4", "DG": "C4", "DC": "C2", "DT": "C2"}
        for atom in structure.atoms[features.representative_atom_index[0].numpy()]:
            if atom.res_name in STANDARD:
                assert atom.atom_name == wanted.get(atom.res_name, "CB")


def test_representatives_of_rna_and_of_unknown_residues(tmp_path):
    path = tmp_path / "x.fasta"
    path.write_text(">A|rna\nACGUN\n>B|protein\nGX\n")
    structure = read(path)
    features = featurize(structure)
    assert features.num_tokens == 7 and not features.modified.any()
    names = structure.atoms.atom_name[features.representative_atom_index[0].numpy()].tolist()
    assert names == ["C4", "C2", "C4", "C2", "C1'", "CA", "CB"]


def test_token_bonds_of_a_ligand_are_its_graph():
    structure = read("CC(=O)Oc1ccccc1C#N")
    features = featurize(structure)
    graph = {tuple(sorted(pair)) for pair in structure.atoms.bonds.as_array()[:, :2].tolist()}
    assert {tuple(pair) for pair in features.token_bonds[0].tolist()} == graph
    kinds = {
        tuple(p): k for p, k in zip(features.token_bonds[0].tolist(), features.token_bond_type[0].tolist(), strict=True)
    }
    assert kinds[0, 1] == 1 and kinds[1, 2] == 2 and kinds[10, 11] == 3
    assert sum(kind == 4 for kind in kinds.values()) == 6
    assert (features.res_type == RESIDUE_TYPE_INDEX["UNK"]).all() and not features.modified.any()
    assert (features.mol_type == NONPOLYMER).all()


def test_no_token_bonds_within_plain_protein_even_with_disulfides():
    structure = read(FILES / "1ejg.pdb.gz")
    assert featurize(structure).token_bonds.shape == (1, 0, 2)
    sulfur = np.flatnonzero(structure.atoms.atom_name == "SG")
    assert np.isin(structure.atoms.bonds.as_array()[:, :2], sulfur).all(axis=1).sum() == 3


def test_a_modified_residue_is_bonded_to_its_neighbours(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("sequences:\n  - protein: {id: A, sequence: GMG, modifications: [{position: 2, ccd: MSE}]}\n")
    structure = read(path)
    features = featurize(structure)
    tokens = structure.atoms.atom_name[features.representative_atom_index[0].numpy()].tolist()
    named = {(tokens[a], tokens[b]) for a, b in features.token_bonds[0].tolist()}
    inside = {("N", "CA"), ("CA", "C"), ("C", "O"), ("CA", "CB"), ("CB", "CG"), ("CG", "SE"), ("SE", "CE")}
    assert {frozenset(pair) for pair in named} == {frozenset(p) for p in inside} | {
        frozenset(("CA", "N")),
        frozenset(("C", "CA")),
    }
    ends = features.token_bonds[0, [0, -1]]
    assert ends[0, 0] == 0 and features.num_tokens - 1 in features.token_bonds[0].max(dim=-1).values
    assert (features.token_bond_type[0] != 5).all(), "the backbone of a polymer is single, not a cross-link"


def test_a_cross_link_and_a_metal_are_of_the_other_type():
    structure = read(FILES / "1gbt.cif.gz")
    features = featurize(structure)
    chain = features.asym_id[0]
    pairs, kinds = features.token_bonds[0], features.token_bond_type[0]
    between = chain[pairs[:, 0]] != chain[pairs[:, 1]]
    assert between.sum() == 5 and (kinds[between] == 5).all() and (kinds[~between] < 5).all()


def test_token_pairs_are_sorted_and_single():
    pairs = featurize(read(FILES / "1gbt.cif.gz")).token_bonds[0]
    assert (pairs[:, 0] < pairs[:, 1]).all()
    assert len({tuple(pair) for pair in pairs.tolist()}) == len(pairs)


def test_chain_entity_and_copy_indices(tmp_path):
    lines = [line for chain in "AB" for line in peptide_lines(["ALA", "GLY"], chain=chain)] + peptide_lines(
        ["GLY", "ALA"], chain="C"
    )
    features = featurize(read(write(tmp_path, lines)))
    assert features.asym_id.tolist() == [[0, 0, 1, 1, 2, 2]]
    assert features.entity_id.tolist() == [[0, 0, 0, 0, 1, 1]]
    assert features.sym_id.tolist() == [[0, 0, 1, 1, 0, 0]]
    assert features.residue_index.tolist() == [[0, 1] * 3]


def test_unresolved_coordinates_are_zero_and_marked(tmp_path):
    structure = read(write(tmp_path, peptide_lines(["TRP"], skip=("CH2",))))
    features = featurize(structure)
    [atom] = torch.nonzero(~features.resolved_mask[0, 0]).flatten().tolist()
    assert structure.atoms.atom_name[atom] == "CH2" and (features.coords[0, 0, atom] == 0).all()
    assert torch.isfinite(features.coords).all()


def test_atom_features_are_the_atoms(conotoxin):
    structure, features = conotoxin
    assert features.ref_element[0].tolist() == [ATOMIC_NUMBER[e] for e in structure.atoms.element.tolist()]
    for name, code in zip(structure.atoms.atom_name.tolist(), features.ref_atom_name_chars[0].tolist(), strict=True):
        assert tuple(code) == encode_atom_name(name)
    assert np.array_equal(features.ref_pos[0].numpy(), structure.ref_pos)
    backbone = {"N": 1, "CA": 2, "C": 3, "O": 4}
    assert features.backbone_index[0].tolist() == [backbone.get(name, 0) for name in structure.atoms.atom_name.tolist()]


def test_reference_spaces_are_residues():
    structure = read(FILES / "1lcd.cif.gz")
    spaces = featurize(structure).ref_space_uid[0].numpy()
    keys = list(zip(structure.chain_index.tolist(), structure.residue_index.tolist(), strict=True))
    assert len(set(keys)) == spaces.max() + 1
    assert len({(key, space) for key, space in zip(keys, spaces.tolist(), strict=True)}) == len(set(keys))


def test_standard_residues_of_ligand_chains_are_atoms(tmp_path):
    lines = [*peptide_lines(["ALA"]), "TER", *residue_lines("GLU", 99, (50, 0, 0), hetero=True, without=())]
    features = featurize(read(write(tmp_path, lines)))
    assert features.num_tokens == 1 + 10 and features.res_type[0, 1:].unique().tolist() == [RESIDUE_TYPE_INDEX["UNK"]]


def test_modified_nucleotides_keep_their_polymer(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("sequences:\n  - rna: {id: A, sequence: AUG, modifications: [{position: 2, ccd: PSU}]}\n")
    features = featurize(read(path))
    assert (features.mol_type == RNA).all()
    assert features.res_type[0].unique().tolist() == sorted(RESIDUE_TYPE_INDEX[n] for n in ("A", "G", "N"))
    assert features.modified.sum() == 20


def tagged(mol):
    """Centre -> 1 or 2, as RDKit's tags tell it: they count the neighbours in the order of the bonds, we by index."""
    turned = {Chem.ChiralType.CHI_TETRAHEDRAL_CCW: 1, Chem.ChiralType.CHI_TETRAHEDRAL_CW: 2}
    found = {}
    for atom in mol.GetAtoms():
        if atom.GetChiralTag() in turned:
            around = [bond.GetOtherAtomIdx(atom.GetIdx()) for bond in atom.GetBonds()]
            swaps = sum(a > b for k, a in enumerate(around) for b in around[k + 1 :])
            value = turned[atom.GetChiralTag()]
            found[atom.GetIdx()] = value if swaps % 2 == 0 else 3 - value
    return found


def test_chirality_of_the_conformer_is_what_the_smiles_asks_for():
    centres = known = 0
    for name, mol in ligands().items():
        found = featurize(structure_of(mol)).ref_chirality[0]
        for atom, hand in tagged(mol).items():
            assert int(found[atom]) in (0, hand), (name, atom)
            centres += 1
            known += int(found[atom]) == hand
        assert set(found.nonzero()[:, 0].tolist()) <= set(tagged(mol)), name
    # adamantane's differ only from each other
    assert centres == 100 and known >= 96


@pytest.mark.parametrize("name", ["QGO", "A1LZH", "A1BN4"])
def test_chirality_follows_the_order_of_the_atoms_and_the_hand_of_the_conformer(name):
    mol = ligands()[name]
    conformer = structure_of(mol).ref_pos
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(mol.GetNumAtoms()).tolist()
        found = features_of(mol, conformer, order).ref_chirality[0]
        expected = tagged(Chem.RenumberAtoms(mol, order))
        assert {atom: int(found[atom]) for atom in found.nonzero()[:, 0].tolist()} == expected
        mirrored = features_of(mol, conformer * [-1, 1, 1], order).ref_chirality[0]
        assert torch.equal(mirrored, torch.where(found > 0, 3 - found, 0))


def test_no_chirality_without_a_hand_or_within_a_token(conotoxin):
    features = conotoxin[1]
    alone = torch.bincount(features.atom_token_index[0])[features.atom_token_index[0]] == 1
    assert not features.ref_chirality[0, ~alone].any()
    chiral = structure_of(ligands()["A1BN4"])
    assert featurize(chiral).ref_chirality.any()
    assert not featurize(replace(chiral, ref_pos=chiral.ref_pos * np.float32([1, 1, 0]))).ref_chirality.any()
    assert not featurize(read("CC(F)(F)Cl")).ref_chirality.any()


def test_features_on_another_reference_are_those_of_the_structure_with_it():
    ligand = ligand_of("CC(C)Cc1ccc(cc1)[C@H](C)C(=O)O")
    structure = ligand.structure(name="ibuprofen", source="SMILES", seed=0)
    other = replace(structure, ref_pos=ligand.conformer(3))
    assert np.abs(other.ref_pos - structure.ref_pos).max() > 0.5
    expected, found = featurize(other), on_reference(featurize(structure), other)
    for name in tensor_fields():
        assert torch.equal(getattr(found, name), getattr(expected, name)), name
