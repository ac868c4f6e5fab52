"""Fifty small molecules of crystal structures, with stereo, and their features for any order of atoms and conformer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from rdkit import Chem

from frazil.data import Structure, featurize
from frazil.data.sdf import structure_from_mol
from frazil.features import Features

FILE = Path(__file__).parent / "data" / "files" / "ccd_ligands.smi"


def ligands() -> dict[str, Chem.Mol]:
    """By component name."""
    lines = (line.split() for line in FILE.read_text().splitlines())
    return {name: Chem.MolFromSmiles(smiles) for smiles, name in lines}


def structure_of(mol: Chem.Mol) -> Structure:
    """With an ETKDG conformer, which has the stereo of the molecule."""
    return structure_from_mol(mol, name="ligand", source="ligand", seed=0)


def features_of(mol: Chem.Mol, conformer: np.ndarray, order: Sequence[int] | None = None) -> Features:
    """With the atoms in another order, and that reference conformer, [A, 3] in the order of the mol."""
    order = list(range(mol.GetNumAtoms())) if order is None else list(order)
    structure = structure_of(Chem.RenumberAtoms(mol, order))
    return featurize(replace(structure, ref_pos=conformer[order].astype(np.float32)))
