"""Conformers of ligands beside those of crystals: ours and RDKit's ETKDGv3, on the same molecules.

    python -m benchmarks.ligands --count 500 --conformers 10 --steering physical

Molecules are the `test` ids of the package's split, never trained on; a method is given SMILES alone. ETKDGv3 gets
hydrogens and a fixed seed, random coordinates where it fails without, and MMFF94s (UFF where that lacks parameters) if
its name says so. RMSD is over heavy atoms after superposition, least over symmetric atoms and conjugated terminal
groups (RDKit's GetBestRMS, at most `MOST_MATCHES` of them). A ligand that a method has no conformer of counts as never
found. PoseBusters judges the first conformers of each ligand, without hydrogens: 0.1 to 0.2 s for each, and seconds
for the relaxed conformers that energies are compared with. Stereo is right if RDKit reads the SMILES' own from the
coordinates.

Conformers per second are those of the same two processes, with one thread each and the model loaded. At one size:

    python -m benchmarks.ligands --atoms 24 26 --methods frazil --steering physical --posebusters none --out speed.json
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from itertools import groupby
from math import isfinite
from pathlib import Path
from typing import final

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import rdMolAlign

from benchmarks.ligand_methods import METHODS, PROCESSES, Asked, Drawn, one_thread, warm
from benchmarks.ligand_rows import Judged, Row, rows, size_of, table
from frazil.atomic import write_text
from frazil.bench.machine import Machine
from frazil.data.ccd import CrystalLigand, CrystalLigands
from frazil.data.checks import PoseChecks
from frazil.data.conformers import only_conformers, with_conformers
from frazil.data.molecules import drop_hydrogens, mol_from_smiles
from frazil.errors import FrazilError, InputError
from frazil.preparer.ids import ids_of, packaged_ids

ROOT = Path(__file__).parents[1]
MOST_MATCHES = 10_000


@final
@dataclass(frozen=True)
class Checks:
    """What PoseBusters looks at."""

    config: str = "mol"
    """Or `mol_fast`, or `none`."""
    most: int = 3
    """Conformers of each ligand."""


def targets(ids: Sequence[str], count: int) -> tuple[list[CrystalLigand], dict[str, str]]:
    """So many ligands, evenly spread over a list of codes, and why others cannot be had."""
    places = np.unique(np.linspace(0, len(ids) - 1, min(count, len(ids))).round().astype(int))
    dictionary = CrystalLigands()
    found, refused = [], {}
    for code in (ids[place] for place in places):
        try:
            found.append(dictionary[code])
        except InputError as error:
            refused[code] = str(error)
    # alike in size together, as the figures are told by size
    return sorted(found, key=lambda ligand: len(ligand.coords)), refused


def judge(target: CrystalLigand, drawings: Sequence[Chem.Mol], checks: Checks) -> list[Judged]:
    """One ligand's conformers by each method, together: PoseBusters relaxes 50 conformers of a molecule once."""
    truth = with_conformers(mol_from_smiles(target.smiles), target.coords[None])
    found = []
    for mol in drawings:
        singles = list(_singles(mol))
        busted = [] if checks.config == "none" else _busters(checks.config)(singles[: checks.most])
        found.append(
            Judged(
                name=target.name,
                heavy_atoms=len(target.coords),
                rmsd=tuple(_best_rmsd(one, truth) for one in singles),
                stereo=tuple(_keeps_stereo(one, truth) for one in singles),
                valid=tuple(_passes(one) for one in busted),
            )
        )
    return found


def _singles(mol: Chem.Mol) -> Iterator[Chem.Mol]:
    """The molecule with one conformer at a time, hydrogens left out; conformers that are not finite are none."""
    bare = drop_hydrogens(mol)
    for index, conformer in enumerate(bare.GetConformers()):
        if np.isfinite(conformer.GetPositions()).all():
            yield only_conformers(bare, [index])


def _best_rmsd(mol: Chem.Mol, truth: Chem.Mol) -> float:
    with rdBase.BlockLogs():
        return float(rdMolAlign.GetBestRMS(Chem.Mol(mol), truth, maxMatches=MOST_MATCHES))


def _keeps_stereo(mol: Chem.Mol, asked: Chem.Mol) -> bool:
    """Whether the coordinates have every stereocentre and double bond that the SMILES names."""
    found = Chem.Mol(mol)
    with rdBase.BlockLogs():
        Chem.AssignStereochemistryFrom3D(found)
        return bool(found.HasSubstructMatch(asked, useChirality=True))


def _passes(checks: dict[str, bool | None]) -> bool:
    return all(passed is not False for passed in checks.values())


@cache
def _busters(config: str) -> PoseChecks:
    return PoseChecks(config)


