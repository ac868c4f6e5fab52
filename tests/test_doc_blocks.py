"""Every block of code in README and docs is run: Python and settings as they stand, commands on small files.

Commands keep all their words; `SMALL` adds what makes them short. Those whose work other tests do (Boltz-2 itself, the
benchmarks, make) are asked whether they know every option that they are given.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from frazil.config import load_config
from tiny_run import run_quietly, tiny_settings, write_ensemble

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
SMALL = {
    "frazil train": "--max-steps 2",
    "frazil sample": "--steps 2",
    "frazil prepare ccd": "--ids few.txt --workers 1",
    "frazil bench": "--seconds 3",
}
"""Added to commands that begin so, unless they have the option."""
ASKED_ONLY = ("frazil boltz", "python -m benchmarks", "make", "pip", "mkdocs", "torchrun", "srun")


@dataclass(frozen=True)
class Block:
    page: Path
    number: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}-{self.number}"


def blocks(*languages: str) -> list[Block]:
    found = []
    for page in PAGES:
        for number, match in enumerate(BLOCK.finditer(page.read_text()), start=1):
            if match[1] in languages:
                found.append(Block(page, number, match[1], match[2]))
    return found


def commands(block: Block) -> list[str]:
    joined = block.text.replace("\\\n", " ")
    return [line.split("  #")[0].strip() for line in joined.splitlines() if line.split("  #")[0].strip()]


def test_every_block_says_what_it_is() -> None:
    assert {block.language for block in blocks("", "sh", "python", "toml", "text", "console")} <= {
        "sh",
        "python",
        "toml",
        "text",
    }, "blocks of another language would not be run"
    assert not blocks("")


@pytest.mark.parametrize("block", blocks("toml"), ids=str)
def test_settings_are_accepted(block: Block, tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text(block.text)
    load_config(tmp_path / "settings.toml")


@pytest.mark.parametrize("block", [block for block in blocks("python") if "boltz" not in block.text], ids=str)
def test_python_runs(block: Block, workplace: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", block.text], cwd=workplace, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("block", [block for block in blocks("python") if "boltz" in block.text], ids=str)
def test_python_of_boltz_compiles(block: Block) -> None:
    # its checkpoint is not here; tests/boltz runs the same calls on small models
    compile(block.text, str(block), "exec")


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_run_one_after_the_other(page: Path, workplace: Path) -> None:
    for block in blocks("sh"):
        if block.page == page:
            for line in commands(block):
                run(line, workplace)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every file that the pages name, small, and a trained model of a second."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "structures").mkdir()
    for sequence in ("AGSV", "GASL"):
        write_ensemble(folder / "structures", sequence)
    (folder / "complexes").mkdir()
    shutil.copy(folder / "structures" / "AGSV.cif", folder / "complexes" / "one.cif")
    # restraints of the pages name residues up to 21
    longer = write_ensemble(folder, "AGSVLKEFPYAGSVLKEFPYAGSV")
    shutil.copy(longer, folder / "structures")
    for name in ("input.cif", "in.cif", "any.cif", "homologue.cif", "ensemble.cif"):
        shutil.copy(longer, folder / name)
    (folder / "input.yaml").write_text("sequences:\n  - protein: {id: A, sequence: AGSVLKEFPYAGSVLKEFPYAGSV}\n")
    shutil.copy(folder / "input.yaml", folder / "in.yaml")
    run_quietly(folder / "structures", folder / "run", tiny_settings(max_steps=2))
    shutil.copytree(folder / "run", folder / "RUN")
    (folder / "ligands.smi").write_text("CC(=O)Nc1ccc(O)cc1 paracetamol\nCC(C)Cc1ccc(cc1)[C@H](C)C(=O)O ibuprofen\n")
    write_crystal(
        folder / "crystal.sdf", {"paracetamol": "CC(=O)Nc1ccc(O)cc1", "ibuprofen": "CC(C)Cc1ccc(cc1)[C@H](C)C(=O)O"}
    )
    shutil.copy(folder / "crystal.sdf", folder / "ligands.sdf")
    (folder / "few.txt").write_text("IBP\nTYL\nASA\nCFF\n")
    for name in ("src", "examples", "benchmarks"):
        (folder / name).symlink_to(ROOT / name)
    return folder


@pytest.fixture
def workplace(prepared: Path, tmp_path: Path) -> Path:
    """A copy of it for each test."""
    return Path(shutil.copytree(prepared, tmp_path / "work", symlinks=True))


def write_crystal(path: Path, molecules: dict[str, str]) -> None:
    """An SDF with a conformer of each molecule."""
    with Chem.SDWriter(str(path)) as writer:
        for name, smiles in molecules.items():
            mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
            rdDistGeom.EmbedMolecule(mol, randomSeed=1)
            mol = Chem.RemoveHs(mol)
            mol.SetProp("_Name", name)
            writer.write(mol)


def run(line: str, folder: Path) -> None:
    # what Boltz-2 itself writes is not here
    if line.startswith(ASKED_ONLY) or "_conditioning" in line:
        ask(line)
        return
    if line.startswith("frazil prepare ccd"):
        # a list of our own has no parts
        line = re.sub(r" --split \w+", "", line)
    for start, more in SMALL.items():
        if line.startswith(start) and more.split()[0] not in line:
            line = f"{line} {more}"
    assert line.startswith("frazil "), f"no way is known to test {line!r}"
    words = [sys.executable, "-m", "frazil", *shlex.split(line)[1:]]
    if words[3] in ("sample", "train") and (folder / words[words.index("--out") + 1]).exists():
        # a page may give several ways to the same end
        shutil.rmtree(folder / words[words.index("--out") + 1])
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=300, env=quiet())
    assert done.returncode == 0, f"{line}\n{done.stdout[-1000:]}\n{done.stderr[-2000:]}"


def ask(line: str) -> None:
    """Whether a command knows the options that a line gives it."""
    words = shlex.split(line)
    if words[0] == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
        assert {word for word in words[1:] if "=" not in word} <= set(targets), line
    elif words[0] == "python":
        done = subprocess.run([sys.executable, *words[1:3], "--help"], cwd=ROOT, capture_output=True, text=True)
        assert all(word in done.stdout for word in words if word.startswith("--")), f"{line}\n{done.stderr[-500:]}"
    elif words[:2] == ["frazil", "boltz"]:
        done = subprocess.run([sys.executable, "-m", "frazil", *words[1:3], "--help"], capture_output=True, text=True)
        assert done.returncode == 0, line


def quiet() -> dict[str, str]:
    return {**os.environ, "COLUMNS": "120", "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "2")}
