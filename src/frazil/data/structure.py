"""`Structure` and `Chain`: one molecular system with its reference conformers, as every reader returns it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from biotite.structure import AtomArray

if TYPE_CHECKING:
    from frazil.data.restraints.requests import Request


@dataclass(frozen=True, eq=False)
class Chain:
    """One polymer or one non-polymer molecule (a ligand, an ion, a glycan), as AlphaFold 3 counts chains."""

    chain_id: str
    """Name in the file; a PDB file's ligands share that of their polymer."""
    entity_id: int
    """Equal for chains of equal sequence or molecule, from 0."""
    sym_id: int
    """Copy of the entity, from 0."""
    mol_type: int
    """`chemistry.PROTEIN`, `DNA`, `RNA` or `NONPOLYMER`."""
    sequence: tuple[str, ...]
    """Residue names (CCD codes; LIG for a molecule from a SMILES or SDF), unresolved ones included."""
    cyclic: bool = False
    """Whether the last residue is joined to the first."""
    label: str | None = None
    """Canonical isomeric SMILES of a molecule that came from a SMILES or SDF."""


@dataclass(frozen=True, eq=False)
class Structure:
    """Complete molecules (heavy atoms), the coordinates known of them, and a reference conformer each.

    Axes: E models of the ensemble, A atoms. Atoms of a residue are contiguous; residues are in chain order.
    """

    name: str
    """Short, safe as a file name."""
    atoms: AtomArray
    """[A] with chain_id, res_id, ins_code, res_name, atom_name, element, charge, hetero and all covalent bonds;
    `coord` is the first model, NaN where unresolved."""
    coords: np.ndarray
    """[E, A, 3] float32, angstrom, NaN where unresolved; E = 1 and all NaN without coordinates."""
    resolved: np.ndarray
    """[E, A] bool."""
    chains: tuple[Chain, ...]
    """The molecules, in the order of their atoms."""
    chain_index: np.ndarray
    """[A] int64, index into `chains`."""
    residue_index: np.ndarray
    """[A] int64, position in the chain's `sequence`."""
    plddt: np.ndarray
    """[A] float32, 0-100; 100 for an experimental structure."""
    ref_pos: np.ndarray
    """[A, 3] float32, angstrom, finite: conformer of the atom's residue or ligand in a frame of its own."""
    source: str
    """Path or text that it was read from."""
    restraints: tuple[Request, ...] = ()
    """What a person asks of samples beyond what the molecules are; bonds among them are part of `atoms`."""

    @property
    def has_coords(self) -> bool:
        """Whether any atom of any model has a position."""
        return bool(self.resolved.any())
