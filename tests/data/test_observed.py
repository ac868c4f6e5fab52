"""PDB and mmCIF files with everything that real ones have: missing atoms, altlocs, gaps, models, odd names."""

import numpy as np
import pytest
from biotite.structure import BondType
from biotite.structure.io.pdb import PDBFile
from pdb_text import ASSETS, FILES, SHARED, atom_line, heavy, peptide_lines, residue_lines, unzipped, write

from frazil.chemistry import DNA, NONPOLYMER, PROTEIN, RNA
from frazil.data import featurize, read
from frazil.errors import InputError


def names_of(structure, chain=0):
    return structure.atoms.atom_name[structure.chain_index == chain].tolist()


def bond_names(structure):
    atoms = structure.atoms
    return {
        frozenset((f"{atoms.res_id[a]}.{atoms.atom_name[a]}", f"{atoms.res_id[b]}.{atoms.atom_name[b]}"))
        for a, b, _ in atoms.bonds.as_array()
    }


def test_1as5_is_read_with_its_185_heavy_atoms_in_14_models():
    structure = read(ASSETS / "1as5.cif.gz")
    assert structure.coords.shape == (14, 185, 3)
    assert structure.resolved.all() and structure.has_coords
    assert structure.name == "1as5"
    [chain] = structure.chains
    assert len(chain.sequence) == 25 and chain.sequence[-1] == "NH2" and chain.mol_type == PROTEIN
    assert chain.sequence.count("HYP") == 3
    assert (structure.plddt == 100).all()


def test_1as5_coordinates_are_those_in_the_file():
    structure = read(ASSETS / "1as5.cif.gz")
    rows = [
        line.split() for line in unzipped(ASSETS / "1as5.cif.gz").splitlines() if line.startswith(("ATOM", "HETATM"))
    ]
    truth = {(r[-1], int(r[-5]), r[-2]): [float(v) for v in r[10:13]] for r in rows if r[2] != "H"}
    assert len(truth) == 14 * 185
    for model in range(14):
        for atom, xyz in zip(structure.atoms, structure.coords[model], strict=True):
            assert np.allclose(xyz, truth[str(model + 1), atom.res_id, atom.atom_name], atol=1e-4)


def test_scrambled_atom_records_give_the_same_structure(tmp_path):
    lines = [line for line in unzipped(FILES / "1ubi.pdb.gz").splitlines() if line.startswith("ATOM")]
    residues = {}
    for line in lines:
        residues.setdefault(line[22:27], []).append(line)
    rng = np.random.default_rng(0)
    shuffled = [line for group in residues.values() for line in rng.permutation(group).tolist()]
    straight, scrambled = read(write(tmp_path, lines, "a.pdb")), read(write(tmp_path, shuffled, "b.pdb"))
    assert np.array_equal(straight.coords, scrambled.coords)
    assert straight.atoms.atom_name.tolist() == scrambled.atoms.atom_name.tolist()
    assert straight.atoms.bonds.as_set() == scrambled.atoms.bonds.as_set()


def test_missing_atoms_are_there_but_not_resolved(tmp_path):
    structure = read(write(tmp_path, peptide_lines(["ALA", "TRP", "GLY"], skip=("CZ2", "NE1"))))
    assert len(structure.atoms) == 5 + 14 + 4
    missing = structure.atoms.atom_name[~structure.resolved[0]]
    assert sorted(missing) == ["CZ2", "NE1"]
    assert np.isnan(structure.coords[0, ~structure.resolved[0]]).all()
    assert np.isfinite(structure.ref_pos).all()


def test_leaving_atoms_are_built_only_where_they_were_seen(tmp_path):
    lines = peptide_lines(["ALA", "GLY"])
    assert "OXT" not in names_of(read(write(tmp_path, lines)))
    structure = read(write(tmp_path, [*lines, atom_line("OXT", "GLY", 2, (9, 9, 9))]))
    assert names_of(structure) == ["N", "CA", "C", "O", "CB", "N", "CA", "C", "O", "OXT"]


def test_hydrogens_deuterium_and_waters_are_dropped(tmp_path):
    lines = [
        *peptide_lines(["ALA", "GLY"]),
        atom_line("H", "ALA", 1), atom_line("HA", "ALA", 1, element=""), atom_line("D", "GLY", 2),
        atom_line("O", "HOH", 101, hetero=True), atom_line("O", "DOD", 102, hetero=True), atom_line("O", "WAT", 103),
    ]  # fmt: skip
    structure = read(write(tmp_path, lines))
    assert len(structure.atoms) == 9 and len(structure.chains) == 1


