"""Files of samples -> what a picture needs: atoms, bonds with their orders, coordinates of every sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from biotite.structure import BondType, annotate_sse, residue_iter
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from rdkit.Chem import rdDepictor
from rdkit.Chem.Draw import rdMolDraw2D

from frazil.chemistry import NONPOLYMER, PROTEIN
from frazil.data import molecules
from frazil.data.files import parsing, read_structure_file, read_text
from frazil.data.sdf import structure_from_mol
from frazil.data.structure import Structure
from frazil.data.topology import Topology, selections, topology
from frazil.errors import InputError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_ORDERS = {
    BondType.DOUBLE: 2,
    BondType.TRIPLE: 3,
    BondType.AROMATIC_DOUBLE: 2,
    BondType.AROMATIC_TRIPLE: 3,
}
_FOLDS = {"a": "h", "b": "s", "c": "c", "": "c"}
"""Biotite's letters for helix, strand and coil -> those of molecular viewers."""


@dataclass(frozen=True, eq=False)
class Drawable:
    """The samples of one input. Axes: S samples, A atoms (hydrogens too, where a file has them), H heavy atoms."""

    structure: Structure
    """Of the heavy atoms."""
    topology: Topology
    """Of the heavy atoms."""
    coords: Floats
    """[S, A, 3] angstrom."""
    element: list[str]
    """[A] such as `C`, `Cl`."""
    bonds: Ints
    """[K, 3] two atoms and the order, 1 to 3."""
    heavy: Ints
    """[H] index of each heavy atom."""
    parent: Ints
    """[A] heavy atom (0..H-1) that an atom is, or is bound to."""
    fold: list[str]
    """[A] `h` for a helix, `s` for a strand, else `c`."""

    @property
    def names(self) -> list[str]:
        """[H] the heavy atoms as a restraint selects them, such as `A:1:C2`."""
        return selections(self.structure)

    @property
    def polymer(self) -> NDArray[np.bool_]:
        """[H] whether an atom belongs to a polymer."""
        kinds = np.array([chain.mol_type for chain in self.structure.chains])
        return np.asarray(kinds[self.structure.chain_index] != NONPOLYMER)


def read_conformers(path: Path, records: Sequence[int]) -> Drawable:
    """Some records of an SDF whose records are conformers of one molecule, atom by atom.

    Parameters
    ----------
    path : Path
        The SDF.
    records : sequence of int
        Which of its records, from 1.

    Raises
    ------
    InputError
        If it cannot be read, lacks a record, or its records differ in their atoms.
    """
    with parsing(path, "SDF"), rdBase.BlockLogs():
        supplier = Chem.SDMolSupplier()
        supplier.SetData(read_text(path), sanitize=True, removeHs=False, strictParsing=False)
        found = list(supplier)
    if max(records) > len(found) or any(found[record - 1] is None for record in records):
        raise InputError(f"{path}: does not hold the {max(records)} records of samples.json; draw the samples anew")
    mols = [found[record - 1] for record in records]
    first = [atom.GetAtomicNum() for atom in mols[0].GetAtoms()]
    if any([atom.GetAtomicNum() for atom in mol.GetAtoms()] != first for mol in mols):
        raise InputError(f"{path}: its records are different molecules; give the samples of one")
    coords = np.stack([mol.GetConformer().GetPositions() for mol in mols])
    return _conformers(mols[0], coords, path)


def read_models(paths: Sequence[Path]) -> Drawable:
    """Structure files of the same molecules, one sample each (their first models).

    Raises
    ------
    InputError
        If one cannot be read, or is of other atoms than the first.
    """
    structures = [read_structure_file(path) for path in paths]
    first = structures[0]
    for path, one in zip(paths, structures, strict=True):
        if not np.array_equal(one.atoms.element, first.atoms.element):
            raise InputError(f"{path}: other atoms than in {paths[0].name}; give the samples of one input")
    count = len(first.atoms)
    return Drawable(
        structure=first,
        topology=topology(first),
        coords=np.stack([one.coords[0] for one in structures]).astype(np.float64),
        element=[element.capitalize() for element in first.atoms.element.tolist()],
        bonds=_with_orders(first.atoms.bonds.as_array()),
        heavy=np.arange(count),
        parent=np.arange(count),
        fold=_folds(first),
    )


