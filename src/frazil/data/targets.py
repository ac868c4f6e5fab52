"""What there is to train on: a molecule, the coordinates known of it and reference conformers that do not know them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from rdkit.Chem import rdMolAlign

from frazil.data.ccd import CrystalLigand, ligand_with_coords
from frazil.data.conformers import with_conformers, with_stereo
from frazil.data.featurize import featurize
from frazil.data.molecules import drop_hydrogens, embed, mol_from_smiles, refuse_several
from frazil.data.reading import read
from frazil.data.records import StoredStructure
from frazil.data.sdf import structure_from_mol
from frazil.errors import InputError

MAX_MATCHES = 500
"""Ways to exchange equivalent atoms that are looked at; some ligands have thousands of millions."""


def ligand_of_record(text: str, name: str) -> CrystalLigand:
    """The ligand of one record of an SDF; stereo is that of its coordinates.

    Raises
    ------
    InputError
        If RDKit refuses it, it is flat, not one connected molecule, or a bond is impossibly long or short.
    """
    refuse_several(text, f"{name}: the record")
    with rdBase.BlockLogs():
        supplier = Chem.SDMolSupplier()
        supplier.SetData(text, sanitize=True, removeHs=False, strictParsing=False)
        mol = next(iter(supplier), None)
        if mol is None:
            raise InputError(f"{name}: not a molecule that RDKit accepts; repair its valences or its lines")
        if any(atom.GetAtomicNum() == 0 for atom in mol.GetAtoms()):
            raise InputError(f"{name}: an atom without element; give the whole molecule")
        if not (mol.GetNumConformers() and mol.GetConformer().Is3D()):
            raise InputError(f"{name}: no 3-D coordinates to train on; give a record that has them")
        mol = drop_hydrogens(mol)
    if mol.GetNumAtoms() == 0:
        raise InputError(f"{name}: no heavy atoms; leave it out")
    return ligand_with_coords(name, mol, mol.GetConformer().GetPositions())


def stored_ligand(ligand: CrystalLigand, num_conformers: int, *, origin: str) -> StoredStructure:
    """A ligand to train on, with reference conformers (ETKDGv3, seeds from 0) of its SMILES alone.

    Symmetry leaves open which of its equivalent atoms (the sides of a phenyl ring, say) is which: for each conformer
    they are exchanged so that they lie nearest to it.

    Examples
    --------
    >>> from frazil.data.ccd import CrystalLigands
    >>> stored = stored_ligand(CrystalLigands()["IBP"], 2, origin="IBP")
    >>> stored.conformers.shape, stored.features.coords.shape
    (torch.Size([2, 15, 3]), torch.Size([1, 1, 15, 3]))
    """
    mol = mol_from_smiles(ligand.smiles)
    structure = structure_from_mol(mol, name=ligand.name, source=ligand.smiles, seed=0, coords=ligand.coords[None])
    conformers = [structure.ref_pos, *(embed(mol, seed) for seed in range(1, num_conformers))]
    targets = [placed_by(mol, ligand.coords, conformer) for conformer in conformers]
    reference, placed = (torch.from_numpy(np.stack(rows)) for rows in (conformers, targets))
    return StoredStructure(featurize(structure), reference, ligand.smiles, origin, placed)


def placed_by(mol: Chem.Mol, coords: NDArray[np.float32], reference: NDArray[np.float32]) -> NDArray[np.float32]:
    """[A, 3], the coordinates with equivalent atoms exchanged so that they fit a reference best, stereo unchanged.

    Oxygens of a carboxylate and the like count as equivalent, whatever their bonds.
    """
    # with all exchanges, and if those invert a centre with the ones that the stereo allows
    for matches in ([], _automorphisms(mol)):
        try:
            best = rdMolAlign.GetBestAlignmentTransform(
                with_conformers(mol, coords[None]), with_conformers(mol, reference[None]),
                map=matches, maxMatches=MAX_MATCHES,
            )[2]  # fmt: skip
        except RuntimeError:
            # no rigid motion fits best, as for a single atom
            return coords
        exchanged = np.empty_like(coords)
        for source, place in best:
            exchanged[place] = coords[source]
        if _handedness(mol, exchanged) == _handedness(mol, coords):
            return exchanged
    return coords


def _automorphisms(mol: Chem.Mol) -> list[list[tuple[int, int]]]:
    """Ways to lay a molecule on itself with its stereo."""
    found = mol.GetSubstructMatches(mol, uniquify=False, useChirality=True, maxMatches=MAX_MATCHES)
    return [list(enumerate(match)) for match in found]


def _handedness(mol: Chem.Mol, coords: NDArray[np.float32]) -> list[Chem.ChiralType]:
    """Of each atom; halves of a meso compound must not be exchanged."""
    return [atom.GetChiralTag() for atom in with_stereo(mol, coords).GetAtoms()]


def stored_file(path: Path, *, origin: str) -> StoredStructure:
    """A structure file to train on: all its models, and the one reference conformer that each residue has.

    Raises
    ------
    InputError
        If it cannot be read or holds no coordinates.
    """
    structure = read(path)
    if not structure.has_coords:
        raise InputError(f"{path}: no atom with coordinates to train on")
    features = featurize(structure)
    return StoredStructure(features, features.ref_pos, origin=origin)