def test_the_altloc_of_highest_occupancy_is_kept_for_the_whole_residue(tmp_path):
    lines = [
        line
        for line in peptide_lines(["GLY", "SER"])
        if " SER " not in line or line[12:16].strip() in ("N", "CA", "C", "O")
    ]
    for altloc, occupancy, x in (("A", 0.4, 1.0), ("B", 0.6, 2.0)):
        lines += [atom_line(name, "SER", 2, (x, 0, 0), altloc=altloc, occupancy=occupancy) for name in ("CB", "OG")]
    # one atom of A alone has a higher occupancy than B's: the residue must still be B throughout
    lines += [atom_line("OXT", "SER", 2, (5, 0, 0), altloc="A", occupancy=0.61)]
    structure = read(write(tmp_path, lines))
    atoms = {
        name: structure.coords[0, i] for i, name in enumerate(names_of(structure)) if structure.atoms.res_id[i] == 2
    }
    assert atoms["CB"][0] == atoms["OG"][0] == 2.0
    assert "OXT" not in atoms


def test_equal_occupancies_take_the_first_letter(tmp_path):
    lines = peptide_lines(["GLY"])
    lines += [atom_line("OXT", "GLY", 1, (x, 0, 0), altloc=a, occupancy=0.5) for a, x in (("C", 3), ("B", 2))]
    structure = read(write(tmp_path, lines))
    assert structure.coords[0, names_of(structure).index("OXT"), 0] == 2


def test_1ejg_keeps_one_residue_where_two_kinds_are_modelled():
    structure = read(FILES / "1ejg.pdb.gz")
    sequence = structure.chains[0].sequence
    assert len(sequence) == 46
    assert sequence[21] in ("PRO", "SER") and sequence[24] in ("LEU", "ILE")
    first = structure.atoms.res_id == 22
    assert len(set(structure.atoms.res_name[first])) == 1
    assert structure.resolved.all()


def test_repeated_records_and_blank_elements_of_ts50():
    path = FILES / "3l4rA.pdb.gz"
    lines = [line for line in unzipped(path).splitlines() if line.startswith("ATOM")]
    records = {(line[12:16], line[22:27]): line for line in reversed(lines) if line[76:78].strip() != "H"}
    structure = read(path)
    assert len(records) == structure.resolved.sum()
    assert set(structure.atoms.element.tolist()) <= {"C", "N", "O", "S"}
    assert structure.atoms.element[structure.atoms.atom_name == "CA"].tolist().count("C") == len(
        structure.chains[0].sequence
    )


def test_insertion_codes_are_residues_of_their_own(tmp_path):
    lines = [
        *residue_lines("ALA", 52),
        *residue_lines("GLY", 52, (0, 5, 0), ins_code="A"),
        *residue_lines("SER", 53, (0, 9, 0)),
    ]
    structure = read(write(tmp_path, lines))
    assert structure.chains[0].sequence == ("ALA", "GLY", "SER")
    assert structure.atoms.ins_code[structure.residue_index == 1].tolist() == ["A"] * 4
    assert structure.atoms.res_id[structure.residue_index == 1].tolist() == [52] * 4


def test_residues_that_seqres_has_and_the_coordinates_have_not(tmp_path):
    header = "SEQRES   1 A    6  MET ALA GLY ALA SER TRP"
    lines = [header, *residue_lines("ALA", 2), *residue_lines("SER", 5, (0, 20, 0))]
    structure = read(write(tmp_path, lines))
    assert structure.chains[0].sequence == ("MET", "ALA", "GLY", "ALA", "SER", "TRP")
    resolved = [bool(structure.resolved[0, structure.residue_index == k].any()) for k in range(6)]
    assert resolved == [False, True, False, False, True, False]
    first_atoms = [int(structure.atoms.res_id[structure.residue_index == k][0]) for k in range(6)]
    assert first_atoms == [1, 2, 3, 4, 5, 6]
    links = {frozenset((f"{k}.C", f"{k + 1}.N")) for k in range(1, 6)}
    assert links <= bond_names(structure)


def test_a_seqres_that_does_not_fit_is_not_used(tmp_path):
    lines = ["SEQRES   1 A    2  TRP TRP", *peptide_lines(["ALA", "GLY"])]
    assert read(write(tmp_path, lines)).chains[0].sequence == ("ALA", "GLY")


