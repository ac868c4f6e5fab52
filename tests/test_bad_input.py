"""Every kind of bad input, through the command line: one line, exit code 2, earlier files whole."""

from __future__ import annotations

import gzip
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from test_cli import TOML, fails, frazil
from tiny_run import write_ensemble

UNRESOLVED = """data_x
loop_
_atom_site.group_PDB
_atom_site.id
_atom_site.type_symbol
_atom_site.label_atom_id
_atom_site.label_comp_id
_atom_site.label_asym_id
_atom_site.label_seq_id
_atom_site.auth_asym_id
_atom_site.auth_seq_id
_atom_site.Cartn_x
_atom_site.Cartn_y
_atom_site.Cartn_z
_atom_site.pdbx_PDB_model_num
ATOM 1 C CA GLY A 1 A 1 ? ? ? 1
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with AGSV.cif and a RUN trained on it."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "tiny.toml").write_text(TOML)
    data = write_ensemble(folder)
    words = ("--max-steps", 2, "--config", folder / "tiny.toml")
    assert frazil("train", "--data", data, "--out", folder / "run", *words).exit_code == 0
    return folder


UNKNOWN = """\
ATOM      1  N   ZDZ A   1      11.104   6.134  -6.504  1.00  0.00           N
ATOM      2  CA  ZDZ A   1      11.639   6.071  -5.147  1.00  0.00           C
ATOM      3  C   ZDZ A   1      12.689   7.152  -4.956  1.00  0.00           C
END
"""


FILES: dict[str, tuple[str, Callable[[Path], bytes]]] = {
    "not a structure file": ("letter.cif", lambda folder: b"Dear reader,\nthis is no structure.\n"),
    "not a structure file of a known kind": ("letter.docx", lambda folder: b"PK\x03\x04"),
    "empty": ("empty.pdb", lambda folder: b""),
    "empty inside gzip": ("empty.cif.gz", lambda folder: gzip.compress(b"")),
    "truncated gzip": ("cut.cif.gz", lambda folder: gzip.compress(write_ensemble(folder).read_bytes())[:-200]),
    "mmCIF without atoms": ("atomless.cif", lambda folder: b"data_x\n_entry.id x\n"),
    "all atoms unresolved": ("unresolved.cif", lambda folder: UNRESOLVED.encode()),
    "unknown residue": ("unknown.pdb", lambda folder: UNKNOWN.encode()),
}


@pytest.mark.parametrize("case", FILES)
def test_files_that_cannot_be_read(trained: Path, tmp_path: Path, case: str) -> None:
    name, content = FILES[case]
    (tmp_path / name).write_bytes(content(tmp_path))
    for words in (
        ("train", "--data", tmp_path / name, "--out", tmp_path / "out", "--max-steps", 1),
        ("sample", tmp_path / name, "--checkpoint", trained / "run", "--out", tmp_path / "out"),
        ("evaluate", trained / "AGSV.cif", "--reference", tmp_path / name),
    ):
        assert name in fails(2, *words)
    if case == "unknown residue":
        assert "ZDZ" in fails(2, "evaluate", trained / "AGSV.cif", "--reference", tmp_path / name)


def test_smiles_that_rdkit_refuses(trained: Path, tmp_path: Path) -> None:
    line = fails(2, "sample", "C1CC(", "--checkpoint", trained / "run", "--out", tmp_path / "out")
    assert "C1CC(" in line


def test_another_sequence_than_a_single_entity_run_has_seen(trained: Path, tmp_path: Path) -> None:
    other = write_ensemble(tmp_path, "GAGA")
    line = fails(2, "sample", other, "--checkpoint", trained / "run", "--out", tmp_path / "out")
    assert "GLY-ALA-GLY-ALA" in line and "ALA-GLY-SER-VAL" in line


def rewritten(weights: Path, change: Callable[[dict[str, torch.Tensor]], None], *, header: bool = True) -> None:
    with safe_open(str(weights), framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    change(tensors)
    save_file(tensors, weights, metadata if header else None)


@pytest.mark.parametrize("case", ["truncated", "foreign", "not finite"])
def test_checkpoints_that_cannot_be_used(trained: Path, tmp_path: Path, case: str) -> None:
    weights = tmp_path / "model.safetensors"
    weights.write_bytes((trained / "run" / "model.safetensors").read_bytes())
    if case == "truncated":
        weights.write_bytes(weights.read_bytes()[:-1000])
    elif case == "foreign":
        rewritten(weights, lambda tensors: None, header=False)
    else:
        rewritten(weights, lambda tensors: next(t for t in tensors.values() if t.numel() > 1).fill_(torch.nan))
    line = fails(2, "sample", trained / "AGSV.cif", "--checkpoint", weights, "--out", tmp_path / "out")
    assert str(weights) in line


def test_output_folders_with_other_results_are_left_whole(trained: Path, tmp_path: Path) -> None:
    words = ("sample", trained / "AGSV.cif", "--checkpoint", trained / "run", "--out", tmp_path / "out", "--steps", 2)
    assert frazil(*words).exit_code == 0
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert "--overwrite" in fails(2, *words, "--seed", 1)
    run = {path: path.read_bytes() for path in (trained / "run").rglob("*") if path.is_file()}
    assert "--resume" in fails(2, "train", "--data", trained / "AGSV.cif", "--out", trained / "run")
    assert all(path.read_bytes() == content for path, content in {**before, **run}.items())


def test_no_samples_asked_for(trained: Path, tmp_path: Path) -> None:
    words = ("sample", trained / "AGSV.cif", "--checkpoint", trained / "run", "--out", tmp_path / "out")
    assert "--num-samples" in fails(2, *words, "--num-samples", 0)


def test_no_space_left(trained: Path, tmp_path: Path) -> None:
    def tiny_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    words = ["sample", trained / "AGSV.cif", "--checkpoint", trained / "run", "--out", tmp_path / "out", "--steps", "2"]
    command = [sys.executable, "-m", "frazil", *map(str, words)]
    ended = subprocess.run(command, capture_output=True, text=True, preexec_fn=tiny_files, check=False)
    assert ended.returncode == 2, ended.stderr
    errors = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "Traceback" not in ended.stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
