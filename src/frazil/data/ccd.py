"""Ligands of the Chemical Component Dictionary with the coordinates that crystals gave them, read in bulk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from biotite.structure.info.ccd import get_ccd
from numpy.typing import NDArray
from rdkit import Chem, rdBase

from frazil.data.conformers import with_stereo
from frazil.data.molecules import drop_hydrogens, mol_from_graph
from frazil.data.residues import bond_rows
from frazil.errors import InputError

MIN_BOND_LENGTH = 0.8
MAX_BOND_LENGTH = 2.6
"""Angstrom, beyond which a bond of a model is a mistake in it; C-I and As-As are 2.2 and 2.5."""


@dataclass(frozen=True, eq=False)
class CrystalLigand:
    """A small molecule and one conformer of it, as a crystal structure has it."""

    name: str
    """CCD code."""
    smiles: str
    """Canonical, isomeric; stereo is that of the coordinates."""
    coords: NDArray[np.float32]
    """[A, 3], angstrom, heavy atoms in the order of the SMILES."""


class CrystalLigands:
    """The dictionary's columns that a ligand is made of; reading them all takes seconds, one ligand a millisecond.

    Examples
    --------
    >>> CrystalLigands()["IBP"].smiles
    'CC(C)Cc1ccc([C@H](C)C(=O)O)cc1'
    """

    def __init__(self) -> None:
        dictionary = get_ccd()
        atoms, bonds = dictionary["chem_comp_atom"], dictionary["chem_comp_bond"]
        self._atom = {name: _column(atoms, name) for name in ("comp_id", "atom_id", "type_symbol")}
        self._charge = atoms["charge"].as_array(int, 0)
        self._coords = np.stack([atoms[f"model_Cartn_{axis}"].as_array(np.float32, np.nan) for axis in "xyz"], axis=1)
        self._bond = {
            name: _column(bonds, name)
            for name in ("comp_id", "atom_id_1", "atom_id_2", "value_order", "pdbx_aromatic_flag")
        }
        self._atoms_of, self._bonds_of = _slices(self._atom["comp_id"]), _slices(self._bond["comp_id"])

    @property
    def names(self) -> tuple[str, ...]:
        """Codes of all components."""
        return tuple(self._atoms_of)

    def __getitem__(self, name: str) -> CrystalLigand:
        """One ligand.

        Raises
        ------
        InputError
            If there is no such component, or it has no usable coordinates of one connected molecule.
        """
        return ligand_with_coords(name, *self._mol(name))

    def _mol(self, name: str) -> tuple[Chem.Mol, NDArray[np.float32]]:
        if name not in self._atoms_of:
            raise InputError(f"{name}: no component of the Chemical Component Dictionary")
        rows = self._atoms_of[name]
        elements = np.char.upper(self._atom["type_symbol"][rows])
        heavy = ~np.isin(elements, ("H", "D", "T"))
        names = tuple(self._atom["atom_id"][rows][heavy].tolist())
        if not names:
            raise InputError(f"{name}: no heavy atom")
        coords = self._coords[rows][heavy]
        charges = self._charge[rows][heavy].tolist()
        return mol_from_graph(elements[heavy].tolist(), charges, self._bond_rows(name, names)), coords

    def _bond_rows(self, name: str, names: tuple[str, ...]) -> NDArray[np.int64]:
        if name not in self._bonds_of:
            return np.empty((0, 3), dtype=np.int64)
        rows = self._bonds_of[name]
        columns = (self._bond[key][rows] for key in ("atom_id_1", "atom_id_2", "value_order", "pdbx_aromatic_flag"))
        return bond_rows(names, *columns)


def ligand_with_coords(name: str, mol: Chem.Mol, coords: NDArray[np.floating]) -> CrystalLigand:
    """A molecule without hydrogens and its coordinates, [A, 3] in the mol's order, as a ligand.

    Raises
    ------
    InputError
        If it is not one connected molecule, RDKit does not accept its valences, or a bond is impossibly long or short.
    """
    with rdBase.BlockLogs():
        if Chem.SanitizeMol(Chem.RWMol(mol), catchErrors=True) != Chem.SanitizeFlags.SANITIZE_NONE:
            raise InputError(f"{name}: valences that RDKit does not accept")
        _check(name, mol, coords)
        mol = with_stereo(mol, coords)
        smiles = Chem.MolToSmiles(mol)
        order = list(mol.GetPropsAsDict(True, True)["_smilesAtomOutputOrder"])
        again = Chem.MolFromSmiles(smiles)
    if again is None or drop_hydrogens(again).GetNumAtoms() != len(order):
        raise InputError(f"{name}: RDKit does not read its own SMILES of it")
    return CrystalLigand(name, smiles, coords[order].astype(np.float32))


def _check(name: str, mol: Chem.Mol, coords: NDArray[np.floating]) -> None:
    if not np.isfinite(coords).all():
        raise InputError(f"{name}: atoms without coordinates")
    if (count := len(Chem.GetMolFrags(mol))) > 1:
        raise InputError(f"{name}: {count} fragments; keep the one that is meant")
    pairs = np.array([(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in mol.GetBonds()], dtype=np.int64)
    pairs = pairs.reshape(-1, 2)
    lengths = np.linalg.norm(coords[pairs[:, 0]] - coords[pairs[:, 1]], axis=1)
    for length in lengths[(lengths <= MIN_BOND_LENGTH) | (lengths >= MAX_BOND_LENGTH)]:
        raise InputError(f"{name}: coordinates with a bond of {length:.2f} A")


def _column(category: Any, name: str) -> NDArray[np.str_]:
    values: NDArray[np.str_] = category[name].as_array(str)
    return values


def _slices(names: NDArray[np.str_]) -> dict[str, slice]:
    """Rows of each component, which stand together."""
    starts = np.flatnonzero(np.concatenate([[True], names[1:] != names[:-1]]))
    stops = np.append(starts[1:], len(names))
    return {
        name: slice(a, b) for name, a, b in zip(names[starts].tolist(), starts.tolist(), stops.tolist(), strict=True)
    }
