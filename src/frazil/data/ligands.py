"""One small molecule from a text: read, refused where no conformers can be drawn of it, its stereo made complete."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem.EnumerateStereoisomers import EnumerateStereoisomers, StereoEnumerationOptions

from frazil.data.conformers import packed, unpacked, with_stereo
from frazil.data.molecules import drop_hydrogens, embed, fragments, mol_from_graph, mol_from_smiles, refuse_several
from frazil.data.residues import Component
from frazil.data.sdf import structure_from_mol
from frazil.data.structure import Structure
from frazil.errors import InputError

MAX_HEAVY_ATOMS: Final = 200
Mol = Chem.Mol
"""For the rooms that know no RDKit."""


@dataclass(frozen=True, eq=False)
class Ligand:
    """One connected molecule without hydrogens."""

    mol: Chem.Mol
    """In the atom order of its text, all stereo given as far as a conformer tells it, without conformers."""
    remark: str = ""
    """What was chosen, where the text left a choice."""

    def __reduce__(self) -> tuple[Callable[[bytes, str], Ligand], tuple[bytes, str]]:
        """With the properties of the molecule, to another process."""
        return _unpacked, (packed(self.mol), self.remark)

    @property
    def smiles(self) -> str:
        """Canonical, isomeric."""
        return str(Chem.MolToSmiles(self.mol))

    @property
    def num_atoms(self) -> int:
        """Heavy atoms."""
        return int(self.mol.GetNumAtoms())

    def structure(self, *, name: str, source: str, seed: int) -> Structure:
        """The molecule as a structure, atoms in the same order, with an ETKDG conformer as its reference."""
        return structure_from_mol(self.mol, name=name, source=source, seed=seed)

    def conformer(self, seed: int) -> np.ndarray:
        """[A, 3] float32, angstrom: a further reference conformer, embedded without hydrogens for speed."""
        return embed(self.mol, seed, hydrogens=False)


def _unpacked(binary: bytes, remark: str) -> Ligand:
    return Ligand(unpacked(binary), remark)


def ligand_of(text: str) -> Ligand:
    """The molecule of a SMILES or of an SDF record (a text of several lines); stereo is left as it is given.

    Raises
    ------
    InputError
        If RDKit refuses it, or it has no or too many heavy atoms, atoms without element, several fragments or radicals.

    Examples
    --------
    >>> ligand_of("CCO").num_atoms
    3
    """
    mol = _mol_of_record(text) if "\n" in text else mol_from_smiles(text)
    return ligand_of_mol(mol)


def ligand_of_mol(mol: Chem.Mol) -> Ligand:
    """The molecule of an RDKit one, heavy atoms in its order; its conformers are not looked at. Errors as `ligand_of`.

    >>> ligand_of_mol(Chem.AddHs(Chem.MolFromSmiles("OCC"))).smiles
    'CCO'
    """
    if any(atom.GetAtomicNum() == 0 for atom in mol.GetAtoms()):
        raise InputError("has an atom without element; give the whole molecule")
    mol = drop_hydrogens(mol)
    mol.RemoveAllConformers()
    _refuse(mol)
    return Ligand(mol)


def complete(ligand: Ligand, seed: int) -> Ligand:
    """The ligand with a hand for each centre and a side for each double bond whose stereo was not given.

    Those that an ETKDG conformer has, which are sure to be possible together; `remark` then names them.

    Examples
    --------
    >>> complete(ligand_of("CC(F)Cl"), seed=0).remark
    'stereo not given at 1 place; chose C[C@@H](F)Cl'
    """
    with rdBase.BlockLogs():
        given = Chem.Mol(ligand.mol)
        open_places = [
            info.centeredOn
            for info in Chem.FindPotentialStereo(given)
            if info.specified != Chem.StereoSpecified.Specified
        ]
        if not open_places:
            return ligand
        mol = with_stereo(ligand.mol, embed(ligand.mol, seed))
        mol.RemoveAllConformers()
        if not mol.HasSubstructMatch(ligand.mol, useChirality=True):
            # a flat drawing has no stereo, and would take away what is given
            options = StereoEnumerationOptions(maxIsomers=1, onlyUnassigned=True, rand=seed)
            mol = next(iter(EnumerateStereoisomers(ligand.mol, options=options)))
    chosen = Ligand(mol)
    if chosen.smiles == ligand.smiles:
        # cages, allenes and the like: a place by its neighbours, with nothing to choose
        return chosen
    places = f"{len(open_places)} place{'s' if len(open_places) > 1 else ''}"
    return Ligand(mol, f"stereo not given at {places}; chose {chosen.smiles}")


def title_of(mol: Chem.Mol) -> str:
    """The title of an RDKit molecule, empty without one."""
    return str(mol.GetProp("_Name")).strip() if mol.HasProp("_Name") else ""


def smiles_of_component(component: Component) -> str:
    """Canonical isomeric SMILES of a CCD component, stereo from its conformer."""
    mol = mol_from_graph(component.elements, component.charges.tolist(), component.bonds)
    return str(Chem.MolToSmiles(with_stereo(mol, component.ref_pos)))


def _mol_of_record(text: str) -> Chem.Mol:
    refuse_several(text, "the record")
    with rdBase.BlockLogs():
        mol = Chem.MolFromMolBlock(text, sanitize=True, removeHs=False, strictParsing=False)
        if mol is None:
            raise InputError("not a molecule that RDKit accepts; check its atoms, bonds and valences")
        if mol.GetNumConformers() and mol.GetConformer().Is3D():
            Chem.AssignStereochemistryFrom3D(mol)
    return mol


def _refuse(mol: Chem.Mol) -> None:
    """Refuse what no conformer can be drawn of."""
    count = mol.GetNumAtoms()
    if not count:
        raise InputError("no heavy atoms; give a molecule that has some")
    if count > MAX_HEAVY_ATOMS:
        raise InputError(f"{count} heavy atoms, more than {MAX_HEAVY_ATOMS}; give a smaller molecule")
    parts = sorted((Chem.MolToSmiles(part) for part in fragments(mol)), key=len, reverse=True)
    if len(parts) > 1:
        shown = ", ".join(part if len(part) <= 40 else f"{part[:37]}..." for part in parts[:4])
        raise InputError(f"{len(parts)} fragments, such as a salt has ({shown}); give one of them")
    radicals = [atom for atom in mol.GetAtoms() if atom.GetNumRadicalElectrons()]
    if radicals:
        first = f"{radicals[0].GetSymbol()} {radicals[0].GetIdx() + 1}"
        raise InputError(f"a radical (atom {first}); write all its hydrogens, or its charge")
