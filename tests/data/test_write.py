"""What is written is read back by gemmi, biotite and RDKit: atoms, names, chains, numbers, bonds, coordinates."""

from dataclasses import replace
from pathlib import Path

import biotite.structure.io.pdbx as pdbx
import gemmi
import numpy as np
import pytest
from rdkit import Chem

from frazil import data
from frazil.data.modelcif import instances
from frazil.data.write import to_rdkit, write_cif, write_sdf
from frazil.errors import InputError

STRUCTURES = Path(__file__).parent / "files"
NMR = Path(data.__file__).parents[1] / "assets" / "1as5.cif.gz"
IBUPROFEN = "CC(C)Cc1ccc(cc1)[C@@H](C)C(=O)[O-]"
SOURCES = {
    "peptide with modified residues and disulfides": NMR,
    "protein and ligands": STRUCTURES / "4cup.cif.gz",
    "protein and DNA": STRUCTURES / "1lcd.cif.gz",
    "tRNA": STRUCTURES / "1ehz.cif.gz",
    "protein from PDB": STRUCTURES / "1ejg.pdb.gz",
    "ligand": IBUPROFEN,
}


@pytest.fixture(scope="module")
def structures():
    return {name: data.read(source) for name, source in SOURCES.items()}


def positions(structure):
    return np.where(np.isnan(structure.coords), structure.ref_pos, structure.coords)


def placed(structure):
    return replace(structure, coords=positions(structure))


def columns(structure):
    return (structure.chain_index.tolist(), structure.residue_index.tolist(), structure.atoms.atom_name.tolist())


def named_bonds(structure):
    names = list(zip(*columns(structure), strict=True))
    return {(frozenset((names[i], names[j])), kind) for i, j, kind in structure.atoms.bonds.as_array().tolist()}


def bonds(atoms):
    return set(map(tuple, atoms.bonds.as_array().tolist()))


@pytest.mark.parametrize("name", SOURCES)
def test_biotite_reads_back_the_same(structures, name, tmp_path):
    structure = structures[name]
    write_cif(tmp_path / "x.cif", structure, positions(structure))
    file = pdbx.CIFFile.read(tmp_path / "x.cif")
    stack = pdbx.get_structure(file, extra_fields=["charge"], include_bonds=True)
    for annotation in ("chain_id", "res_id", "ins_code", "res_name", "atom_name", "element", "charge", "hetero"):
        assert (stack.get_annotation(annotation) == structure.atoms.get_annotation(annotation)).all(), annotation
    assert bonds(stack) == bonds(structure.atoms)
    assert np.allclose(stack.coord, positions(structure), atol=1e-3)


@pytest.mark.parametrize("name", SOURCES)
def test_gemmi_reads_back_the_same(structures, name, tmp_path):
    structure = structures[name]
    write_cif(tmp_path / "x.cif", structure, positions(structure)[0])
    read = gemmi.read_structure(str(tmp_path / "x.cif"))
    found = {
        (c.name, r.seqid.num, r.seqid.icode.strip(), r.name, a.name, a.element.name.upper(), a.charge)
        for c in read[0] for r in c for a in r
    }  # fmt: skip
    atoms = structure.atoms
    columns = (
        atoms.chain_id,
        atoms.res_id,
        atoms.ins_code,
        atoms.res_name,
        atoms.atom_name,
        atoms.element,
        atoms.charge,
    )
    assert found == set(zip(*(column.tolist() for column in columns), strict=True))
    polymers = [entity for entity in read.entities if entity.entity_type == gemmi.EntityType.Polymer]
    sequences = {chain.sequence for chain in structure.chains if chain.mol_type != 3}
    assert {tuple(entity.full_sequence) for entity in polymers} == sequences


@pytest.mark.parametrize("name", SOURCES)
def test_frazil_reads_back_the_same(structures, name, tmp_path):
    structure = structures[name]
    write_cif(tmp_path / "x.cif", structure, positions(structure))
    again = data.read(tmp_path / "x.cif")
    assert [(c.chain_id, c.mol_type, c.sequence) for c in again.chains] == [
        (c.chain_id, c.mol_type, c.sequence) for c in structure.chains
    ]
    # a ligand that the file defines itself may come back in another order of its atoms
    assert named_bonds(again) == named_bonds(structure)
    rows = [sorted(zip(*columns(s), s.coords[0].round(2).tolist(), strict=True)) for s in (again, placed(structure))]
    assert rows[0] == rows[1]


