"""SDF -> `Structure`: equal molecules are the conformers of one ensemble, chemistry from the graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rdkit import Chem, rdBase

from frazil.chemistry import NONPOLYMER
from frazil.data import molecules
from frazil.data.assembly import ChainPlan, assemble, finish, named_apart, whole_residue
from frazil.data.files import read_text, safe_name, stem_of
from frazil.data.residues import component_from_mol
from frazil.data.structure import Structure
from frazil.errors import InputError

SDF_SUFFIXES = (".sdf", ".mol", ".sd")
CHAIN_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def chain_name(number: int) -> str:
    """A, B, ..., 9, AA, AB, ...

    >>> chain_name(0), chain_name(61), chain_name(62)
    ('A', '9', 'AA')
    """
    high, low = divmod(number, len(CHAIN_LETTERS))
    return (chain_name(high - 1) if high else "") + CHAIN_LETTERS[low]


def read_sdf(path: Path, *, seed: int) -> list[Structure]:
    """The distinct molecules of an SDF, each an ensemble of its records' coordinates.

    Records are the same molecule if their canonical isomeric SMILES (stereo from 3-D coordinates where there are any)
    are equal. Flat records (2-D) have no coordinates.

    Raises
    ------
    InputError
        If no record can be read, or RDKit refuses one.
    """
    return [_ensemble([mol for _, mol in records], path, seed=seed) for records in _molecules(path)]


def record_numbers(path: Path) -> list[list[int]]:
    """For each molecule of `read_sdf`, and each model of it, the number of its record in the file, from 1.

    Raises
    ------
    InputError
        As `read_sdf`.
    """
    return [[number for number, _ in records] for records in _molecules(path)]


def structure_from_mol(
    mol: Chem.Mol, *, name: str, source: str, seed: int, coords: np.ndarray | None = None
) -> Structure:
    """A molecule without hydrogens as a structure, one chain a fragment; `coords` is [E, A, 3] in the mol's order."""
    order: list[tuple[int, ...]] = []
    parts = Chem.GetMolFrags(mol, asMols=True, sanitizeFrags=False, fragsMolAtomMapping=order)
    components = [component_from_mol(part, seed) for part in parts]
    plans = named_apart(
        [
            ChainPlan(chain_name(number), NONPOLYMER, (whole_residue(component),), label=component.label)
            for number, component in enumerate(components)
        ]
    )
    assembly = assemble(plans, name=source)
    if coords is not None:
        coords = coords[:, np.concatenate([np.array(part) for part in order])]
    return finish(assembly, plans, name=name, source=source, coords=coords)


def _molecules(path: Path) -> list[list[tuple[int, Chem.Mol]]]:
    """The records of each distinct molecule with their numbers, in the order of first appearance."""
    groups: dict[str, list[tuple[int, Chem.Mol]]] = {}
    for number, mol in enumerate(_records(path), start=1):
        groups.setdefault(Chem.MolToSmiles(mol), []).append((number, mol))
    return list(groups.values())


def _records(path: Path) -> list[Chem.Mol]:
    text = read_text(path)
    with rdBase.BlockLogs():
        supplier = Chem.SDMolSupplier()
        supplier.SetData(text, sanitize=True, removeHs=True, strictParsing=False)
        mols = list(supplier)
    kept = []
    for number, record in enumerate(text.split("$$$$"), start=1):
        molecules.refuse_several(record, f"{path}: record {number}")
    for number, mol in enumerate(mols, start=1):
        if mol is None:
            raise InputError(f"{path}: record {number} is not a molecule that RDKit accepts; remove or repair it")
        kept.append(_cleaned(mol, path, number))
    if not kept:
        raise InputError(f"{path}: no molecule in it; check that it is an SDF")
    return kept


def _cleaned(mol: Chem.Mol, path: Path, number: int) -> Chem.Mol:
    if any(atom.GetAtomicNum() == 0 for atom in mol.GetAtoms()):
        raise InputError(f"{path}: record {number} has an atom without element; give the whole molecule")
    title = mol.GetProp("_Name") if mol.HasProp("_Name") else ""
    with rdBase.BlockLogs():
        if mol.GetNumConformers() and mol.GetConformer().Is3D():
            Chem.AssignStereochemistryFrom3D(mol)
        mol = molecules.drop_hydrogens(mol)
    if mol.GetNumAtoms() == 0:
        raise InputError(f"{path}: record {number} has no heavy atoms; remove it")
    mol.SetProp("_Name", title)
    return mol


def _ensemble(records: list[Chem.Mol], path: Path, *, seed: int) -> Structure:
    first = records[0]
    models = []
    for mol in records:
        order = mol.GetSubstructMatch(first, useChirality=True) or tuple(range(first.GetNumAtoms()))
        known = mol.GetNumConformers() > 0 and mol.GetConformer().Is3D()
        coords = mol.GetConformer().GetPositions()[list(order)] if known else np.full((len(order), 3), np.nan)
        models.append(coords)
    title = first.GetProp("_Name").strip()
    name = safe_name(title) if title else stem_of(path)
    return structure_from_mol(first, name=name, source=str(path), seed=seed, coords=np.stack(models))
