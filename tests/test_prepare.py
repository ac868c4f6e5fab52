"""Truths about `frazil prepare`: what can be used is stored once, what cannot is listed, no mishap loses anything."""

from __future__ import annotations

import csv
import gzip
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from rdkit import Chem

from frazil.data import featurize, read
from frazil.data.molecules import embed, mol_from_smiles
from frazil.data.store import Record, Refusal, StoredStructure, StructureStore
from frazil.data.targets import ligand_of_record, stored_ligand
from frazil.errors import InputError
from frazil.preparer import PrepareSettings, prepare
from frazil.preparer import run as preparing
from frazil.preparer.crew import Crew
from frazil.preparer.entries import DictionaryLigand, SdfRecord
from frazil.preparer.ids import ids_of
from frazil.preparer.sources import sources_of, uniquely_named
from test_cli import fails, frazil

HERE = Path(__file__).parent
STRUCTURES = HERE / "data" / "files"
ONE = PrepareSettings(conformers=2, workers=1)
SMILES = ("CCO", "CC(=O)N", "C[C@H](N)C(=O)O", "c1ccccc1O", "CCN")
TWO_COPIES = ("a", "a", "b")


def record(smiles: str, title: str, seed: int = 0) -> str:
    mol = mol_from_smiles(smiles)
    conformer = Chem.Conformer(mol.GetNumAtoms())
    conformer.SetPositions(embed(mol, seed).astype(np.float64))
    mol.AddConformer(conformer)
    mol.SetProp("_Name", title)
    return Chem.MolToMolBlock(mol) + "$$$$\n"


def flat(smiles: str, title: str) -> str:
    mol = mol_from_smiles(smiles)
    mol.SetProp("_Name", title)
    return Chem.MolToMolBlock(mol) + "$$$$\n"


@pytest.fixture
def sdf(tmp_path: Path) -> Path:
    """Five ligands, named l0 to l4."""
    path = tmp_path / "ligands.sdf"
    path.write_text("".join(record(smiles, f"l{number}") for number, smiles in enumerate(SMILES)))
    return path


def failures(store: Path) -> dict[str, str]:
    with (store / "failed.csv").open() as file:
        return {row["name"]: row["reason"] for row in csv.DictReader(file)}


def test_every_record_is_stored_with_its_coordinates(sdf: Path, tmp_path: Path) -> None:
    done = prepare([str(sdf)], tmp_path / "store", PrepareSettings(conformers=3, workers=2))
    assert (done.num_stored, done.num_new, done.num_failed, done.num_outside) == (5, 5, 0, 0)
    store = StructureStore(tmp_path / "store")
    assert store.names == ("l0", "l1", "l2", "l3", "l4")
    for stored, smiles, name in zip(store.select(range(5)), SMILES, store.names, strict=True):
        expected = stored_ligand(ligand_of_record(record(smiles, name), name), 3, origin="")
        assert stored.label == expected.label
        assert torch.equal(stored.features.coords, expected.features.coords)
        assert torch.equal(stored.conformers, expected.conformers)
        assert stored.origin == f"{sdf}:{int(name[1]) + 1}"
    assert not (tmp_path / "store" / "failed.csv").exists()