def test_the_disulfides_are_named(structures, tmp_path):
    write_cif(tmp_path / "x.cif", structures["protein from PDB"], positions(structures["protein from PDB"]))
    read = gemmi.read_structure(str(tmp_path / "x.cif"))
    assert [c.type for c in read.connections].count(gemmi.ConnectionType.Disulf) == 3


def test_modelcif_categories(structures, tmp_path):
    structure = structures["protein and ligands"]
    write_cif(tmp_path / "x.cif", structure, np.stack([positions(structure)[0]] * 3), title="three 'odd'\ntitles")
    block = pdbx.CIFFile.read(tmp_path / "x.cif").block
    assert block["software"]["name"].as_item() == "frazil"
    assert block["audit_conform"]["dict_name"].as_item() == "mmcif_ma.dic"
    assert block["ma_model_list"]["model_id"].as_array(int).tolist() == [1, 2, 3]
    assert block["struct"]["title"].as_item() == "three 'odd'\ntitles"
    # every reference to another table has its target
    asym = set(block["struct_asym"]["id"].as_array(str))
    entities = set(block["entity"]["id"].as_array(str))
    assert set(block["atom_site"]["label_asym_id"].as_array(str)) == asym
    assert set(block["atom_site"]["label_entity_id"].as_array(str)) == entities
    assert set(block["struct_asym"]["entity_id"].as_array(str)) == entities
    components = set(block["chem_comp"]["id"].as_array(str))
    assert set(structure.atoms.res_name) | set(block["entity_poly_seq"]["mon_id"].as_array(str)) == components
    assert set(block["chem_comp_bond"]["comp_id"].as_array(str)) <= components
    # no polymer, no sequence number
    nonpolymer = block["atom_site"]["label_seq_id"].as_array(str) == "."
    assert nonpolymer.any() and not nonpolymer.all()


def test_ligand_chains_that_share_a_letter_get_their_own_asym_id(structures):
    found = instances(structures["protein and ligands"])
    assert len({one.asym_id for one in found}) == len(found)


def test_insertion_codes_and_numbering_gaps_keep_their_bonds(structures, tmp_path):
    structure = structures["protein from PDB"]
    atoms = structure.atoms.copy()
    atoms.ins_code = np.where(structure.residue_index == 5, "A", "")
    atoms.res_id = np.where(structure.residue_index >= 5, atoms.res_id - 1, atoms.res_id)
    atoms.res_id = np.where(structure.residue_index >= 20, atoms.res_id + 30, atoms.res_id)
    changed = replace(structure, atoms=atoms)
    write_cif(tmp_path / "x.cif", changed, positions(structure))
    read = pdbx.get_structure(pdbx.CIFFile.read(tmp_path / "x.cif"), model=1, include_bonds=True)
    assert (read.ins_code == atoms.ins_code).all() and (read.res_id == atoms.res_id).all()
    assert bonds(read) == bonds(atoms)


def test_b_factors_are_unknown_unless_given(structures, tmp_path):
    structure = structures["ligand"]
    write_cif(tmp_path / "x.cif", structure, structure.ref_pos, b_factor=np.arange(len(structure.atoms)))
    site = pdbx.CIFFile.read(tmp_path / "x.cif").block["atom_site"]
    assert site["B_iso_or_equiv"].as_array(float).tolist() == list(range(len(structure.atoms)))
    write_cif(tmp_path / "x.cif", structure, structure.ref_pos)
    site = pdbx.CIFFile.read(tmp_path / "x.cif").block["atom_site"]
    assert (site["B_iso_or_equiv"].mask.array == pdbx.MaskValue.MISSING).all()


def test_sdf_keeps_bond_orders_charge_and_stereo(structures, tmp_path):
    structure = structures["ligand"]
    mirror = structure.ref_pos * np.float32([-1, 1, 1])
    fields = [{"rmsd": 0.5, "seed": "1"}, {"rmsd": 1.5, "seed": "2"}]
    write_sdf(tmp_path / "x.sdf", structure, np.stack([structure.ref_pos, mirror]), fields)
    first, second = Chem.SDMolSupplier(str(tmp_path / "x.sdf"))
    assert first.GetProp("rmsd") == "0.5" and second.GetProp("seed") == "2"
    for mol in (first, second):
        Chem.AssignStereochemistryFrom3D(mol)
    assert Chem.MolToSmiles(first) == Chem.CanonSmiles(IBUPROFEN)
    assert Chem.MolToSmiles(second) == Chem.CanonSmiles(IBUPROFEN.replace("@@", "@"))
    assert np.allclose(first.GetConformer().GetPositions(), structure.ref_pos, atol=1e-4)


