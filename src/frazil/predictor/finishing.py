"""What is done to the conformers of a ligand once they are drawn: hydrogens, minimisation, clusters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any, Protocol

import numpy as np

from frazil.data.conformers import Minimized, clusters, heavy_positions, minimize, with_conformers, with_hydrogens
from frazil.data.ligands import Ligand
from frazil.errors import InputError
from frazil.predictor.drawing import Drawn


@dataclass(frozen=True)
class Finishing:
    """What is asked for.

    Raises
    ------
    InputError
        If the reach of clusters is no positive number.
    """

    hydrogens: bool = False
    """Whether hydrogens are written."""
    minimize: bool = False
    """Whether conformers go to the nearest minimum of MMFF94s, or UFF."""
    cluster: float | None = None
    """Angstrom; of conformers that are this near to each other only the best is kept."""

    def __post_init__(self) -> None:
        if self.cluster is not None and not (isfinite(self.cluster) and self.cluster > 0):
            raise InputError(f"--cluster is {self.cluster}: give an RMSD in angstrom, above 0")


class Ranked(Protocol):
    """A finite sample with its place among the others."""

    @property
    def sample(self) -> int:
        """Index, from 0."""
        ...

    @property
    def rank(self) -> int:
        """From 1, the best."""
        ...


@dataclass(frozen=True, eq=False)
class Finished:
    """The conformers of one ligand, and what was done to them."""

    ligand: Ligand
    samples: tuple[int, ...]
    """[C] the finite samples."""
    mol: Any
    """RDKit molecule with C conformers, with hydrogens if they were asked for."""
    minimized: Minimized | None = None
    cluster_of: tuple[int, ...] | None = None
    """[C] number of each conformer's cluster, from 0; None where none were asked for."""
    kept: tuple[int, ...] = ()
    """The samples that are written."""
    asked: str = ""
    """Tells the results of one set of settings from those of another."""

    def row(self, sample: int) -> dict[str, Any]:
        """What `samples.json` says of a sample besides."""
        row: dict[str, Any] = {"smiles": self.ligand.smiles, "asked": self.asked}
        if self.ligand.remark:
            row["remark"] = self.ligand.remark
        if sample not in self.samples:
            return row
        place = self.samples.index(sample)
        if self.minimized is not None:
            energy = self.minimized.energies[place]
            row |= {
                "force_field": self.minimized.force_field,
                "force_field_energy": round(energy, 4) if isfinite(energy) else None,
                "converged": self.minimized.converged[place],
            }
        if self.cluster_of is not None:
            row |= {"cluster": self.cluster_of[place], "kept": sample in self.kept}
        return row

    def clustered(self, reach: float, ranked: Sequence[Ranked]) -> Finished:
        """The same with the best-ranked conformer of each cluster alone kept; the best cluster first."""
        plain = with_conformers(self.ligand.mol, heavy_positions(self.mol))
        numbers = clusters(plain, reach)
        rank = {one.sample: one.rank for one in ranked}
        best: dict[int, int] = {}
        for sample, number in sorted(zip(self.samples, numbers, strict=True), key=lambda pair: rank[pair[0]]):
            best.setdefault(number, sample)
        return replace(self, cluster_of=tuple(numbers), kept=tuple(sorted(best.values())))


def finish(ligand: Ligand, name: str, drawn: Drawn, finishing: Finishing) -> tuple[Drawn, Finished]:
    """Hydrogens and minimisation; the samples with their new coordinates, and the molecule."""
    samples = tuple(np.flatnonzero(drawn.finite).tolist())
    mol = with_conformers(ligand.mol, drawn.coords[list(samples)])
    minimized = None
    if finishing.hydrogens or finishing.minimize:
        full = with_hydrogens(mol)
        # RDKit refuses to minimise a molecule without conformers
        minimized = minimize(full) if finishing.minimize and samples else None
        coords = drawn.coords.copy()
        coords[list(samples)] = heavy_positions(full)
        drawn = replace(drawn, coords=coords)
        mol = full if finishing.hydrogens else with_conformers(ligand.mol, coords[list(samples)])
    mol.SetProp("_Name", name)
    return drawn, Finished(ligand, samples, mol, minimized, kept=samples)