def measure(
    ligands: Sequence[CrystalLigand], methods: Sequence[str], asked: Asked, checks: Checks
) -> tuple[list[Row], dict[str, list[Judged]]]:
    """Draw by each method, judge all, and sum up."""
    # a forked process would inherit torch's threads half-way
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(PROCESSES, mp_context=spawn, initializer=one_thread) as pool:
        warm(pool)
        drawings = {name: _by_size(name, ligands, asked, pool) for name in methods}
        by_ligand = list(zip(*(drawing.mols for drawing in drawings.values()), strict=True))
        judged = []
        for number, found in enumerate(pool.map(judge, ligands, by_ligand, [checks] * len(ligands)), start=1):
            judged.append(found)
            if number % 25 == 0:
                say(f"judged {number} of {len(ligands)}")
    by_method = {name: [found[place] for found in judged] for place, name in enumerate(methods)}
    found_rows = [row for name in methods for row in rows(name, by_method[name], drawings[name].seconds)]
    return found_rows, by_method


def _by_size(name: str, ligands: Sequence[CrystalLigand], asked: Asked, pool: Executor) -> Drawn:
    """Sizes one after the other, each with its time; the ligands are in the order of their sizes."""
    mols: list[Chem.Mol] = []
    seconds: list[float] = []
    for _, group in groupby(ligands, key=lambda ligand: size_of(len(ligand.coords))):
        smiles = [ligand.smiles for ligand in group]
        say(f"{name}: {asked.conformers} conformers each of {len(smiles)} ligands")
        found = METHODS[name](smiles, asked, pool)
        mols += found.mols
        seconds += found.seconds
    return Drawn(mols, seconds)


def written(
    given: argparse.Namespace, found: Sequence[Row], judged: dict[str, list[Judged]], refused: dict[str, str]
) -> None:
    """All figures as JSON, with each ligand's best and mean RMSD."""
    ligands = [
        {"name": ones[0].name, "heavy_atoms": ones[0].heavy_atoms}
        | {
            method: {"best": _rounded(one.best), "mean": _rounded(one.mean)}
            for method, one in zip(judged, ones, strict=True)
        }
        for ones in zip(*judged.values(), strict=True)
    ]
    values = {
        "machine": asdict(Machine.here(packages=("frazil", "torch", "rdkit"))),
        "command": " ".join(["python -m benchmarks.ligands", *sys.argv[1:]]),
        "settings": {name: str(value) for name, value in vars(given).items()},
        "refused": refused,
        "rows": [asdict(row) for row in found],
        "ligands": ligands,
    }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    write_text(given.out, json.dumps(values, indent=1, allow_nan=False) + "\n")


def main() -> None:
    """Read the options, measure, print, write."""
    given = _parser().parse_args()
    steering = tuple(filter(None, given.steering.split(","))) if given.steering != "none" else ()
    asked = Asked(given.conformers, given.checkpoint, given.sampler, given.steps, given.precision, steering)
    try:
        ids = packaged_ids(given.part) if given.split is None else ids_of(given.split, given.part)
        ligands, refused = targets(ids, given.count)
        least, most = given.atoms
        ligands = [ligand for ligand in ligands if least <= len(ligand.coords) <= most]
        if not ligands:
            raise InputError(f"--atoms {least} {most}: no ligand of that size among them")
        found, judged = measure(ligands, given.methods, asked, Checks(given.posebusters, given.checked))
        written(given, found, judged, refused)
    except FrazilError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted; nothing was written")
    print(table(found))
    if refused:
        print(f"not judged, for want of a usable crystal conformer: {', '.join(refused)}")
    print(f"\nwritten to {given.out}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ligands", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--split", type=Path, metavar="FILE", help="table of ccd_id and split (default: the package's)")
    add("--part", default="test", help="split that is measured (default test; val to choose models by)")
    add("--count", type=int, default=500, help="ligands of it, evenly spread (default 500)")
    add("--atoms", type=int, nargs=2, default=(0, 1000), metavar=("MIN", "MAX"), help="of them those of this size")
    add("--conformers", type=int, default=10, help="of each ligand by each method (default 10)")
    add("--methods", nargs="+", choices=METHODS, default=["frazil", "ETKDGv3", "ETKDGv3+MMFF"], help="what is measured")
    add("--checkpoint", type=Path, metavar="M", help="model instead of the built-in one")
    add("--sampler", default="fast", help="of frazil (default fast)")
    add("--steps", type=int, help="of the sampler")
    add("--precision", help="float32, tf32 or bf16")
    add("--steering", default="none", metavar="SETS", help="such as physical (default none)")
    add("--posebusters", choices=("mol", "mol_fast", "none"), default="mol", help="mol takes most of the time")
    add("--checked", type=int, default=3, help="conformers of each ligand that PoseBusters judges (default 3)")
    add("--out", type=Path, default=ROOT / "benchmarks/results/ligands.json", help="where the figures go")
    return parser


def _rounded(value: float) -> float | None:
    return round(value, 3) if isfinite(value) else None


def say(line: str) -> None:
    """Progress, beside the figures."""
    print(f"[{time.strftime('%H:%M:%S')}] {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
