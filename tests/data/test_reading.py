"""What a source is told to be, and every way in which it can be bad."""

import gzip
import io
import warnings

import numpy as np
import pytest
from biotite.structure.io.pdbx import BinaryCIFFile, CIFFile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pdb_text import FILES, atom_line, peptide_lines, unzipped, write

from frazil.data import read, read_all
from frazil.data.files import safe_name, stem_of, suffix_of
from frazil.data.reading import SUFFIXES
from frazil.errors import InputError


def refused(source):
    with pytest.raises(InputError) as caught:
        read(source)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 500
    return message


def as_bcif(cif_path, path):
    from biotite.structure.io.pdbx import BinaryCIFBlock, BinaryCIFCategory, BinaryCIFColumn

    source = CIFFile.read(io.StringIO(unzipped(cif_path))).block
    wanted = ("atom_site", "entity_poly", "entity_poly_seq", "pdbx_poly_seq_scheme", "struct_conn")
    block = BinaryCIFBlock(
        {
            name: BinaryCIFCategory(
                {
                    key: BinaryCIFColumn(column.as_array(str), column.mask.array if column.mask else None)
                    for key, column in source[name].items()
                }
            )
            for name in wanted
            if name in source
        }
    )
    BinaryCIFFile({"x": block}).write(path)
    return path


def test_plain_and_gzipped_files_of_every_structure_format_agree(tmp_path):
    plain = tmp_path / "x.cif"
    plain.write_bytes(gzip.decompress((FILES / "4cup.cif.gz").read_bytes()))
    binary = as_bcif(FILES / "4cup.cif.gz", tmp_path / "x.bcif")
    packed = tmp_path / "x.bcif.gz"
    packed.write_bytes(gzip.compress(binary.read_bytes()))
    truth = read(FILES / "4cup.cif.gz")
    for path in (plain, binary, packed):
        other = read(path)
        assert np.array_equal(truth.coords, other.coords, equal_nan=True)
        assert truth.atoms.atom_name.tolist() == other.atoms.atom_name.tolist()
        assert truth.atoms.bonds.as_set() == other.atoms.bonds.as_set()
        assert [c.sequence for c in truth.chains] == [c.sequence for c in other.chains]


def test_reading_is_deterministic():
    first, second = read(FILES / "2gdi.pdb.gz"), read(FILES / "2gdi.pdb.gz")
    assert np.array_equal(first.coords, second.coords, equal_nan=True) and np.array_equal(first.ref_pos, second.ref_pos)


def test_names_and_suffixes():
    from pathlib import Path

    assert suffix_of(Path("A.PDB.GZ")) == ".pdb" and suffix_of(Path("a.tar.gz")) == ".tar"
    assert stem_of(Path("x/My file.v2.cif.gz")) == "My_file.v2"
    assert (
        safe_name("../../etc/passwd") == "etc_passwd"
        and safe_name("...") == "unnamed"
        and len(safe_name("x" * 500)) == 80
    )


def test_folders_files_codes_and_smiles_together(tmp_path):
    (tmp_path / "in").mkdir()
    write(tmp_path / "in", peptide_lines(["ALA"]), "b.pdb")
    (tmp_path / "in" / "deeper").mkdir()
    write(tmp_path / "in" / "deeper", peptide_lines(["GLY"]), "b.pdb")
    (tmp_path / "in" / "notes.txt").write_text("nothing")
    structures = read_all([tmp_path / "in", "ATP", "CC(=O)O"])
    assert [s.name for s in structures][:3] == ["b", "b_2", "ATP"]
    assert len(structures) == 4 and len({s.name for s in structures}) == 4


def test_sources_that_are_nothing(tmp_path):
    assert "no such file" in refused(tmp_path / "none.cif")
    assert "no such file" in refused("none.pdb.gz")
    assert "no such file" in refused("./none")
    message = refused("Q(Q")
    assert "file" in message and "Chemical Component Dictionary" in message and "SMILES" in message
    assert "empty input" in refused("")
    with pytest.raises(InputError, match="empty input"):
        read_all([""])
    assert "folder" in refused(tmp_path)
    refused("x" * 5000)
    (tmp_path / "x.docx").write_bytes(b"PK")
    assert ".docx" in refused(tmp_path / "x.docx")
    with pytest.raises(InputError, match="no file in this folder"):
        read_all([tmp_path])


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "content", [b"", b"   \n\n", b"not a file of this kind\n", b"\x00\x01\x02" * 50, b"\xff\xfe" * 40]
)
def test_foreign_content_under_every_suffix(tmp_path, suffix, content):
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(content)
    assert f"bad{suffix}" in refused(path)
    path = tmp_path / f"bad{suffix}.gz"
    path.write_bytes(gzip.compress(content))
    assert "bad" in refused(path)