def test_unresolved_residues_of_mmcif_have_the_numbers_of_the_scheme():
    structure = read(FILES / "4cup.cif.gz")
    protein = structure.chain_index == 0
    numbers = [int(n) for n in dict.fromkeys(structure.atoms.res_id[protein].tolist())]
    assert numbers == list(range(numbers[0], numbers[0] + len(structure.chains[0].sequence)))
    unresolved = {
        int(k)
        for k in structure.residue_index[protein]
        if not structure.resolved[0, protein & (structure.residue_index == k)].any()
    }
    assert unresolved
    assert [c.sequence for c in structure.chains[1:]] == [("ZYB",), ("MOH",), ("MOH",), ("MOH",)]
    assert [c.sym_id for c in structure.chains[2:]] == [0, 1, 2]


def test_chains_of_a_pdb_file_are_one_polymer_and_one_molecule_each(tmp_path):
    lines = [
        *peptide_lines(["ALA", "GLY"]), "TER",
        *residue_lines("SO4", 201, (20, 0, 0), hetero=True), *residue_lines("SO4", 202, (30, 0, 0), hetero=True),
        atom_line("ZN", "ZN", 203, (40, 0, 0), element="ZN", hetero=True),
        *peptide_lines(["ALA", "GLY"], chain="B"),
    ]  # fmt: skip
    structure = read(write(tmp_path, lines))
    assert [(c.chain_id, c.mol_type, c.entity_id, c.sym_id) for c in structure.chains] == [
        ("A", PROTEIN, 0, 0), ("A", NONPOLYMER, 1, 0), ("A", NONPOLYMER, 1, 1), ("A", NONPOLYMER, 2, 0),
        ("B", PROTEIN, 0, 1),
    ]  # fmt: skip
    assert structure.atoms.charge[structure.atoms.element == "ZN"].tolist() == [2]


def test_free_amino_acid_after_ter_is_a_ligand_and_bonded_modified_residue_is_polymer(tmp_path):
    chain = peptide_lines(["ALA", "MSE", "GLY"])
    chain = [line.replace("ATOM  ", "HETATM") if " MSE " in line else line for line in chain]
    lines = [*chain, "TER", *residue_lines("GLU", 99, (50, 0, 0), hetero=True, without=())]
    structure = read(write(tmp_path, lines))
    assert [c.sequence for c in structure.chains] == [("ALA", "MSE", "GLY"), ("GLU",)]
    assert [c.mol_type for c in structure.chains] == [PROTEIN, NONPOLYMER]
    assert "OXT" in names_of(structure, 1)


def test_two_polymers_under_one_letter_are_parted_by_ter_where_numbers_clash(tmp_path):
    lines = [*peptide_lines(["ALA", "GLY"]), "TER", *peptide_lines(["SER", "GLY"]), "TER"]
    structure = read(write(tmp_path, lines))
    assert [c.sequence for c in structure.chains] == [("ALA", "GLY"), ("SER", "GLY")]
    assert len(structure.atoms) == 9 + 10


def test_protein_and_nucleic_acid_in_one_chain_id_are_two_chains():
    structure = read(FILES / "1lcd.cif.gz")
    assert [c.mol_type for c in structure.chains] == [DNA, DNA, PROTEIN, NONPOLYMER]
    assert structure.coords.shape[0] == 3


def test_models_with_different_atoms_are_joined_and_masked(tmp_path):
    first, second = peptide_lines(["ALA", "GLY"]), peptide_lines(["ALA", "GLY"], skip=("CB",))
    second = [line for line in second if " O   GLY" not in line]
    lines = ["MODEL        1", *first, "ENDMDL", "MODEL        2", *second, "ENDMDL"]
    structure = read(write(tmp_path, lines))
    assert structure.coords.shape == (2, 9, 3)
    assert structure.resolved[0].all()
    assert [names_of(structure)[i] for i in np.flatnonzero(~structure.resolved[1])] == ["CB", "O"]
    assert np.array_equal(structure.atoms.coord, structure.coords[0])


def test_chain_breaks_without_seqres_are_not_bonded(tmp_path):
    lines = [*peptide_lines(["ALA", "GLY"]), *peptide_lines(["SER", "GLY"], first=10)]
    lines = lines[:9] + [line[:30] + f"{float(line[30:38]) + 40:8.3f}" + line[38:] for line in lines[9:]]
    bonds = bond_names(read(write(tmp_path, lines)))
    assert frozenset(("1.C", "2.N")) in bonds and frozenset(("10.C", "11.N")) in bonds
    assert frozenset(("2.C", "10.N")) not in bonds