def read_frames(path: Path, structure: Structure) -> NDArray[np.float32] | None:
    """[F, A, 3] models of a file, None if it is missing or its atoms are not those of the structure.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    if not path.is_file():
        return None
    found = read_structure_file(path)
    same = np.array_equal(found.atoms.element, structure.atoms.element)
    return found.coords if same else None


def depiction(smiles: str, width: int, height: int) -> str:
    """A drawing of a molecule as SVG, stereo marked; empty if RDKit does not read the SMILES.

    >>> depiction("CCO", 200, 100).startswith("<svg")
    True
    """
    with rdBase.BlockLogs():
        mol = molecules.parsed_smiles(smiles)
        if mol is None or not mol.GetNumAtoms():
            return ""
        rdDepictor.SetPreferCoordGen(True)
        canvas = rdMolDraw2D.MolDraw2DSVG(width, height)
        options: Any = canvas.drawOptions()
        options.clearBackground, options.addStereoAnnotation, options.bondLineWidth = False, True, 1.4
        options.maxFontSize, options.fixedBondLength = 16, 28
        rdMolDraw2D.PrepareAndDrawMolecule(canvas, mol)
        canvas.FinishDrawing()
    text = canvas.GetDrawingText()
    return text[text.index("<svg") :]


def smiles_of(path: Path) -> str:
    """SMILES of the first record of an SDF, as its bonds and coordinates have it; empty if there is none."""
    block = []
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            block.append(line)
            if line.startswith("M  END"):
                break
    with rdBase.BlockLogs():
        mol = Chem.MolFromMolBlock("".join(block))
        return "" if mol is None else Chem.MolToSmiles(molecules.drop_hydrogens(mol))


def _conformers(mol: Chem.Mol, coords: Floats, path: Path) -> Drawable:
    heavy = np.array([atom.GetIdx() for atom in mol.GetAtoms() if atom.GetAtomicNum() > 1], dtype=np.int64)
    if not len(heavy):
        raise InputError(f"{path}: no heavy atom in it; nothing to draw")
    number = np.zeros(mol.GetNumAtoms(), dtype=np.int64)
    number[heavy] = np.arange(len(heavy))
    for atom in mol.GetAtoms():
        bound = [other.GetIdx() for other in atom.GetNeighbors() if other.GetAtomicNum() > 1]
        if atom.GetAtomicNum() == 1 and bound:
            number[atom.GetIdx()] = number[bound[0]]
    bare = molecules.drop_hydrogens(mol)
    structure = structure_from_mol(bare, name=path.parent.name, source=str(path), seed=0)
    return Drawable(
        structure=structure,
        topology=topology(structure),
        coords=coords,
        element=[atom.GetSymbol() for atom in mol.GetAtoms()],
        bonds=_with_orders(molecules.bonds(mol)),
        heavy=heavy,
        parent=number,
        fold=["c"] * mol.GetNumAtoms(),
    )


def _with_orders(rows: NDArray[np.integer]) -> Ints:
    found = np.asarray(rows, dtype=np.int64).reshape(-1, 3).copy()
    found[:, 2] = [_ORDERS.get(BondType(kind), 1) for kind in found[:, 2].tolist()]
    return found


_WIDEST_FOLD = 1000.0
"""Angstrom, more than any chain measures."""


def _folds(structure: Structure) -> list[str]:
    """Secondary structure of protein chains by their C-alpha trace (P-SEA, Labesse et al. 1997)."""
    found = np.full(len(structure.atoms), "c")
    for index, chain in enumerate(structure.chains):
        atoms = np.flatnonzero(structure.chain_index == index)
        part = structure.atoms[atoms]
        if chain.mol_type != PROTEIN or not np.isfinite(part.coord).all():
            continue
        # biotite searches contacts on a grid, which a sample that flew apart makes larger than the memory
        if np.ptp(part.coord, axis=0).max() > _WIDEST_FOLD:
            continue
        letters = annotate_sse(part)
        sizes = [len(residue) for residue in residue_iter(part)]
        if len(sizes) == len(letters):
            found[atoms] = np.repeat([_FOLDS[letter] for letter in letters.tolist()], sizes)
    return found.tolist()