def test_sdf_is_read_back_as_an_ensemble(structures, tmp_path):
    structure = structures["ligand"]
    coords = np.stack([structure.ref_pos + shift for shift in (0, 5)])
    write_sdf(tmp_path / "x.sdf", structure, coords)
    again = data.read(tmp_path / "x.sdf")
    assert np.allclose(again.coords, coords, atol=1e-3)
    assert (again.atoms.atom_name == structure.atoms.atom_name).all()
    assert bonds(again.atoms) == bonds(structure.atoms)


def test_sdf_refuses_more_than_a_ligand(structures, tmp_path):
    structure = structures["tRNA"]
    with pytest.raises(InputError, match="one ligand"):
        write_sdf(tmp_path / "x.sdf", structure, positions(structure))


def test_to_rdkit_of_one_chain_of_many(structures):
    structure = structures["protein and ligands"]
    index = max(range(1, len(structure.chains)), key=lambda i: (structure.chain_index == i).sum())
    mol = to_rdkit(structure, index)
    atoms = structure.chain_index == index
    assert [a.GetSymbol().upper() for a in mol.GetAtoms()] == structure.atoms.element[atoms].tolist()
    assert np.isfinite(mol.GetConformer().GetPositions()).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e9])
def test_coordinates_that_are_not_finite_are_refused(structures, tmp_path, bad):
    structure = structures["ligand"]
    coords = structure.ref_pos.copy()
    coords[3, 1] = bad
    for write in (write_cif, write_sdf):
        with pytest.raises(InputError, match="not finite"):
            write(tmp_path / "x", structure, coords)
    with pytest.raises(InputError, match="do not fit"):
        write_cif(tmp_path / "x", structure, coords[:-1])
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_one_line(structures, tmp_path):
    with pytest.raises(InputError, match="cannot be written") as caught:
        write_cif(tmp_path / "no" / "x.cif", structures["ligand"], structures["ligand"].ref_pos)
    assert "\n" not in str(caught.value) and str(tmp_path / "no" / "x.cif") in str(caught.value)


def test_molecules_that_a_file_defines_keep_their_names(tmp_path):
    ligands = "".join(f"- ligand: {{id: {name}, smiles: {smiles}}}\n" for name, smiles in (("A", "CCO"), ("B", "C=CN")))
    (tmp_path / "in.yaml").write_text(f"sequences:\n{ligands}")
    structure = data.read(tmp_path / "in.yaml")
    write_cif(tmp_path / "x.cif", structure, structure.ref_pos)
    text = (tmp_path / "x.cif").read_text().replace("LIG2", "W02").replace("LIG", "W01")
    (tmp_path / "named.cif").write_text(text)
    named = data.read(tmp_path / "named.cif")
    assert [chain.label for chain in named.chains] == ["CCO", "C=CN"]
    write_cif(tmp_path / "again.cif", named, named.ref_pos)
    assert [chain.sequence for chain in data.read(tmp_path / "again.cif").chains] == [("W01",), ("W02",)]


def test_a_smiles_beside_the_code_lig_gets_another_name(tmp_path):
    (tmp_path / "in.yaml").write_text(
        "sequences:\n- ligand: {id: A, smiles: CCO}\n- ligand: {id: B, ccd: LIG}\n- ligand: {id: C, smiles: CCO}\n"
    )
    structure = data.read(tmp_path / "in.yaml")
    assert [chain.sequence for chain in structure.chains] == [("LIG2",), ("LIG",), ("LIG2",)]
    write_cif(tmp_path / "x.cif", structure, structure.ref_pos)
    again = data.read(tmp_path / "x.cif")
    assert again.atoms.atom_name.tolist() == structure.atoms.atom_name.tolist()
    assert bonds(again.atoms) == bonds(structure.atoms)


def test_two_ligands_from_smiles_get_names_of_their_own(tmp_path):
    ligands = "".join(
        f"- ligand: {{id: {name}, smiles: '{smiles}'}}\n"
        for name, smiles in zip("ABC", ("CCO", "C=CN", "CCO"), strict=True)
    )
    (tmp_path / "in.yaml").write_text(f"sequences:\n{ligands}")
    structure = data.read(tmp_path / "in.yaml")
    write_cif(tmp_path / "x.cif", structure, structure.ref_pos)
    again = data.read(tmp_path / "x.cif")
    assert len({chain.sequence for chain in again.chains}) == 2
    assert bonds(again.atoms) == bonds(structure.atoms)