def test_disulfides_by_record_and_by_distance(tmp_path):
    far = [*residue_lines("CYS", 1), *residue_lines("CYS", 2, (0, 30, 0)), *residue_lines("CYS", 3, (0, 60, 0))]
    record = "SSBOND   1 CYS A    1    CYS A    3".ljust(59) + "  1555   1555  2.03"
    assert frozenset(("1.SG", "3.SG")) in bond_names(read(write(tmp_path, [record, *far])))
    near = [*residue_lines("CYS", 1), *residue_lines("CYS", 2, (0, 0, 2.1)), *residue_lines("CYS", 3, (0, 0, 4.2))]
    bonds = bond_names(read(write(tmp_path, near)))
    between = [bond for bond in bonds if all(end.endswith("SG") for end in bond)]
    assert len(between) == 1, "a sulfur takes one partner only"


def test_1as5_has_its_three_disulfides():
    bonds = [bond for bond in bond_names(read(ASSETS / "1as5.cif.gz")) if all(end.endswith("SG") for end in bond)]
    assert len(bonds) == 3 and len({end for bond in bonds for end in bond}) == 6


def test_link_records_between_chains_and_to_metals(tmp_path):
    link = "LINK         OG  SER A   1                 C1  NAG A 101     1555   1555  1.43"
    metal = "LINK         OG  SER A   1                ZN    ZN A 102     1555   1555  2.10"
    lines = [
        link, metal, *residue_lines("SER", 1), "TER",
        *residue_lines("NAG", 101, (9, 0, 0), hetero=True, without=("O1",)),
        atom_line("ZN", "ZN", 102, (3, 3, 3), element="ZN", hetero=True),
    ]  # fmt: skip
    structure = read(write(tmp_path, lines))
    assert {frozenset(("1.OG", "101.C1")), frozenset(("1.OG", "102.ZN"))} <= bond_names(structure)
    kinds = {int(k) for a, b, k in structure.atoms.bonds.as_array() if "ZN" in structure.atoms.element[[a, b]]}
    assert kinds == {int(BondType.COORDINATION)}
    assert "O1" not in names_of(structure, 1), "the leaving atom of a bound sugar is not built"
    free = read(write(tmp_path, residue_lines("NAG", 101, hetero=True, without=("O1",))))
    assert "O1" in names_of(free) and not free.resolved[0, names_of(free).index("O1")]


def test_conect_records_between_residues(tmp_path):
    lines = [*residue_lines("SER", 1, serial=7), "TER", *residue_lines("NAG", 101, (9, 0, 0), hetero=True, serial=8)]
    serials = iter(range(1, 99))
    lines = [
        line[:6] + f"{next(serials):5d}" + line[11:] if line.startswith(("ATOM", "HETATM")) else line for line in lines
    ]
    of = {(line[12:16].strip(), line[17:20]): int(line[6:11]) for line in lines if line.startswith(("ATOM", "HETATM"))}
    lines.append(f"CONECT{of['OG', 'SER']:5d}{of['C1', 'NAG']:5d}")
    assert frozenset(("1.OG", "101.C1")) in bond_names(read(write(tmp_path, lines)))


def test_covalent_ligand_of_1gbt_and_its_calcium():
    structure = read(FILES / "1gbt.cif.gz")
    bonds = bond_names(structure)
    assert frozenset(("195.OG", "704.CD")) in bonds
    assert frozenset(("70.OE1", "701.CA")) in bonds
    # the file's atom names of GBS are not the CCD's: the graph is matched and the file's names stay
    [ligand] = [k for k, chain in enumerate(structure.chains) if chain.sequence == ("GBS",)]
    assert {"CD", "OD", "C21", "NE"} <= set(names_of(structure, ligand))
    inside = [i for i in np.flatnonzero(structure.chain_index == ligand) if structure.atoms.atom_name[i] == "CZ"]
    assert len(structure.atoms.bonds.get_bonds(inside[0])[0]) == 3


def test_head_to_tail_link_makes_a_ring(tmp_path):
    names = ["ALA", "GLY", "SER", "GLY"]
    link = "LINK         N   ALA A   1                 C   GLY A   4     1555   1555  1.33"
    structure = read(write(tmp_path, [link, *peptide_lines(names)]))
    assert structure.chains[0].cyclic
    assert featurize(structure).cyclic_period.tolist() == [[4] * 4]
    assert not read(write(tmp_path, peptide_lines(names))).chains[0].cyclic


