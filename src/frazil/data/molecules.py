"""Small molecules by RDKit: SMILES in, graphs and reference conformers out."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from biotite.structure import BondType
from rdkit import Chem, rdBase
from rdkit.Chem import rdDepictor, rdDistGeom

from frazil.errors import InputError

MAX_EMBED_ATOMS = 128
"""Heavy atoms above which a conformer is only drawn flat: distance geometry takes cubic time."""

MAX_MATCHES = 64

MAX_TRIALS = 512
"""Choices of nitrogens with a hydrogen that are tried for an aromatic molecule."""

_END_OF_MOLECULE = re.compile(r"^M  END\s*$", re.MULTILINE)
_DATA_FIELD = re.compile(r"^>.*\n(?:.*\S.*\n?)*", re.MULTILINE)
_EXTENSION = re.compile(r" \|[^|]*\|$")
_EMBED_ITERATIONS = 20
_BOND_TYPES = {
    Chem.BondType.SINGLE: BondType.SINGLE,
    Chem.BondType.DOUBLE: BondType.DOUBLE,
    Chem.BondType.TRIPLE: BondType.TRIPLE,
    Chem.BondType.QUADRUPLE: BondType.QUADRUPLE,
    Chem.BondType.DATIVE: BondType.COORDINATION,
    Chem.BondType.AROMATIC: BondType.AROMATIC,
}
_RDKIT_BOND_TYPES = {
    BondType.SINGLE: Chem.BondType.SINGLE,
    BondType.DOUBLE: Chem.BondType.DOUBLE,
    BondType.TRIPLE: Chem.BondType.TRIPLE,
    BondType.QUADRUPLE: Chem.BondType.QUADRUPLE,
    BondType.AROMATIC_SINGLE: Chem.BondType.SINGLE,
    BondType.AROMATIC_DOUBLE: Chem.BondType.DOUBLE,
    BondType.AROMATIC_TRIPLE: Chem.BondType.TRIPLE,
    BondType.COORDINATION: Chem.BondType.DATIVE,
}
_AROMATIC = {
    BondType.SINGLE: BondType.AROMATIC_SINGLE,
    BondType.DOUBLE: BondType.AROMATIC_DOUBLE,
    BondType.TRIPLE: BondType.AROMATIC_TRIPLE,
}


def refuse_several(record: str, name: str) -> None:
    """Refuse the text of one SDF record with more molecules than one: readers take the first and drop the others.

    Raises
    ------
    InputError
        Naming the record as given.
    """
    end = _END_OF_MOLECULE.search(record)
    # a data field may hold any text, this line as well
    if end and _END_OF_MOLECULE.search(_DATA_FIELD.sub("", record[end.end() :])):
        raise InputError(f"{name} holds more than one molecule; put a line of $$$$ after each")


def mol_from_smiles(smiles: str) -> Chem.Mol:
    """The molecule of a SMILES, without hydrogens.

    Raises
    ------
    InputError
        If RDKit refuses it, or it has no heavy atom.

    >>> mol_from_smiles("CCO").GetNumAtoms()
    3
    """
    mol = parsed_smiles(smiles)
    shown = smiles if len(smiles) <= 60 else f"{smiles[:57]}..."
    if mol is None:
        raise InputError(f"{shown!r}: not a SMILES that RDKit accepts; check brackets, rings and valences")
    if any(atom.GetAtomicNum() == 0 for atom in mol.GetAtoms()):
        raise InputError(f"{shown!r}: has a wildcard atom (*); give the whole molecule")
    mol = drop_hydrogens(mol)
    if mol.GetNumAtoms() == 0:
        raise InputError(f"{shown!r}: a molecule without heavy atoms; give one that has some")
    return mol


def parsed_smiles(smiles: str) -> Chem.Mol | None:
    """The molecule of a whole SMILES, or CXSMILES (with an extension such as `|wU:7.7|`), as RDKit reads it.

    None if it does not.

    >>> parsed_smiles("CC O") is None, parsed_smiles("CC |$a;b$|").GetNumAtoms()
    (True, 2)
    """
    # RDKit stops reading at a blank, a null character or the first letter that is not of ASCII
    plain = _EXTENSION.sub("", smiles)
    if not smiles.isascii() or not smiles.isprintable() or " " in plain:
        return None
    with rdBase.BlockLogs():
        return Chem.MolFromSmiles(smiles)


def drop_hydrogens(mol: Chem.Mol) -> Chem.Mol:
    """The molecule without hydrogens of any isotope, stereo kept."""
    with rdBase.BlockLogs():
        mol = Chem.RWMol(Chem.RemoveAllHs(mol))
        for index in sorted((a.GetIdx() for a in mol.GetAtoms() if a.GetAtomicNum() == 1), reverse=True):
            mol.RemoveAtom(index)
        return mol.GetMol()


def fragments(mol: Chem.Mol) -> tuple[Chem.Mol, ...]:
    """The connected parts of a molecule, in the order of their first atoms, conformers kept."""
    return Chem.GetMolFrags(mol, asMols=True, sanitizeFrags=False)


def atom_names(mol: Chem.Mol) -> tuple[str, ...]:
    """Unique names by element and order, hydrogens not counted.

    >>> atom_names(mol_from_smiles("CC(=O)Cl"))
    ('C1', 'C2', 'O1', 'CL1')
    """
    counts: dict[str, int] = {}
    names = []
    for atom in mol.GetAtoms():
        symbol = atom.GetSymbol().upper()
        counts[symbol] = counts.get(symbol, 0) + 1
        names.append(f"{symbol}{counts[symbol]}")
    return tuple(names)


def bonds(mol: Chem.Mol) -> np.ndarray:
    """[K, 3] int64: two atom indices and a biotite `BondType`, aromatic bonds with their Kekule order."""
    kekulized = Chem.Mol(mol)
    with rdBase.BlockLogs():
        try:
            Chem.Kekulize(kekulized, clearAromaticFlags=False)
        except (Chem.KekulizeException, ValueError):
            kekulized = mol
    rows = []
    for bond in kekulized.GetBonds():
        kind = _BOND_TYPES.get(bond.GetBondType(), BondType.ANY)
        if bond.GetIsAromatic():
            kind = _AROMATIC.get(kind, kind)
        rows.append((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), int(kind)))
    return np.array(rows, dtype=np.int64).reshape(-1, 3)


def mol_from_graph(elements: Iterable[str], charges: Iterable[int], bond_rows: np.ndarray) -> Chem.Mol:
    """A molecule from elements, formal charges and [K, 3] bonds; sanitised as far as RDKit goes along."""
    table = Chem.GetPeriodicTable()
    mol = Chem.RWMol()
    for element, charge in zip(elements, charges, strict=True):
        symbol = element.capitalize()
        number = table.GetAtomicNumber(symbol) if symbol not in ("", "X") else 0
        atom = Chem.Atom(number)
        atom.SetFormalCharge(int(charge))
        mol.AddAtom(atom)
    for first, second, kind in bond_rows.tolist():
        mol.AddBond(first, second, _RDKIT_BOND_TYPES.get(BondType(kind), Chem.BondType.SINGLE))
    with rdBase.BlockLogs():
        mol.UpdatePropertyCache(strict=False)
        Chem.SanitizeMol(mol, catchErrors=True)
    return mol.GetMol()


def kekulized(elements: Iterable[str], charges: Iterable[int], bond_rows: np.ndarray) -> np.ndarray:
    """[K, 3] bonds of which aromatic ones are given an order; left as they are where no order fits.

    Where a ring needs a hydrogen on a nitrogen (pyrrole, indole), the first nitrogens that make it fit get one.
    """
    if not (bond_rows[:, 2] == int(BondType.AROMATIC)).any():
        return bond_rows
    mol = Chem.RWMol(mol_from_graph(elements, charges, bond_rows[:0]))
    for first, second, kind in bond_rows.tolist():
        if kind != int(BondType.AROMATIC):
            mol.AddBond(first, second, _RDKIT_BOND_TYPES.get(BondType(kind), Chem.BondType.SINGLE))
            continue
        mol.AddBond(first, second, Chem.BondType.AROMATIC)
        mol.GetBondBetweenAtoms(first, second).SetIsAromatic(True)
        for end in (first, second):
            mol.GetAtomWithIdx(end).SetIsAromatic(True)
    nitrogens = [atom.GetIdx() for atom in mol.GetAtoms() if _may_carry_hydrogen(atom)]
    for chosen in _few_of(nitrogens):
        trial = Chem.RWMol(mol)
        for index in chosen:
            trial.GetAtomWithIdx(index).SetNumExplicitHs(1)
        with rdBase.BlockLogs():
            if Chem.SanitizeMol(trial, catchErrors=True) == Chem.SanitizeFlags.SANITIZE_NONE:
                return bonds(trial)
    return bond_rows


def _may_carry_hydrogen(atom: Chem.Atom) -> bool:
    return bool(
        atom.GetAtomicNum() == 7 and atom.GetIsAromatic() and atom.GetDegree() == 2 and not atom.GetFormalCharge()
    )


def _few_of(indices: list[int]) -> Iterator[tuple[int, ...]]:
    """The empty choice, then one, two and three of them, at most `MAX_TRIALS`."""
    choices = itertools.chain.from_iterable(itertools.combinations(indices, size) for size in range(4))
    return itertools.islice(choices, MAX_TRIALS)


def graph_matches(
    elements: Iterable[str], bond_rows: np.ndarray, of_elements: Iterable[str], of_bond_rows: np.ndarray
) -> tuple[tuple[int, ...], ...]:
    """Ways to lay a connected graph of elements into another, bond orders ignored; at most `MAX_MATCHES`."""

    def bare(symbols: Iterable[str], rows: np.ndarray) -> Chem.Mol:
        plain = rows.copy()
        plain[:, 2] = int(BondType.SINGLE)
        symbols = tuple(symbols)
        return mol_from_graph(symbols, [0] * len(symbols), plain)

    part, whole = bare(elements, bond_rows), bare(of_elements, of_bond_rows)
    return whole.GetSubstructMatches(part, uniquify=False, maxMatches=MAX_MATCHES)


def embed(mol: Chem.Mol, seed: int, *, hydrogens: bool = True) -> np.ndarray:
    """A conformer from the graph alone, [A, 3] float32 angstrom, always finite.

    ETKDGv3 (Wang et al. 2020, J. Chem. Inf. Model. 60, 2044), then ETKDGv3 from random coordinates, then the flat
    drawing. Existing conformers are not looked at; equal molecule and seed give equal coordinates. Without hydrogens
    it takes a quarter of the time, and is a little further from what crystals have.
    """
    with rdBase.BlockLogs():
        bare = Chem.Mol(mol)
        bare.RemoveAllConformers()
        if bare.GetNumAtoms() <= MAX_EMBED_ATOMS:
            for with_hydrogens, random_start in itertools.product(sorted({hydrogens, True}), (False, True)):
                coords = _distance_geometry(bare, seed, with_hydrogens, random_start)
                if coords is not None:
                    return coords
        rdDepictor.Compute2DCoords(bare)
        coords = bare.GetConformer().GetPositions().astype(np.float32)
    # the drawing of a broken graph may overlap or fail; a line is at least finite
    line = np.arange(len(coords), dtype=np.float32)[:, None] * np.array([1.5, 0, 0], dtype=np.float32)
    return coords if np.isfinite(coords).all() else line


def _distance_geometry(mol: Chem.Mol, seed: int, hydrogens: bool, random_start: bool) -> np.ndarray | None:
    parameters: Any = rdDistGeom.ETKDGv3()
    # RDKit's generator takes 0 for 1
    parameters.randomSeed = seed % 0x7FFFFFFF + 1
    parameters.useRandomCoords = random_start
    parameters.maxIterations = _EMBED_ITERATIONS
    parameters.numThreads = 1
    try:
        embedded = Chem.AddHs(mol) if hydrogens else Chem.Mol(mol)
        if rdDistGeom.EmbedMolecule(embedded, parameters) < 0:
            return None
    except (RuntimeError, ValueError):
        return None
    coords = embedded.GetConformer().GetPositions()[: mol.GetNumAtoms()].astype(np.float32)
    return coords if np.isfinite(coords).all() else None