def test_reference_conformers_do_not_come_from_the_target(sdf: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.sdf"
    other.write_text("".join(record(smiles, f"l{number}", 7) for number, smiles in enumerate(SMILES)))
    stores = []
    for number, path in enumerate((sdf, other)):
        prepare([str(path)], tmp_path / str(number), ONE)
        stores.append(StructureStore(tmp_path / str(number)))
    first, second = (store[2] for store in stores)
    assert torch.equal(first.conformers, second.conformers)
    assert not torch.allclose(first.features.coords, second.features.coords)


def test_a_second_run_does_nothing(sdf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sdf.write_text(sdf.read_text() + flat("CC", "flat"))
    first = prepare([str(sdf)], tmp_path / "store", ONE)
    before = (tmp_path / "store" / "data.mdb").read_bytes()
    monkeypatch.setattr(preparing, "Crew", None)
    monkeypatch.chdir(tmp_path)
    second = prepare(["ligands.sdf"], tmp_path / "store", ONE)
    assert (first.num_new, second.num_new) == (5, 0)
    assert second.num_stored == 5 and second.num_failed == 1
    assert (tmp_path / "store" / "data.mdb").read_bytes() == before


def test_a_run_over_more_adds_what_is_missing(sdf: Path, tmp_path: Path) -> None:
    prepare([str(sdf)], tmp_path / "store", ONE)
    more = tmp_path / "more.sdf"
    more.write_text(record("CCCC", "l0") + record("CCCCC", "new"))
    done = prepare([str(sdf), str(more)], tmp_path / "store", ONE)
    assert (done.num_stored, done.num_new) == (7, 2)
    assert StructureStore(tmp_path / "store").names == ("l0", "l0_2", "l1", "l2", "l3", "l4", "new")


def test_bad_records_are_listed_and_the_others_stored(sdf: Path, tmp_path: Path) -> None:
    bad = flat("CC", "flat") + record("CC(=O)[O-].[Na+]", "salt") + "letter\n\n\nDear reader\n$$$$\n"
    sdf.write_text(bad + sdf.read_text() + record("CCO", "cut")[:150])
    result = frazil("prepare", sdf, "--out", tmp_path / "store", "--workers", 1)
    assert result.exit_code == 0, result.output
    assert "5 structures (5 new), 4 failed" in result.stdout and "failed.csv" in result.stdout
    reasons = failures(tmp_path / "store")
    assert "3-D" in reasons["flat"] and "2 fragments" in reasons["salt"]
    assert set(reasons) == {"flat", "salt", "letter", "cut"}
    assert "5 structures (0 new), 4 failed" in frazil("prepare", sdf, "--out", tmp_path / "store").stdout


def test_failures_are_tried_again_when_asked(sdf: Path, tmp_path: Path) -> None:
    good = sdf.read_text()
    sdf.write_text(flat("CCO", "l0") + good)
    prepare([str(sdf)], tmp_path / "store", ONE)
    sdf.write_text(record("CCO", "mended") + good)
    assert prepare([str(sdf)], tmp_path / "store", ONE).num_new == 0
    done = prepare([str(sdf)], tmp_path / "store", PrepareSettings(2, workers=1, retry_failed=True))
    assert (done.num_new, done.num_failed) == (1, 0)
    assert not (tmp_path / "store" / "failed.csv").exists()


def test_nothing_that_can_be_used_is_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.sdf").write_text(flat("CCO", "one") + flat("CC", "two"))
    line = fails(2, "prepare", tmp_path / "x.sdf", "--out", tmp_path / "store", "--workers", 1)
    assert "nothing could be prepared of 2 entries" in line and "3-D" in line
    assert set(failures(tmp_path / "store")) == {"one", "two"}


def test_limits_of_size_leave_out_and_can_be_widened(sdf: Path, tmp_path: Path) -> None:
    narrow = prepare([str(sdf)], tmp_path / "store", PrepareSettings(2, min_atoms=4, max_atoms=6, workers=1))
    assert (narrow.num_stored, narrow.num_outside, narrow.num_failed) == (2, 3, 0)
    assert "3 outside the limits" in narrow.text()
    wide = prepare([str(sdf)], tmp_path / "store", ONE)
    assert (wide.num_stored, wide.num_new, wide.num_outside) == (5, 3, 0)


def test_titles_need_not_be_unique_nor_there(tmp_path: Path) -> None:
    path = tmp_path / "x.sdf"
    path.write_text("".join(record("CCO", title) for title in ("same", "same", "", "../../etc/a b", "same_2")))
    prepare([str(path)], tmp_path / "store", ONE)
    assert set(StructureStore(tmp_path / "store").names) == {"same", "same_2", "same_2_2", "x_3", "etc_a_b"}


def test_names_are_unique_beside_those_taken() -> None:
    entries = (DictionaryLigand(name, str(number)) for number, name in enumerate(TWO_COPIES))
    assert [entry.name for entry in uniquely_named(entries, frozenset({"a", "a_2"}))] == ["a_3", "a_4", "b"]


def test_gzipped_files_are_read_and_cut_ones_up_to_the_cut(sdf: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole.sdf.gz"
    whole.write_bytes(gzip.compress(sdf.read_bytes()))
    assert prepare([str(whole)], tmp_path / "one", ONE).num_stored == 5
    noise = "".join(f"> <n{i}>\n{os.urandom(40).hex()}\n\n" for i in range(1000))
    cut = tmp_path / "cut.sdf.gz"
    cut.write_bytes(gzip.compress((sdf.read_text().replace("$$$$", noise + "$$$$")).encode())[:-50_000])
    done = prepare([str(cut)], tmp_path / "two", ONE)
    assert 0 < done.num_stored < 5 and done.num_failed == 1
    assert f"cannot be read after record {done.num_stored}" in failures(tmp_path / "two")["cut"]


def test_folders_hold_structures_and_ligands(sdf: Path, tmp_path: Path) -> None:
    expected = featurize(read(STRUCTURES / "1ubi.pdb.gz"))
    folder = tmp_path / "data"
    (folder / "below").mkdir(parents=True)
    shutil.copy(STRUCTURES / "1ubi.pdb.gz", folder)
    shutil.copy(sdf, folder / "below")
    (folder / "letter.cif").write_text("Dear reader")
    (folder / "empty.sdf").write_text("")
    (folder / "notes.txt").write_text("not looked at")
    done = prepare([str(folder)], tmp_path / "store", ONE)
    assert (done.num_stored, done.num_failed) == (6, 2)
    assert set(failures(tmp_path / "store")) == {"letter", "empty"}
    store = StructureStore(tmp_path / "store")
    stored = store[store.names.index("1ubi")]
    assert torch.equal(stored.features.coords, expected.coords)
    assert torch.equal(stored.features.token_bonds, expected.token_bonds)
    assert torch.equal(stored.with_conformer(1).ref_pos, expected.ref_pos)


def test_ligands_of_the_dictionary_by_a_list(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("# some\nIBP\n\nATP  # energy\nNOSUCH\nIBP\n")
    done = prepare(["ccd"], tmp_path / "store", ONE, ids=tmp_path / "ids.txt")
    assert (done.num_stored, done.num_failed) == (2, 1)
    assert StructureStore(tmp_path / "store").names == ("ATP", "IBP")
    assert failures(tmp_path / "store") == {"NOSUCH": "no component of the Chemical Component Dictionary"}


def test_the_default_list_is_the_train_part_of_the_package() -> None:
    counts = [len(sources_of(["ccd"], None, split).codes) for split in (None, "train", "val", "test")]
    assert counts == [33287, 33287, 839, 500]


def test_lists_are_tables_with_parts_or_plain(tmp_path: Path) -> None:
    table = tmp_path / "x.tsv"
    table.write_text("created\tccd_id\tsplit\n2020\tAAA\ttrain\n2021\tBBB\tval\n2021\tCCC\ttrain\n")
    assert ids_of(table) == ("AAA", "CCC")
    assert ids_of(table, "val") == ("BBB",)
    plain = tmp_path / "x.csv"
    plain.write_text("name,smiles\nl1,CCO\nl3,CC\n")
    assert ids_of(plain) == ("l1", "l3")


def test_a_list_selects_from_files_too(sdf: Path, tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("l1\nl3\nl9\n")
    with pytest.warns(UserWarning, match=r"1 ids are not in the data, such as l9"):
        prepare([str(sdf)], tmp_path / "store", ONE, ids=tmp_path / "ids.txt")
    assert StructureStore(tmp_path / "store").names == ("l1", "l3")


@dataclass(frozen=True)
class Deadly:
    """An entry of which the process dies."""

    name: str
    origin: str

    def structure(self, settings: PrepareSettings) -> StoredStructure:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


@dataclass(frozen=True)
class Unforeseen:
    """An entry that raises what no reader raises."""

    name: str
    origin: str

    def structure(self, settings: PrepareSettings) -> StoredStructure:
        raise ZeroDivisionError("of\nits own")


def test_an_entry_that_kills_its_process_is_refused_and_the_others_are_done() -> None:
    good = [SdfRecord(f"u{number}", f"u{number}", record("CCO", "")) for number in range(30)]
    entries = [*good[:13], Deadly("d1", "d1"), *good[13:20], Unforeseen("z", "z"), *good[20:], Deadly("d2", "d2")]
    outcomes = dict(Crew(PrepareSettings(workers=2)).work(iter(entries)))
    assert set(outcomes) == {entry.name for entry in entries}
    assert {name for name, outcome in outcomes.items() if isinstance(outcome, Record)} == {e.name for e in good}
    for name in ("d1", "d2"):
        refusal = outcomes[name]
        assert isinstance(refusal, Refusal) and "died" in refusal.reason
    assert outcomes["z"] == Refusal("z", "z", "ZeroDivisionError: of its own")


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 ligands, work for some seconds."""
    path = tmp_path_factory.mktemp("many") / "many.sdf"
    text = record("CC(C)Cc1ccc(cc1)[C@H](C)C(=O)NCCCN", "{}")
    path.write_text("".join(text.replace("{}", f"m{number:03}") for number in range(150)))
    return path


SLOW_BATCHES = """
import sys
from frazil.cli import main
from frazil.preparer import run
run.BATCH = 10
sys.argv = ["frazil", "prepare", *sys.argv[1:]]
main()
"""


def begun(many: Path, store: Path) -> subprocess.Popen[str]:
    """A run in a process group of its own, of which something is stored."""
    words = [sys.executable, "-c", SLOW_BATCHES, str(many), "--out", str(store), "--workers", "2"]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
    until = time.monotonic() + 240
    while time.monotonic() < until and process.poll() is None:
        time.sleep(0.05)
        try:
            if len(StructureStore(store)):
                return process
        except InputError:
            # not made yet
            continue
    raise AssertionError(process.communicate())


def alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
def test_a_killed_run_leaves_a_store_and_goes_on(many: Path, tmp_path: Path) -> None:
    process = begun(many, tmp_path / "store")
    process.kill()
    process.communicate()
    until = time.monotonic() + 60
    while alive(process.pid) and time.monotonic() < until:
        time.sleep(0.1)
    assert not alive(process.pid), "its workers are still there"
    store = StructureStore(tmp_path / "store")
    stored = len(store)
    assert 0 < stored < 150
    first = store[0]
    done = prepare([str(many)], tmp_path / "store", PrepareSettings(2, workers=2))
    assert (done.num_stored, done.num_new, done.num_failed) == (150, 150 - stored, 0)
    whole = StructureStore(tmp_path / "store")
    assert whole.names == tuple(f"m{number:03}" for number in range(150))
    assert torch.equal(whole[whole.names.index(store.names[0])].conformers, first.conformers)


@pytest.mark.slow
def test_an_interrupted_run_says_so_and_keeps_what_is_done(many: Path, tmp_path: Path) -> None:
    process = begun(many, tmp_path / "store")
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert [line for line in errors.splitlines() if line.startswith("error: ")] == [
        "error: interrupted; finished files are whole"
    ]
    assert "Traceback" not in errors
    assert 0 < len(StructureStore(tmp_path / "store")) < 150


@pytest.mark.slow
def test_a_second_run_at_the_same_time_is_refused(many: Path, tmp_path: Path) -> None:
    process = begun(many, tmp_path / "store")
    assert "another process is writing" in fails(2, "prepare", many, "--out", tmp_path / "store")
    process.kill()
    process.communicate()


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_the_run_goes_on_later(many: Path, tmp_path: Path) -> None:
    def little_space() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))

    words = [sys.executable, "-c", SLOW_BATCHES, str(many), "--out", str(tmp_path / "store")]
    ended = subprocess.run(words, capture_output=True, text=True, preexec_fn=little_space, check=False)
    assert ended.returncode == 2, ended.stderr
    errors = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "cannot be written" in errors[0] and "Traceback" not in ended.stderr
    stored = len(StructureStore(tmp_path / "store"))
    assert 0 < stored < 150
    assert prepare([str(many)], tmp_path / "store").num_new == 150 - stored


BAD_WORDS = {
    "missing file": (("nothing.sdf",), "nothing.sdf"),
    "unknown kind": ((str(HERE / "test_prepare.py"),), "unknown kind"),
    "empty folder": ((str(HERE / "nn"),), "no file in this folder"),
    "no such split": (("ccd", "--split", "dev"), "no split 'dev'; there is test, train, val"),
    "split without a list": ((str(STRUCTURES), "--split", "val"), "needs --ids"),
    "missing list": (("ccd", "--ids", "nothing.txt"), "nothing.txt"),
    "no conformers": (("ccd", "--conformers", 0), "--conformers 0"),
    "no workers": (("ccd", "--workers", 0), "--workers 0"),
    "fewer than no workers": (("ccd", "--workers", -1), "--workers -1"),
    "crossed limits": (("ccd", "--min-atoms", 9, "--max-atoms", 8), "--max-atoms 8: is below --min-atoms 9"),
}


@pytest.mark.parametrize("case", BAD_WORDS)
def test_bad_options_are_one_line(tmp_path: Path, case: str) -> None:
    words, expected = BAD_WORDS[case]
    assert expected in fails(2, "prepare", *words, "--out", tmp_path / "store")
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("source", "out"),
    [("sdfs", "sdfs"), ("sdfs/a.sdf", "sdfs"), ("sdfs", "."), ("sdfs", "link")],
)
def test_a_store_is_not_written_over_what_it_is_made_of(
    sdf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, out: str
) -> None:
    folder = tmp_path / "sdfs"
    folder.mkdir()
    sdf.rename(folder / "a.sdf")
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    line = fails(2, "prepare", source, "--out", out)
    assert f"--out {out}: holds its own input {source}" in line
    assert [path.name for path in folder.iterdir()] == ["a.sdf"] and not (tmp_path / "data.mdb").exists()


def test_bad_lists_are_one_line(tmp_path: Path) -> None:
    for name, text, expected in (
        ("none.txt", "# nothing\n", "lists no id"),
        ("none.tsv", "ccd_id\tsplit\n", "no split 'train'"),
        ("flat.tsv", "ccd_id\nAAA\n", "needs a column split"),
        ("flat.txt", "AAA\n", "needs a .tsv or .csv"),
    ):
        (tmp_path / name).write_text(text)
        split = () if "none" in name else ("--split", "val")
        words = ("prepare", "ccd", "--ids", tmp_path / name, *split, "--out", tmp_path / "store")
        line = fails(2, *words)
        assert expected in line and name in line


def test_other_conformers_than_the_stored_ones_are_refused(sdf: Path, tmp_path: Path) -> None:
    prepare([str(sdf)], tmp_path / "store", ONE)
    line = fails(2, "prepare", sdf, "--out", tmp_path / "store", "--conformers", 3)
    assert "prepared with 2 conformers" in line
    assert len(StructureStore(tmp_path / "store")) == 5


def test_help_fits_a_screen_and_has_an_example() -> None:
    result = frazil("prepare", "--help")
    assert result.exit_code == 0
    assert len(result.output.splitlines()) <= 30
    assert max(map(len, result.output.splitlines())) <= 110
    assert "Example: frazil" in result.output


def test_progress_is_told_with_the_time_left(sdf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frazil.progress.LINE_SECONDS", 0.0)
    result = frazil("prepare", sdf, "--out", tmp_path / "store", "--workers", 1)
    lines = [line for line in result.stderr.splitlines() if line.endswith(" left")]
    assert len(lines) == 5 and lines[-1].startswith("5 of 5, 0 failed, ") and lines[-1].endswith(", 0:00:00 left")


def test_one_more_ctrl_c_while_a_command_winds_up_is_no_traceback() -> None:
    code = """
import os, signal
import frazil.cli
frazil.cli.app = lambda **named: None
frazil.cli.main()
os.kill(os.getpid(), signal.SIGINT)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (-signal.SIGINT, "")
