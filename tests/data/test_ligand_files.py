"""Truths about lists of small molecules, what is refused of them, and stereo that was left open."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem

from frazil.data import read
from frazil.data.conformers import clusters, heavy_positions, minimize, with_conformers, with_hydrogens
from frazil.data.ligand_files import BadLine, LigandText, is_ligand_input, read_ligand_texts
from frazil.data.ligands import complete, ligand_of, ligand_of_mol
from frazil.data.targets import ligand_of_record
from frazil.errors import InputError

ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"


def texts(path: Path | str) -> list[LigandText]:
    found = list(read_ligand_texts([path]))
    assert all(isinstance(one, LigandText) for one in found)
    return found  # type: ignore[return-value]


def sdf_of(*mols: tuple[str, str]) -> str:
    records = []
    for title, smiles in mols:
        mol = Chem.MolFromSmiles(smiles)
        mol.SetProp("_Name", title)
        records.append(f"{Chem.MolToMolBlock(mol)}>  <id>\n7\n\n$$$$\n")
    return "".join(records)


@pytest.mark.parametrize("suffix", [".smi", ".smiles", ".smi.gz"])
def test_a_smiles_file_has_a_smiles_a_blank_and_a_name_on_each_line(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"some{suffix}"
    content = f"smiles name\n{ASPIRIN}\taspirin (old)\n\n# a remark\n  CCO \nCC/x y\n"
    path.write_bytes(gzip.compress(content.encode()) if suffix.endswith("gz") else content.encode())
    found = texts(path)
    assert [one.text for one in found] == [ASPIRIN, "CCO", "CC/x"]
    assert [one.name for one in found] == ["aspirin_old", "some_5", "y"]
    assert [one.origin for one in found] == [f"{path}:2", f"{path}:5", f"{path}:6"]


@pytest.mark.parametrize(
    "header", ["ID,Smiles,mass", "mass;SMILES;id", "name\tcanonical smiles\tmass", '"id","isomeric_smiles"']
)
def test_columns_of_a_table_are_found_by_their_names(tmp_path: Path, header: str) -> None:
    delimiter = next(mark for mark in ",;\t" if mark in header)
    columns = [column.strip('"').lower() for column in header.split(delimiter)]
    row = delimiter.join("CCO" if "smiles" in name else "one" if name in ("id", "name") else "46" for name in columns)
    path = tmp_path / "table.csv"
    path.write_text(f"{header}\n{row}\n")
    [found] = texts(path)
    assert (found.name, found.text, found.origin) == ("one", "CCO", f"{path}:2")


def test_a_table_without_smiles_is_refused_and_a_row_without_one_is_a_bad_line(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("id,structure\na,CCO\n")
    with pytest.raises(InputError, match="no column named smiles"):
        list(read_ligand_texts([path]))
    path.write_text('id,smiles\na,CCO\nb,\n\nc,"CC"\nd\n')
    found = list(read_ligand_texts([path]))
    assert [(one.name, one.origin.rpartition(":")[2]) for one in found if isinstance(one, BadLine)] == [
        ("b", "3"),
        ("d", "6"),
    ]
    assert [one.name for one in found if isinstance(one, LigandText)] == ["a", "c"]


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.csv", "smiles,name\n"), ("a.csv", "smiles,name\n,\n"), ("a.smi", "# none\n"), ("a.sdf", "$$$$\n")],
)
def test_a_file_without_a_molecule_is_named(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=rf"{name}: no molecule in it"):
        list(read_ligand_texts(["CCO", tmp_path / name]))


def test_each_record_of_an_sdf_is_an_entry_named_by_its_title(tmp_path: Path) -> None:
    path = tmp_path / "lib.sdf"
    path.write_text(sdf_of(("first", "C[C@H](F)Cl"), ("", "OCC"), ("first", "CCN")).replace("\n", "\r\n"))
    found = texts(path)
    assert [one.name for one in found] == ["first", "lib_2", "first"]
    assert found[1].origin == f"{path}:record 2"
    ligands = [ligand_of(one.text) for one in found]
    assert [one.smiles for one in ligands] == [Chem.CanonSmiles("C[C@H](F)Cl"), "CCO", "CCN"]
    # atoms stay in the record's order
    assert [atom.GetSymbol() for atom in ligands[1].mol.GetAtoms()] == ["O", "C", "C"]


def test_stereo_of_a_record_comes_from_its_coordinates(tmp_path: Path) -> None:
    mol = Chem.AddHs(Chem.MolFromSmiles("C[C@H](F)Cl"))
    from rdkit.Chem import rdDistGeom

    rdDistGeom.EmbedMolecule(mol, randomSeed=3)
    path = tmp_path / "lib.sdf"
    path.write_text(f"{Chem.MolToMolBlock(mol)}$$$$\n")
    [one] = texts(path)
    assert ligand_of(one.text).smiles == Chem.CanonSmiles("C[C@H](F)Cl")


def test_a_second_molecule_in_a_record_is_not_dropped_in_silence(tmp_path: Path) -> None:
    path = tmp_path / "lib.sdf"
    path.write_text(sdf_of(("one", "CCO"), ("two", "CCN"), ("three", "CCS")).replace("$$$$\n", "", 1))
    joined, alone = texts(path)
    assert ligand_of(alone.text).smiles == "CCS"
    for reads in (lambda: ligand_of(joined.text), lambda: read(path), lambda: ligand_of_record(joined.text, "lib")):
        with pytest.raises(InputError, match=r"record.*more than one molecule; put a line of \$\$\$\$ after each"):
            reads()


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_data_field_may_hold_the_line_that_ends_a_molecule(tmp_path: Path, newline: str) -> None:
    alone = f"{Chem.MolToMolBlock(Chem.MolFromSmiles('CCO'))}> <log>\nfirst\nM  END\n\n"
    path = tmp_path / "lib.sdf"
    path.write_text(f"{alone}> <id>\n7\n\n$$$$\n", newline=newline)
    [one] = texts(path)
    assert ligand_of(one.text).smiles == "CCO"
    assert len(read(path).atoms) == 3
    path.write_text(f"{alone}{Chem.MolToMolBlock(Chem.MolFromSmiles('CCN'))}$$$$\n", newline=newline)
    [joined] = texts(path)
    for reads in (lambda: ligand_of(joined.text), lambda: read(path)):
        with pytest.raises(InputError, match="more than one molecule"):
            reads()


def test_a_code_is_the_ligand_of_the_dictionary_and_in_a_file_it_is_a_smiles(tmp_path: Path) -> None:
    [code] = texts("STI")
    assert (code.name, code.origin) == ("STI", "STI")
    assert ligand_of(code.text).num_atoms == 37
    path = tmp_path / "x.smi"
    path.write_text("CCO\n")
    assert [one.text for one in texts(path)] == ["CCO"]


def test_what_is_meant_to_be_ligands_is_told_by_name(tmp_path: Path) -> None:
    (tmp_path / "C").mkdir()
    assert is_ligand_input("C(=O)([O-])C") and is_ligand_input("C/C=C/C") and is_ligand_input("")
    assert is_ligand_input("no/such.smi") and is_ligand_input(tmp_path / "x.csv.gz")
    assert not is_ligand_input(tmp_path / "C") and not is_ligand_input("a/b.cif") and not is_ligand_input("x.yaml")


@pytest.mark.parametrize(
    ("smiles", "words"),
    [
        ("C" * 300, "300 heavy atoms"),
        ("CC(=O)[O-].[Na+]", r"2 fragments, such as a salt has \(CC\(=O\)\[O-\], \[Na\+\]\)"),
        ("C[CH2]", r"radical \(atom C 2\)"),
        ("CC[*]", "wildcard"),
        ("C[Xy]", "not a SMILES"),
        ("[H][H]", "without heavy atoms"),
        ("CC(C)(C)(C)C", "not a SMILES"),
        ("", "without heavy atoms"),
        ("not\na mol\nblock\n", "not a molecule"),
    ],
)
def test_what_no_conformer_can_be_drawn_of_is_refused_in_one_line(smiles: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as refusal:
        ligand_of(smiles)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("smiles", ["C[C@H](F)Cl", "C/C=C\\C", "CC(C)O", "c1ccccc1", "C[N+](C)(C)C"])
def test_given_stereo_is_left_alone(smiles: str) -> None:
    ligand = complete(ligand_of(smiles), seed=0)
    assert (ligand.smiles, ligand.remark) == (Chem.CanonSmiles(smiles), "")


def test_open_stereo_is_chosen_once_for_all_and_the_given_part_kept() -> None:
    given = ligand_of("C[C@H](O)C(F)C=CC")
    chosen = complete(given, seed=0)
    assert chosen.smiles == complete(given, seed=0).smiles
    assert chosen.remark == f"stereo not given at 2 places; chose {chosen.smiles}"
    mol = Chem.MolFromSmiles(chosen.smiles)
    assert all(info.specified == Chem.StereoSpecified.Specified for info in Chem.FindPotentialStereo(mol))
    assert mol.HasSubstructMatch(Chem.MolFromSmiles("C[C@H](O)CC=C"), useChirality=True)
    # camphor: two of the four are impossible
    assert "@" in complete(ligand_of("CC1(C)C2CCC1(C)C(=O)C2"), seed=0).smiles


def test_a_molecule_keeps_the_order_of_its_heavy_atoms_and_loses_its_conformers() -> None:
    mol = with_conformers(Chem.MolFromSmiles("OCC"), np.zeros((1, 3, 3)))
    ligand = ligand_of_mol(Chem.AddHs(mol))
    assert [atom.GetSymbol() for atom in ligand.mol.GetAtoms()] == ["O", "C", "C"]
    assert ligand.mol.GetNumConformers() == 0 and mol.GetNumConformers() == 1


def embedded(smiles: str, count: int) -> Chem.Mol:
    from rdkit.Chem import rdDistGeom

    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    rdDistGeom.EmbedMultipleConfs(mol, count, randomSeed=1)
    return with_conformers(Chem.MolFromSmiles(smiles), heavy_positions(mol))


def test_minimising_lowers_the_energy_and_falls_back_on_uff() -> None:
    for smiles, force_field in ((ASPIRIN, "MMFF94s"), ("CB(O)O", "UFF")):
        mol = with_hydrogens(embedded(smiles, 3))
        before = heavy_positions(mol)
        found = minimize(mol)
        assert found.force_field == force_field and all(found.converged)
        again = minimize(mol)
        assert np.allclose(again.energies, found.energies, atol=1e-2)
        assert np.abs(heavy_positions(mol) - before).max() > 1e-3
        assert found.remark == (
            "" if force_field == "MMFF94s" else "minimised with UFF, MMFF94s lacks parameters for it"
        )
    flat = Chem.AddHs(with_conformers(Chem.MolFromSmiles("[Xe]"), np.zeros((2, 1, 3))))
    assert minimize(flat).remark == "not minimised: neither MMFF94s nor UFF has parameters for it"


@pytest.mark.parametrize("smiles", ["C1C2CC3CC1CC(C2)C3", "C12C3C4C1C5C2C3C45", "CC=C=CC", "CN=[N+]=[N-]"])
def test_where_there_is_nothing_to_choose_nothing_is_said(smiles: str) -> None:
    assert complete(ligand_of(smiles), seed=0).remark == ""


def test_a_conformer_that_no_force_field_can_move_stays_and_the_others_go_to_their_minima() -> None:
    good = heavy_positions(embedded(ASPIRIN, 2))
    spoilt = good[0].copy()
    spoilt[1] = spoilt[0] + 1e-3
    for smiles, place in ((ASPIRIN, np.stack([good[0], spoilt, good[1]])), ("CB(O)O", np.zeros((1, 4, 3)))):
        mol = with_hydrogens(with_conformers(Chem.MolFromSmiles(smiles), place))
        before = heavy_positions(mol)
        found = minimize(mol)
        bad = len(place) // 2
        assert np.isnan(found.energies[bad]) and not found.converged[bad] and "not yet at a minimum" in found.remark
        assert np.array_equal(heavy_positions(mol)[bad], before[bad])
        others = [one for one in range(len(place)) if one != bad]
        assert all(found.converged[one] and np.isfinite(found.energies[one]) for one in others)


def test_the_extension_of_a_cxsmiles_belongs_to_the_molecule_not_to_its_name(tmp_path: Path) -> None:
    path = tmp_path / "lib.smi"
    biaryl = "Cc1cccc(I)c1-c1c(N)cccc1Cl"
    path.write_text(f"{biaryl} |wU:7.7| one hand\n{biaryl}\t|wD:7.7|\n{biaryl} |x\n  CCO   plain name\n\n")
    one, other, name, plain = texts(path)
    assert [one.name, name.name, plain.name] == ["one_hand", "x", "plain_name"]
    hands = [ligand_of(each.text).mol.GetBondBetweenAtoms(7, 8).GetStereo() for each in (one, other, name)]
    assert len(set(hands)) == 3 and ligand_of(plain.text).smiles == "CCO"


def test_conformers_of_one_cluster_are_near_each_other_by_symmetry() -> None:
    mol = embedded("Cc1ccccc1", 1)
    place = mol.GetConformer().GetPositions()
    # the ring turned over: other atoms, the same shape
    turned = place[[0, 1, 6, 5, 4, 3, 2]]
    far = place * 2
    assert clusters(with_conformers(mol, [place, far, turned]), 0.3) == [0, 1, 0]


def test_a_quote_left_open_spoils_its_own_row_alone(tmp_path):
    table = tmp_path / "five.csv"
    table.write_text('smiles,id\nCCO,a\n"CCN,b\nCCC,c\nCCCC,d\n')
    found = list(read_ligand_texts([table]))
    assert [one.name for one in found] == ["a", "five_3", "c", "d"]
    assert isinstance(found[1], BadLine) and found[1].origin == f"{table}:3" and "quotes" in found[1].reason
