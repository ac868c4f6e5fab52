"""Finished conformers of a ligand as an RDKit molecule: hydrogens, minimisation, clusters, SDF."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from rdkit import Chem, rdBase
from rdkit.Chem import rdForceFieldHelpers, rdMolAlign
from rdkit.ForceField.rdForceField import ForceField, MMFFMolProperties
from rdkit.ML.Cluster import Butina

from frazil.atomic import write_text
from frazil.errors import InputError

MMFF: Final = "MMFF94s"
UFF: Final = "UFF"
MAX_ITERATIONS: Final = 500
MAX_MATCHES: Final = 10_000
"""Symmetric ways to lay one conformer on another that are tried; beyond, an RMSD is an upper bound."""


@dataclass(frozen=True, eq=False)
class Minimized:
    """What a force field made of C conformers."""

    force_field: str | None
    """`MMFF94s`, `UFF`, or None where neither has parameters, so that nothing was changed."""
    energies: tuple[float, ...]
    """[C] kcal/mol, hydrogens included."""
    converged: tuple[bool, ...]
    """[C] whether the minimum was reached."""

    @property
    def remark(self) -> str:
        """What went otherwise than asked for; empty if nothing did.

        >>> Minimized("UFF", (1.0, 2.0), (True, False)).remark
        'minimised with UFF, MMFF94s lacks parameters for it; 1 of 2 conformers not yet at a minimum'
        """
        if self.force_field is None:
            return f"not minimised: neither {MMFF} nor {UFF} has parameters for it"
        other = "" if self.force_field == MMFF else f"minimised with {self.force_field}, {MMFF} lacks parameters for it"
        short = self.converged.count(False)
        left = f"{short} of {len(self.converged)} conformers not yet at a minimum" if short else ""
        return "; ".join(filter(None, (other, left)))


def with_conformers(mol: Chem.Mol, coords: ArrayLike) -> Chem.Mol:
    """A copy of the molecule with `coords` [C, A, 3], angstrom, as its only conformers.

    >>> with_conformers(Chem.MolFromSmiles("CO"), np.zeros((3, 2, 3))).GetNumConformers()
    3
    """
    mol = Chem.Mol(mol)
    mol.RemoveAllConformers()
    for positions in np.asarray(coords, dtype=np.float64):
        conformer = Chem.Conformer(mol.GetNumAtoms())
        conformer.SetPositions(np.ascontiguousarray(positions))
        conformer.Set3D(True)
        mol.AddConformer(conformer, assignId=True)
    return mol


def packed(mol: Chem.Mol) -> bytes:
    """The molecule with its conformers and properties, for another process: pickle would leave the latter out."""
    return bytes(mol.ToBinary(int(Chem.PropertyPickleOptions.AllProps)))


def unpacked(binary: bytes) -> Chem.Mol:
    """Inverse of `packed`."""
    return Chem.Mol(binary)  # type: ignore[call-overload]  # its stubs say str


def with_stereo(mol: Chem.Mol, coords: ArrayLike) -> Chem.Mol:
    """A copy of the molecule with `coords` [A, 3], angstrom, as its only conformer, and the stereo that they show."""
    mol = with_conformers(mol, np.asarray(coords)[None])
    with rdBase.BlockLogs():
        Chem.AssignStereochemistryFrom3D(mol)
    return mol


def with_hydrogens(mol: Chem.Mol) -> Chem.Mol:
    """A copy with all hydrogens, after the heavy atoms, placed in every conformer."""
    with rdBase.BlockLogs():
        return Chem.AddHs(mol, addCoords=True)


def minimize(mol: Chem.Mol) -> Minimized:
    """Move the conformers of a molecule with hydrogens to the nearest minimum of a force field, in place.

    MMFF94s (Halgren 1999, J. Comput. Chem. 20, 720), or UFF where that lacks parameters. A conformer for which the
    force field knows no way, such as one with two atoms in the same place, stays as it is; its energy is nan.
    """
    with rdBase.BlockLogs():
        name, field_of = _force_field(mol)
        if field_of is None:
            count = mol.GetNumConformers()
            return Minimized(None, (float("nan"),) * count, (False,) * count)
        found = [_relaxed(conformer, field_of) for conformer in mol.GetConformers()]
    return Minimized(name, tuple(energy for energy, _ in found), tuple(converged for _, converged in found))


def _force_field(mol: Chem.Mol) -> tuple[str | None, Callable[[int], ForceField] | None]:
    """Name, and what makes the force field of a conformer by its number; None where no force field has parameters."""
    if rdForceFieldHelpers.MMFFHasAllMoleculeParams(mol):
        properties = rdForceFieldHelpers.MMFFGetMoleculeProperties(mol, mmffVariant=MMFF)
        return MMFF, partial(_mmff, mol, properties)
    if rdForceFieldHelpers.UFFHasAllMoleculeParams(mol):
        return UFF, partial(_uff, mol)
    return None, None


def _mmff(mol: Chem.Mol, properties: MMFFMolProperties, number: int) -> ForceField:
    return rdForceFieldHelpers.MMFFGetMoleculeForceField(mol, properties, confId=number)


def _uff(mol: Chem.Mol, number: int) -> ForceField:
    return rdForceFieldHelpers.UFFGetMoleculeForceField(mol, confId=number)


def _relaxed(conformer: Chem.Conformer, field_of: Callable[[int], ForceField]) -> tuple[float, bool]:
    """Energy in kcal/mol at the end, and whether that is a minimum; moves the conformer."""
    before = conformer.GetPositions()
    try:
        field = field_of(conformer.GetId())
        field.Initialize()
        reached, energy = field.Minimize(maxIts=MAX_ITERATIONS) == 0, float(field.CalcEnergy())
    except RuntimeError:
        # its line search has no direction where atoms coincide
        energy = float("nan")
    if isfinite(energy) and np.isfinite(conformer.GetPositions()).all():
        return energy, reached
    conformer.SetPositions(before)
    return float("nan"), False


def heavy_positions(mol: Chem.Mol) -> NDArray[np.float32]:
    """[C, A, 3] coordinates of the heavy atoms in every conformer, angstrom."""
    heavy = [atom.GetIdx() for atom in mol.GetAtoms() if atom.GetAtomicNum() > 1]
    positions = [conformer.GetPositions()[heavy] for conformer in mol.GetConformers()]
    return np.asarray(positions, dtype=np.float32).reshape(-1, len(heavy), 3)


def only_conformers(mol: Chem.Mol, kept: Sequence[int]) -> Chem.Mol:
    """A copy with some of the conformers alone, numbered anew from 0.

    >>> only_conformers(with_conformers(Chem.MolFromSmiles("CO"), np.zeros((3, 2, 3))), [2]).GetNumConformers()
    1
    """
    found = Chem.Mol(mol)
    found.RemoveAllConformers()
    conformers = list(mol.GetConformers())
    for index in kept:
        found.AddConformer(conformers[index], assignId=True)
    return found


def clusters(mol: Chem.Mol, reach: float) -> list[int]:
    """[C] the cluster of each conformer, from 0, the largest first: Butina's, by the best RMSD of heavy atoms.

    Parameters
    ----------
    mol : Mol
        Without hydrogens.
    reach : float
        Angstrom, greatest RMSD to the middle of a cluster (Butina 1999, J. Chem. Inf. Comput. Sci. 39, 747).
    """
    count = mol.GetNumConformers()
    if count < 2:
        return [0] * count
    with rdBase.BlockLogs():
        # aligning moves conformers
        distances = rdMolAlign.GetAllConformerBestRMS(Chem.Mol(mol), maxMatches=MAX_MATCHES)
    numbers = [0] * count
    found = Butina.ClusterData(list(distances), count, reach, isDistData=True, reordering=True)
    for number, members in enumerate(found):
        for member in members:
            numbers[member] = number
    return numbers


def write_conformers(
    path: str | Path, mol: Chem.Mol, conformers: Sequence[int], fields: Sequence[Mapping[str, object]]
) -> None:
    """Write some conformers as an SDF, one record each with its data fields; whole or not at all.

    Parameters
    ----------
    path : str or Path
    mol : Mol
        Its property `_Name` is the title of every record.
    conformers : sequence of int
        Which of its conformers, from 0.
    fields : sequence of mappings
        As many.

    Raises
    ------
    InputError
        If the file cannot be written, or there is nothing to write.
    """
    if not conformers:
        raise InputError(f"{path}: no conformer to write")
    text = io.StringIO()
    writer = Chem.SDWriter(text)
    identifiers = [conformer.GetId() for conformer in mol.GetConformers()]
    with rdBase.BlockLogs():
        for index, row in zip(conformers, fields, strict=True):
            record = Chem.Mol(mol, confId=identifiers[index])
            # the file is to say what the coordinates are, right or wrong
            Chem.AssignStereochemistryFrom3D(record)
            for key, value in row.items():
                record.SetProp(key, str(value))
            writer.write(record)
        writer.close()
    write_text(Path(path), text.getvalue())
