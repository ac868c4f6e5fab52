"""Samples against a reference, through real files: what must be 0, what must not, and what is refused."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scipy.spatial.transform import Rotation

from frazil import data
from frazil.data.correspondence import correspondence
from frazil.data.write import write_cif, write_sdf
from frazil.errors import InputError
from frazil.evaluator import evaluate, sample_files

FILES = Path(__file__).parent / "data" / "files"
NMR = Path(data.__file__).parents[1] / "assets" / "1as5.cif.gz"
TURN = Rotation.from_euler("xyz", [0.3, 1.0, 2.0]).as_matrix()


@pytest.fixture(scope="module")
def peptide():
    return data.read(NMR)


def shown(report):
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(report.table())
    return console.export_text()


def test_a_moved_copy_of_a_model_is_that_model(peptide, tmp_path):
    for index in range(3):
        write_cif(tmp_path / f"sample_{index}.cif", peptide, peptide.coords[index + 4] @ TURN.T + 40)
    report = evaluate(tmp_path, NMR)
    assert [score.nearest.reference_model for score in report.samples] == [5, 6, 7]
    for score in report.samples:
        assert score.nearest.rmsd < 2e-3 and score.nearest.lddt == 1.0
        assert score.atoms == 185 and len(score.comparisons) == 14
        assert score.clashes == 0 and score.chirality_errors == 0
    # median 1.77, mean 1.64 over the 14 models
    assert report.reference_spread == pytest.approx(1.77, abs=0.01)


def test_the_ensemble_is_its_own_spread(peptide, tmp_path):
    write_cif(tmp_path / "all.cif", peptide, peptide.coords)
    report = evaluate(tmp_path / "all.cif", NMR)
    assert [score.model for score in report.samples] == list(range(1, 15))
    others = [min(c.rmsd for c in s.comparisons if c.reference_model != s.model) for s in report.samples]
    assert np.median(others) == pytest.approx(report.reference_spread, abs=1e-3)


def test_a_mirror_image_has_every_centre_wrong(peptide, tmp_path):
    write_cif(tmp_path / "sample_0.cif", peptide, peptide.coords[0] * np.float32([1, 1, -1]))
    (score,) = evaluate(tmp_path, NMR).samples
    assert score.chirality_errors == 25
    assert score.nearest.rmsd > 1.0 and score.clashes == 0
    # distances do not see the difference, but for the atoms of rings that were matched by position
    assert score.comparisons[0].lddt > 0.97


def test_flipped_rings_and_swapped_oxygens_cost_nothing(peptide, tmp_path):
    coords = peptide.coords[0].copy()
    for residue, pairs in {"TYR": (("CD1", "CD2"), ("CE1", "CE2")), "ARG": (("NH1", "NH2"),)}.items():
        for a, b in pairs:
            first, second = ((peptide.atoms.res_name == residue) & (peptide.atoms.atom_name == name) for name in (a, b))
            coords[first], coords[second] = coords[second].copy(), coords[first].copy()
    assert not np.allclose(coords, peptide.coords[0])
    write_cif(tmp_path / "sample_0.cif", peptide, coords)
    (score,) = evaluate(tmp_path, NMR).samples
    assert score.nearest.rmsd < 2e-3 and score.nearest.lddt == 1.0


def test_swapped_chains_and_ions_cost_nothing(tmp_path):
    structure = data.read(FILES / "1gbt.cif.gz")
    coords = np.where(np.isnan(structure.coords[0]), structure.ref_pos, structure.coords[0])
    sulfates = [i for i, chain in enumerate(structure.chains) if chain.sequence == ("SO4",)]
    first, second = (structure.chain_index == index for index in sulfates)
    coords[first], coords[second] = coords[second].copy(), coords[first].copy()
    write_cif(tmp_path / "sample_0.cif", structure, coords)
    (score,) = evaluate(tmp_path, FILES / "1gbt.cif.gz").samples
    assert score.nearest.rmsd < 2e-3
    names = [part.name for part in score.nearest.parts]
    assert len(set(names)) == len(names) and names[0] == "A"
    # of the sulfates only the sulphur is resolved, which says nothing about their shape
    assert {part.rmsd for part in score.nearest.parts if "SO4" in part.name} == {None}


def test_a_ligand_in_another_atom_order_and_naming(tmp_path):
    reference, sample = data.read("AIN"), data.read("OC(=O)c1ccccc1OC(C)=O")
    write_cif(tmp_path / "reference.cif", reference, reference.ref_pos)
    target = data.read(tmp_path / "reference.cif")
    coords = np.empty_like(sample.ref_pos)
    coords[correspondence(sample, target)] = target.coords[0]
    (tmp_path / "out").mkdir()
    write_sdf(tmp_path / "out" / "samples.sdf", sample, np.stack([coords, sample.ref_pos]))
    report = evaluate(tmp_path / "out", tmp_path / "reference.cif")
    first, second = report.samples
    assert first.nearest.rmsd < 2e-3 and first.nearest.lddt == 1.0
    assert second.nearest.rmsd > 0.05 and (second.file, second.model) == ("samples.sdf", 2)


def test_files_say_what_the_report_says(peptide, tmp_path):
    inner = tmp_path / "1as5"
    inner.mkdir()
    for index in (10, 9, 2):
        write_cif(inner / f"sample_{index}.cif", peptide, peptide.coords[0] + np.float32(index))
    calls = []
    report = evaluate(tmp_path, NMR, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 3), (2, 3), (3, 3)]
    assert [score.file for score in report.samples] == ["sample_2.cif", "sample_9.cif", "sample_10.cif"]

    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    found = json.loads((inner / "evaluation.json").read_text(), parse_constant=refuse)
    assert found["reference_models"] == 14 and len(found["samples"]) == 3
    assert found["summary"]["median_rmsd"] == pytest.approx(0, abs=2e-3)
    with (inner / "evaluation.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 14
    assert sum(int(row["nearest"]) for row in rows) == 3
    text = shown(report)
    assert "sample_10.cif" in text and "median" in text and "1.77" in text


def test_out_goes_where_it_is_told(peptide, tmp_path):
    write_cif(tmp_path / "sample_0.cif", peptide, peptide.coords[0])
    evaluate([tmp_path / "sample_0.cif"], NMR, tmp_path / "deep" / "er")
    assert {file.name for file in (tmp_path / "deep" / "er").iterdir()} == {"evaluation.json", "evaluation.csv"}
    assert not (tmp_path / "evaluation.json").exists()


def test_atoms_that_the_reference_lacks_do_not_count_and_nothing_is_nan(tmp_path):
    structure = data.read(FILES / "4cup.cif.gz")
    coords = np.where(np.isnan(structure.coords[0]), structure.ref_pos, structure.coords[0])
    write_cif(tmp_path / "sample_0.cif", structure, coords)
    (score,) = evaluate(tmp_path, FILES / "4cup.cif.gz").samples
    assert not structure.resolved.all()
    assert score.atoms == len(structure.atoms) and score.nearest.rmsd < 2e-3
    assert "NaN" not in (tmp_path / "evaluation.json").read_text()


def test_a_sample_without_the_ligands_says_so(tmp_path):
    structure = data.read(FILES / "4cup.cif.gz")
    lone = tmp_path / "lone.fasta"
    letters = {"ALA": "A", "ARG": "R", "ASN": "N", "ASP": "D", "CYS": "C", "GLN": "Q", "GLU": "E", "GLY": "G",
               "HIS": "H", "ILE": "I", "LEU": "L", "LYS": "K", "MET": "M", "PHE": "F", "PRO": "P", "SER": "S",
               "THR": "T", "TRP": "W", "TYR": "Y", "VAL": "V"}  # fmt: skip
    lone.write_text(">A|protein\n" + "".join(letters[name] for name in structure.chains[0].sequence) + "\n")
    protein = data.read(lone)
    write_cif(tmp_path / "sample_0.cif", protein, np.random.default_rng(0).normal(size=protein.ref_pos.shape, scale=9))
    report = evaluate(tmp_path / "sample_0.cif", FILES / "4cup.cif.gz")
    assert len(report.left_out) >= 1
    ligands = [part for part in report.samples[0].nearest.parts if part.name != "A"]
    assert ligands and all(part.rmsd is None for part in ligands)
    assert report.samples[0].nearest.rmsd > 5


def test_bad_input_is_one_line(peptide, tmp_path):
    write_cif(tmp_path / "sample_0.cif", peptide, peptide.coords[0])
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "sample_0.cif").write_text("hello")
    (tmp_path / "two").mkdir()
    for name in ("a", "b"):
        (tmp_path / "two" / name).mkdir()
        write_cif(tmp_path / "two" / name / "sample_0.cif", peptide, peptide.coords[0])
    fasta = tmp_path / "x.fasta"
    fasta.write_text(">A|protein\nMKV\n")
    cases = [
        (tmp_path / "absent", NMR, "no such file"),
        (tmp_path / "empty", NMR, "no sample_"),
        (tmp_path / "notes", NMR, "sample_0.cif"),
        (tmp_path / "two", NMR, "a, b"),
        ([], NMR, "no samples"),
        (tmp_path / "sample_0.cif", tmp_path / "absent.cif", "absent.cif"),
        (tmp_path / "sample_0.cif", fasta, "without coordinates"),
        (fasta, NMR, "without coordinates"),
        (tmp_path / "sample_0.cif", FILES / "1ubi.pdb.gz", "no partner"),
    ]
    for samples, reference, words in cases:
        with pytest.raises(InputError) as caught:
            evaluate(samples, reference, tmp_path / "out")
        assert words in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_scores_of_an_sdf_are_in_the_order_of_its_records(tmp_path):
    """The second record is the mirror image, to the reader another molecule."""
    alanine = data.read("C[C@H](N)C(=O)O")
    mirrored = alanine.ref_pos * np.float32([1, 1, -1])
    write_sdf(tmp_path / "reference.sdf", alanine, alanine.ref_pos[None])
    write_sdf(tmp_path / "samples.sdf", alanine, np.stack([alanine.ref_pos, mirrored, alanine.ref_pos @ TURN.T + 3]))
    report = evaluate(tmp_path / "samples.sdf", tmp_path / "reference.sdf")
    assert [score.model for score in report.samples] == [1, 2, 3]
    assert [score.chirality_errors for score in report.samples] == [0, 1, 0]
    assert [score.nearest.rmsd > 0.1 for score in report.samples] == [False, True, False]


def test_a_narrow_table_loses_no_word(peptide, tmp_path):
    write_cif(tmp_path / "sample_0.cif", peptide, peptide.coords[0])
    console = Console(width=40, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(evaluate(tmp_path, NMR).table())
    assert "…" not in console.export_text()


def test_an_output_folder_that_cannot_be_made(peptide, tmp_path):
    write_cif(tmp_path / "sample_0.cif", peptide, peptide.coords[0])
    with pytest.raises(InputError, match="cannot be made"):
        evaluate(tmp_path, NMR, tmp_path / "sample_0.cif" / "out")


def test_a_folder_of_other_structure_files_is_read_too(peptide, tmp_path):
    write_cif(tmp_path / "model_1.cif", peptide, peptide.coords[0])
    (tmp_path / "notes.txt").write_text("hello")
    assert [file.name for file in sample_files(tmp_path)] == ["model_1.cif"]
