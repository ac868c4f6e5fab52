"""What draws conformers: ours, and RDKit's ETKDGv3."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, final

import torch
from rdkit import Chem, rdBase
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

from frazil.data.molecules import drop_hydrogens

PROCESSES = 2
SEED = 61
TOGETHER = 16
"""Ligands that a process is handed at once by ours."""
_WARMING = "CC(=O)Oc1ccccc1C(=O)O"


@final
@dataclass(frozen=True)
class Asked:
    """What a method is asked for."""

    conformers: int
    checkpoint: Path | None = None
    sampler: str = "fast"
    steps: int | None = None
    precision: str | None = None
    steering: tuple[str, ...] = ()


@final
@dataclass(frozen=True)
class Drawn:
    """Conformers of some ligands."""

    mols: list[Chem.Mol]
    """Heavy atoms in the order of the SMILES, with as many conformers as were had."""
    seconds: list[float]
    """Of each, such that their sum is what all of them took."""


Method = Callable[[Sequence[str], Asked, Executor], Drawn]


def embedded(smiles: Sequence[str], asked: Asked, pool: Executor) -> Drawn:
    """RDKit's ETKDGv3."""
    return _in_pool(_embed, smiles, asked, pool)


def minimised(smiles: Sequence[str], asked: Asked, pool: Executor) -> Drawn:
    """The same, relaxed by a force field."""
    return _in_pool(_embed_and_minimise, smiles, asked, pool)


def drawn(smiles: Sequence[str], asked: Asked, pool: Executor) -> Drawn:
    """Ours."""
    return _ours(smiles, asked, pool, minimize=False)


def drawn_and_minimised(smiles: Sequence[str], asked: Asked, pool: Executor) -> Drawn:
    """Ours, relaxed by a force field."""
    return _ours(smiles, asked, pool, minimize=True)


METHODS: dict[str, Method] = {
    "frazil": drawn,
    "frazil+MMFF": drawn_and_minimised,
    "ETKDGv3": embedded,
    "ETKDGv3+MMFF": minimised,
}


def _embed(smiles: str, asked: Asked) -> tuple[Chem.Mol, float]:
    began = time.perf_counter()
    mol = _with_conformers(smiles, asked.conformers)
    return drop_hydrogens(mol), time.perf_counter() - began


def _embed_and_minimise(smiles: str, asked: Asked) -> tuple[Chem.Mol, float]:
    began = time.perf_counter()
    mol = _with_conformers(smiles, asked.conformers)
    with rdBase.BlockLogs():
        if rdForceFieldHelpers.MMFFHasAllMoleculeParams(mol):
            rdForceFieldHelpers.MMFFOptimizeMoleculeConfs(mol, mmffVariant="MMFF94s", maxIters=500)
        elif rdForceFieldHelpers.UFFHasAllMoleculeParams(mol):
            rdForceFieldHelpers.UFFOptimizeMoleculeConfs(mol, maxIters=500)
    return drop_hydrogens(mol), time.perf_counter() - began


def _with_conformers(smiles: str, count: int) -> Chem.Mol:
    parameters: Any = rdDistGeom.ETKDGv3()
    parameters.randomSeed = SEED
    with rdBase.BlockLogs():
        mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
        if not len(rdDistGeom.EmbedMultipleConfs(mol, count, parameters)):
            parameters.useRandomCoords = True
            rdDistGeom.EmbedMultipleConfs(mol, count, parameters)
    return mol


def _in_pool(work: Callable[[str, Asked], Any], smiles: Sequence[str], asked: Asked, pool: Executor) -> Drawn:
    done = list(pool.map(work, smiles, [asked] * len(smiles), chunksize=1))
    return Drawn([mol for mol, _ in done], [seconds / PROCESSES for _, seconds in done])


def _ours(smiles: Sequence[str], asked: Asked, pool: Executor, *, minimize: bool) -> Drawn:
    draw = partial(_draw, asked=asked, minimize=minimize)
    # every process has the model before anything is timed
    list(pool.map(draw, [[_WARMING]] * PROCESSES))
    parts = [smiles[start : start + TOGETHER] for start in range(0, len(smiles), TOGETHER)]
    began = time.perf_counter()
    mols = [mol for found in pool.map(draw, parts) for mol in found]
    each = (time.perf_counter() - began) / len(smiles)
    return Drawn(mols, [each] * len(smiles))


def _draw(smiles: Sequence[str], asked: Asked, *, minimize: bool) -> list[Chem.Mol]:
    from frazil.ligands import conformers

    return conformers(
        smiles,
        asked.conformers,
        checkpoint=asked.checkpoint,
        sampler=asked.sampler,
        steps=asked.steps,
        precision=asked.precision,
        seed=SEED,
        steering=asked.steering,
        minimize=minimize,
    )


def warm(pool: Executor) -> None:
    """Processes started and imports done, before anything is timed."""
    list(pool.map(_embed, [_WARMING] * PROCESSES, [Asked(1)] * PROCESSES))


def one_thread() -> None:
    """What each process does first: the processes are as many as the processors."""
    torch.set_num_threads(1)