def test_names_of_force_fields_and_of_old_files(tmp_path):
    lines = [line.replace("HIS", "HSD") for line in residue_lines("HIS", 1)]
    assert read(write(tmp_path, lines)).chains[0].sequence == ("HIS",)
    old = [line.replace(" OP1", " O1P").replace("'", "*") for line in residue_lines("DA", 1)]
    structure = read(write(tmp_path, old))
    assert structure.resolved.all() and "O5'" in names_of(structure) and "OP1" in names_of(structure)


def test_atoms_that_the_component_lacks_are_kept_after_it(tmp_path):
    lines = [*peptide_lines(["ALA"]), atom_line("CX9", "ALA", 1, (8, 8, 8))]
    structure = read(write(tmp_path, lines))
    assert names_of(structure) == ["N", "CA", "C", "O", "CB", "CX9"]
    assert structure.resolved.all() and np.isfinite(structure.ref_pos).all()


@pytest.mark.parametrize(
    ("header", "predicted"),
    [
        (["TITLE     ALPHAFOLD MONOMER V2.0 PREDICTION FOR UBIQUITIN"], True),
        (["EXPDTA    X-RAY DIFFRACTION", "REMARK 200 STARTING MODEL: ALPHAFOLD"], False),
        ([], False),
    ],
)
def test_plddt_is_the_b_factor_of_predictions_only(tmp_path, header, predicted):
    structure = read(write(tmp_path, [*header, *peptide_lines(["ALA", "GLY"], b_factor=71.25)]))
    assert set(structure.plddt.tolist()) == ({71.25} if predicted else {100.0})


def test_plddt_between_0_and_1_is_scaled(tmp_path):
    lines = ["TITLE     ESMFOLD V1 PREDICTION", *peptide_lines(["ALA"], b_factor=0.83)]
    assert np.allclose(read(write(tmp_path, lines)).plddt, 83)


def test_modelcif_with_plddt(tmp_path):
    from biotite.structure.io.pdbx import CIFCategory, CIFFile, set_structure

    atoms = PDBFile.read(write(tmp_path, peptide_lines(["ALA"], b_factor=55))).get_structure(
        1, extra_fields=["b_factor"]
    )
    file = CIFFile()
    set_structure(file, atoms)
    file.write(tmp_path / "plain.cif")
    file.block["ma_qa_metric"] = CIFCategory({"id": "1", "name": "pLDDT", "mode": "local"})
    file.write(tmp_path / "predicted.cif")
    assert (read(tmp_path / "plain.cif").plddt == 100).all()
    assert (read(tmp_path / "predicted.cif").plddt == 55).all()


def test_short_and_blank_columns_are_filled(tmp_path):
    lines = [line[:54] for line in peptide_lines(["ALA", "GLY"])]
    assert read(write(tmp_path, lines)).resolved.all()


def test_unknown_residue_is_named_with_the_file(tmp_path):
    path = write(tmp_path, [*peptide_lines(["ALA"]), atom_line("C1", "Q7%", 77, hetero=True)])
    with pytest.raises(InputError, match=r"x\.pdb.*Q7% A77.*SDF"):
        read(path)


def test_a_ligand_with_the_code_of_another_is_refused(tmp_path):
    atoms = [atom_line(f"X{k}", "LIG", 1, (1.5 * k, 0, 0), element="C", hetero=True) for k in range(30)]
    with pytest.raises(InputError, match="other atoms"):
        read(write(tmp_path, atoms))


def test_1duq_2gdi_rna():
    assert [c.mol_type for c in read(FILES / "1duq.pdb.gz").chains] == [RNA, RNA]
    structure = read(FILES / "2gdi.pdb.gz")
    assert structure.chains[1].sequence[-1] == "CCC"
    assert structure.chains[0].sequence == ("GTP",) or structure.chains[1].mol_type == RNA


def test_ideal_conformers_are_the_dictionarys():
    structure = read(FILES / "1ubi.pdb.gz")
    first = structure.residue_index == 0
    truth = {name: xyz for name, _, xyz in heavy("MET", without=())}
    for name, xyz in zip(structure.atoms.atom_name[first], structure.ref_pos[first], strict=True):
        assert np.allclose(xyz, truth[name])


