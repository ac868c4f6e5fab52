"""FASTA and the `sequences:` part of Boltz's YAML."""

import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frazil.chemistry import AMINO_ACIDS, DNA, NONPOLYMER, PROTEIN, RNA
from frazil.data import featurize, read
from frazil.errors import InputError


def text_file(folder, text, name):
    path = folder / name
    path.write_text(text)
    return path


def fasta(folder, text):
    return read(text_file(folder, text, "in.fasta"))


def boltz(folder, text):
    return read(text_file(folder, f"version: 1\nsequences:\n{text}", "in.yaml"))


@settings(deadline=None)
@given(letters=st.text(alphabet=sorted(AMINO_ACIDS), min_size=1, max_size=30))
def test_protein_letters_are_their_residues(tmp_path_factory, letters):
    structure = fasta(tmp_path_factory.mktemp("f"), f">A|protein\n{letters}\n")
    [chain] = structure.chains
    assert chain.sequence == tuple(AMINO_ACIDS[letter] for letter in letters)
    assert chain.mol_type == PROTEIN and not structure.has_coords
    features = featurize(structure)
    assert features.num_tokens == len(letters) and features.token_bonds.shape == (1, 0, 2)


def test_leaving_atoms_are_left_out_and_residues_are_linked(tmp_path):
    structure = fasta(tmp_path, ">x\nMKT*\n")
    assert "OXT" not in structure.atoms.atom_name
    atoms = structure.atoms
    between = [(a, b) for a, b, _ in atoms.bonds.as_array() if atoms.res_id[a] != atoms.res_id[b]]
    assert [(atoms.atom_name[a], atoms.atom_name[b]) for a, b in between] == [("C", "N")] * 2
    assert atoms.res_id.tolist() == sorted(atoms.res_id.tolist()) and set(atoms.res_id) == {1, 2, 3}


def test_boltz_headers_of_every_type(tmp_path):
    structure = fasta(
        tmp_path, ">P|protein|empty\nMK\nT\n>D|dna\nACGTN\n>R|rna\nACGUN\n>S|smiles\nCC(=O)O\n>C|ccd\nATP\n"
    )
    assert [c.chain_id for c in structure.chains] == list("PDRSC")
    assert [c.mol_type for c in structure.chains] == [PROTEIN, DNA, RNA, NONPOLYMER, NONPOLYMER]
    assert structure.chains[0].sequence == ("MET", "LYS", "THR")
    assert structure.chains[1].sequence == ("DA", "DC", "DG", "DT", "DN")
    assert structure.chains[2].sequence == ("A", "C", "G", "U", "N")
    assert structure.chains[3].label == "CC(=O)O"
    assert structure.name == "in"


@pytest.mark.parametrize(
    ("sequence", "kind"),
    [
        ("ACGU", RNA), ("UUU", RNA), ("GGGGGGGGGGU", RNA), ("ACGTACGTAC", DNA), ("ACGT", PROTEIN), ("MKT", PROTEIN),
        ("acdefgh", PROTEIN),
    ],
)  # fmt: skip
def test_plain_headers_are_typed_by_their_letters(tmp_path, sequence, kind):
    assert fasta(tmp_path, f">some protein\n{sequence}\n").chains[0].mol_type == kind


def test_plain_headers_are_named_in_order_around_given_names(tmp_path):
    structure = fasta(tmp_path, ">x\nMK\n>B|protein\nMK\n>sp|P12345|NAME\nMK\n>A|rna\nAC\n")
    assert [c.chain_id for c in structure.chains] == ["C", "B", "D", "A"]
    assert [c.entity_id for c in structure.chains] == [0, 0, 0, 1]
    assert [c.sym_id for c in structure.chains] == [0, 1, 2, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("MKT\n", "before the first '>'"),
        (">A|protein\nMKB\n", "letter 'B' at position 3"),
        (">A|dna\nACGU\n", "letter 'U' at position 4"),
        (">A|rna\nACGT\n", "letter 'T'"),
        (">A|protein\n>B|protein\nMK\n", "chain A: 0 residues"),
        (">A|protein\nMK\n>A|protein\nMK\n", "chain A is named twice"),
        (">A|smiles\nC(\n", "SMILES"),
        (">A|ccd\nQQQQQ\n", "'QQQQQ' is not a code"),
        (">A|protein\nM1K\n", "letter '1'"),
    ],
)
def test_bad_fasta_is_one_line_with_the_file(tmp_path, text, message):
    with pytest.raises(InputError) as caught:
        fasta(tmp_path, text)
    assert message in str(caught.value) and "in.fasta" in str(caught.value) and "\n" not in str(caught.value)