@pytest.mark.parametrize("name", ["1ubi.pdb.gz", "4cup.cif.gz"])
def test_gzip_cut_short_or_damaged(tmp_path, name):
    whole = (FILES / name).read_bytes()
    path = tmp_path / name
    for cut in (1, 5, 11, len(whole) // 2, len(whole) - 4):
        path.write_bytes(whole[:cut])
        assert name in refused(path)
    path.write_bytes(whole[: len(whole) // 2] + b"\x00\xff" * 20 + whole[len(whole) // 2 + 40 :])
    assert name in refused(path)


def test_mmcif_without_atoms(tmp_path):
    path = tmp_path / "x.cif"
    path.write_text("data_x\n_entry.id x\n")
    assert "no atoms" in refused(path)


def test_all_atoms_unresolved_or_only_waters(tmp_path):
    assert "no heavy atom" in refused(write(tmp_path, [atom_line("O", "HOH", 1, hetero=True)]))
    assert "no heavy atom" in refused(write(tmp_path, [atom_line("H1", "ALA", 1)]))
    path = tmp_path / "x.cif"
    fields = [
        "group_PDB",
        "label_atom_id",
        "label_comp_id",
        "label_asym_id",
        "label_seq_id",
        "type_symbol",
        "Cartn_x",
        "Cartn_y",
        "Cartn_z",
    ]
    path.write_text("data_x\nloop_\n" + "".join(f"_atom_site.{f}\n" for f in fields) + "ATOM CA ALA A 1 C ? ? ?\n")
    assert "no heavy atom" in refused(path)


def test_a_sparse_mmcif_is_enough(tmp_path):
    path = tmp_path / "x.cif"
    fields = [
        "label_atom_id",
        "label_comp_id",
        "label_asym_id",
        "label_seq_id",
        "type_symbol",
        "Cartn_x",
        "Cartn_y",
        "Cartn_z",
    ]
    rows = [
        f"{name} GLY A {k} {name[0]} {k}.0 {i}.0 0.0" for k in (1, 2) for i, name in enumerate(["N", "CA", "C", "O"])
    ]
    path.write_text("data_x\nloop_\n" + "".join(f"_atom_site.{f}\n" for f in fields) + "\n".join(rows) + "\n")
    structure = read(path)
    assert structure.chains[0].sequence == ("GLY", "GLY") and structure.resolved.all()


def test_a_single_atom_is_a_structure(tmp_path):
    structure = read(write(tmp_path, [atom_line("ZN", "ZN", 1, (1, 2, 3), element="ZN", hetero=True)]))
    assert structure.coords.tolist() == [[[1.0, 2.0, 3.0]]]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=300), suffix=st.sampled_from(SUFFIXES), packed=st.booleans())
def test_random_bytes_are_refused_in_one_line(tmp_path, content, suffix, packed):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(gzip.compress(content) if packed else content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            read(path)
        except InputError as error:
            assert "\n" not in str(error)


SEEDS = {
    ".pdb": "\n".join(["SEQRES   1 A    3  ALA GLY CYS", *peptide_lines(["ALA", "GLY", "CYS"]), "TER", "END"]).encode(),
    ".sdf": (FILES / "1s3v_ligand.sdf").read_bytes(),
    ".fasta": b">A|protein\nMKTAY\n>B|smiles\nCC(=O)O\n>C|rna\nACGU\n",
    ".yaml": b"sequences:\n  - protein: {id: [A, B], sequence: MKTAY, cyclic: true}\n  - ligand: {id: L, ccd: ATP}\n",
    ".cif": b"data_x\nloop_\n" + b"".join(b"_atom_site." + field + b"\n" for field in (
        b"label_atom_id", b"label_comp_id", b"label_asym_id", b"label_seq_id", b"type_symbol", b"Cartn_x", b"Cartn_y",
        b"Cartn_z", b"auth_seq_id",
    )) + b"N GLY A 1 N 1.0 2.0 3.0 5\nCA GLY A 1 C 2.0 2.0 3.0 5\n"
    + b"C GLY A 1 C 3.0 2.0 3.0 5\nZN ZN B . ZN 1.0 9.0 9.0 6\n",
}  # fmt: skip


INSERTED = [b"", b"?", b"\n", b"-", b"nan", b"9999999999", b"\xff", b"'", b"HOH", b" "]


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    suffix=st.sampled_from(sorted(SEEDS)),
    edits=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 12), st.sampled_from(INSERTED)), min_size=1, max_size=6),
)
def test_damaged_files_are_read_or_refused_in_one_line(tmp_path, suffix, edits):
    content = SEEDS[suffix]
    for where, removed, inserted in edits:
        at = int(where * len(content))
        content = content[:at] + inserted + content[at + removed :]
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for structure in read_all([path]):
                assert np.isfinite(structure.ref_pos).all()
                assert np.isfinite(structure.coords[structure.resolved]).all()
        except InputError as error:
            assert "\n" not in str(error)