@pytest.mark.parametrize("smiles", ["C[C@H](N)C(=O)Nc1ccccc1", "CC(=O)[O-].[Na+]", "F/C=C/Cl"])
def test_a_molecule_outside_the_ccd_survives_writing_and_reading(tmp_path, smiles):
    from frazil.data.write import write_cif

    before = read(smiles)
    write_cif(tmp_path / "x.cif", before, before.ref_pos)
    after = read(tmp_path / "x.cif")
    assert [(c.chain_id, c.label, c.sequence) for c in before.chains] == [
        (c.chain_id, c.label, c.sequence) for c in after.chains
    ]
    assert before.atoms.atom_name.tolist() == after.atoms.atom_name.tolist()
    assert before.atoms.charge.tolist() == after.atoms.charge.tolist()
    assert before.atoms.bonds.as_set() == after.atoms.bonds.as_set()
    assert np.allclose(after.coords[0], before.ref_pos, atol=1e-3) and np.isfinite(after.ref_pos).all()


def test_bonds_in_the_file_define_a_residue_that_is_in_no_dictionary(tmp_path):
    site = [
        "label_atom_id",
        "label_comp_id",
        "label_asym_id",
        "label_seq_id",
        "type_symbol",
        "Cartn_x",
        "Cartn_y",
        "Cartn_z",
    ]
    text = "data_x\nloop_\n" + "".join(f"_atom_site.{name}\n" for name in site)
    text += "".join(f"{name} Q7% A . {name[0]} {k}.4 0 0\n" for k, name in enumerate(["C1", "C2", "O9"]))
    text += "loop_\n" + "".join(f"_chem_comp_bond.{n}\n" for n in ("comp_id", "atom_id_1", "atom_id_2", "value_order"))
    (tmp_path / "x.cif").write_text(text + "Q7% C1 C2 sing\nQ7% C2 O9 doub\n")
    structure = read(tmp_path / "x.cif")
    assert names_of(structure) == ["C1", "C2", "O9"]
    assert {tuple(bond) for bond in structure.atoms.bonds.as_array().tolist()} == {(0, 1, 1), (1, 2, 2)}
    lengths = np.linalg.norm(np.diff(structure.ref_pos, axis=0), axis=1)
    assert 1.4 < lengths[0] < 1.6 and 1.15 < lengths[1] < 1.3


def test_ions_that_nmr_models_number_on_are_one():
    structure = read(FILES / "1lcd.cif.gz")
    [sodium] = np.flatnonzero(structure.atoms.element == "NA")
    assert structure.resolved[:, sodium].all()


def test_altlocs_are_the_same_in_all_models(tmp_path):
    def model(first, second):
        variants = [("A", first, 1.0), ("B", second, 2.0)]
        return peptide_lines(["GLY"]) + [
            atom_line("OXT", "GLY", 1, (x, 0, 0), altloc=a, occupancy=o) for a, o, x in variants
        ]

    lines = ["MODEL        1", *model(0.7, 0.3), "ENDMDL", "MODEL        2", *model(0.4, 0.6), "ENDMDL"]
    structure = read(write(tmp_path, lines))
    assert structure.coords[:, names_of(structure).index("OXT"), 0].tolist() == [1.0, 1.0]


def test_numbers_of_unresolved_residues_never_collide(tmp_path):
    header = "SEQRES   1 A    5  ALA GLY GLY GLY SER"
    lines = [header, *residue_lines("ALA", 10), *residue_lines("SER", 11, (0, 20, 0))]
    structure = read(write(tmp_path, lines))
    numbers = list(zip(structure.atoms.res_id.tolist(), structure.atoms.ins_code.tolist(), strict=True))
    per_residue = {(int(k), n) for k, n in zip(structure.residue_index, numbers, strict=True)}
    assert len(per_residue) == 5 and len({n for _, n in per_residue}) == 5


FILES_OF_THE_PROJECT = sorted(p for p in SHARED.rglob("*") if p.is_file()) if SHARED.is_dir() else []


@pytest.mark.skipif(not FILES_OF_THE_PROJECT, reason="shared data are not in this checkout")
def test_every_shared_file_reads_and_featurizes():
    import torch

    from frazil.data import read_all

    assert len(FILES_OF_THE_PROJECT) == 59
    for path in FILES_OF_THE_PROJECT:
        for structure in read_all([path]):
            features = featurize(structure)
            assert structure.has_coords and structure.resolved.mean() > 0.5, path
            assert torch.isfinite(features.ref_pos).all() and torch.isfinite(features.coords).all(), path
            assert features.num_atoms == len(structure.atoms) > 0, path