def test_yaml_copies_modifications_rings_and_ligands(tmp_path):
    structure = boltz(
        tmp_path,
        """
  - protein: {id: [A, B], sequence: MKTAY, cyclic: true, modifications: [{position: 1, ccd: MSE}]}
  - ligand: {id: L, ccd: [NAG, NAG]}
  - ligand: {id: [M, N], smiles: "CCO"}
  - rna: {id: R, sequence: ACGU}
  - ligand: {id: Z, ccd: ZN}
""",
    )
    assert [c.chain_id for c in structure.chains] == list("ABLMNRZ")
    assert [c.entity_id for c in structure.chains] == [0, 0, 1, 2, 2, 3, 4]
    assert structure.chains[0].sequence == ("MSE", "LYS", "THR", "ALA", "TYR")
    assert structure.chains[0].cyclic and not structure.chains[5].cyclic
    assert structure.chains[2].sequence == ("NAG", "NAG")
    features = featurize(structure)
    assert features.cyclic_period[0, :12].tolist() == [5] * 12
    assert features.modified[0].sum() == 2 * 8 and features.num_tokens == 2 * (8 + 4) + 2 * 14 + 2 * 3 + 4 + 1


def test_cyclic_chains_have_the_closing_bond_but_no_token_bond(tmp_path):
    ring = boltz(tmp_path, "  - protein: {id: A, sequence: GGGG, cyclic: true}\n")
    line = boltz(tmp_path, "  - protein: {id: A, sequence: GGGG}\n")
    extra = ring.atoms.bonds.as_set() - line.atoms.bonds.as_set()
    [(a, b, _)] = extra
    assert {ring.atoms.atom_name[a], ring.atoms.atom_name[b]} == {"N", "C"}
    assert {int(ring.residue_index[a]), int(ring.residue_index[b])} == {0, 3}
    assert featurize(ring).token_bonds.shape[1] == 0


def test_unlike_smiles_have_residue_names_of_their_own(tmp_path):
    structure = boltz(tmp_path, "  - ligand: {id: A, smiles: CCO}\n  - ligand: {id: [B, C], smiles: 'CC.OC'}\n")
    assert [(c.chain_id, c.sequence[0], c.label) for c in structure.chains] == [
        ("A", "LIG", "CCO"), ("B", "LIG2", "CC"), ("B2", "LIG3", "CO"), ("C", "LIG2", "CC"), ("C2", "LIG3", "CO"),
    ]  # fmt: skip


def test_keys_that_are_not_used_are_named_in_one_warning(tmp_path):
    path = text_file(
        tmp_path,
        "version: 1\nsequences:\n  - protein: {id: A, sequence: MK, msa: empty}\n"
        "  - protein: {id: B, sequence: MK, msa: x.a3m}\n"
        "properties: []\nconstraints: []\ntemplates: []\n",
        "in.yaml",
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read(path)
    [warning] = caught
    assert str(warning.message).endswith("keys not used: msa, properties")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("  - protein: {id: A}\n", "'sequence' must be letters"),
        ("  - protein: {sequence: MK}\n", "'id' must be"),
        ("  - protein: {id: A, sequence: MK, cyclic: maybe}\n", "'cyclic'"),
        ("  - protein: {id: A, sequence: MK, modifications: [{position: 3, ccd: MSE}]}\n", "position 3"),
        ("  - protein: {id: A, sequence: MK, modifications: [{position: 0, ccd: MSE}]}\n", "position 0"),
        ("  - protein: {id: A, sequence: MK, modifications: [{position: 1}]}\n", "modification needs"),
        ("  - protein: {id: A, sequence: MK, modifications: [{position: 1, ccd: QQQQQ}]}\n", "QQQQQ"),
        ("  - ligand: {id: A}\n", "either 'ccd' or 'smiles'"),
        ("  - ligand: {id: A, ccd: ATP, smiles: C}\n", "either 'ccd' or 'smiles'"),
        ("  - ligand: {id: A, ccd: NO}\n", "put it in quotes"),
        ("  - ligand: {id: A, ccd: []}\n", "not text"),
        ("  - glycan: {id: A}\n", "'glycan' is not one of"),
        ("  - protein\n", "one key of"),
        ("  - {protein: {id: A, sequence: M}, ligand: {id: B, ccd: ATP}}\n", "one key of"),
        ("  - protein: {id: [A, A], sequence: MK}\n", "named twice"),
        ("  []\n", "no list under"),
        ("  - protein: {id: A, sequence: 'MK\n", "not valid YAML"),
    ],
)
def test_bad_yaml_is_one_line_with_the_file(tmp_path, body, message):
    with pytest.raises(InputError) as caught:
        boltz(tmp_path, body)
    assert message in str(caught.value) and "in.yaml" in str(caught.value) and "\n" not in str(caught.value)


KEYS = ["protein", "ligand", "id", "sequence", "ccd", "smiles", "modifications", "cyclic"]
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(document=DOCUMENTS)
def test_any_document_is_read_or_refused_in_one_line(tmp_path_factory, document):
    import yaml

    path = tmp_path_factory.mktemp("y") / "in.yaml"
    path.write_text(yaml.safe_dump({"sequences": document}))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read(path)
    except InputError as error:
        assert "\n" not in str(error)
