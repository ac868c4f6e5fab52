"""`Component`: a residue or ligand as a graph with a conformer, from the Chemical Component Dictionary or RDKit."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
from biotite.structure import AtomArray, BondType, connect_via_distances, rmsd, superimpose
from biotite.structure.info import get_from_ccd
from rdkit import Chem

from frazil.chemistry import DNA, NONPOLYMER, PROTEIN, RNA
from frazil.data import molecules

LIGAND_NAME = "LIG"
WATERS = frozenset({"HOH", "DOD", "WAT", "H2O", "TIP", "TIP3", "SOL"})

_BOND_TYPES = {
    ("SING", "N"): BondType.SINGLE, ("DOUB", "N"): BondType.DOUBLE, ("TRIP", "N"): BondType.TRIPLE,
    ("QUAD", "N"): BondType.QUADRUPLE, ("SING", "Y"): BondType.AROMATIC_SINGLE,
    ("DOUB", "Y"): BondType.AROMATIC_DOUBLE, ("TRIP", "Y"): BondType.AROMATIC_TRIPLE,
    ("AROM", "Y"): BondType.AROMATIC, ("AROM", "N"): BondType.AROMATIC,
}  # fmt: skip
_CONFORMER_SEED = 0


@dataclass(frozen=True, eq=False)
class Component:
    """The heavy atoms of one residue or ligand: names, graph and reference conformer."""

    name: str
    kind: int
    """Polymer that it links into (`chemistry.PROTEIN`, `DNA`, `RNA`) or `NONPOLYMER`."""
    atom_names: tuple[str, ...]
    elements: tuple[str, ...]
    """Upper case."""
    charges: np.ndarray
    """[A] int64, formal charges."""
    leaving: np.ndarray
    """[A] bool, atoms that go when the residue is linked to others."""
    bonds: np.ndarray
    """[K, 3] int64: two atom indices and a biotite `BondType`."""
    ref_pos: np.ndarray
    """[A, 3] float32, angstrom, finite."""
    synonyms: dict[str, str] = field(default_factory=dict)
    """Old atom name -> present one."""
    label: str | None = None
    """SMILES of a molecule that is not from the CCD."""

    def __len__(self) -> int:
        return len(self.atom_names)


@lru_cache(maxsize=4096)
def ccd_component(name: str) -> Component | None:
    """The CCD's component of that name, or None where there is none with heavy atoms.

    The conformer is the dictionary's ideal one, else its model coordinates, else RDKit's ETKDGv3.

    >>> ccd_component("GLY").atom_names
    ('N', 'CA', 'C', 'O', 'OXT')
    """
    names = _atom_column(name, "atom_id")
    if names is None:
        return None
    elements = np.char.upper(_atom_column(name, "type_symbol"))
    heavy = ~np.isin(elements, ("H", "D", "T"))
    if not heavy.any():
        return None
    atom_names = tuple(names[heavy].tolist())
    charges = _atom_column(name, "charge", int, 0)[heavy]
    bonds = _ccd_bonds(name, atom_names)
    element_names = tuple(elements[heavy].tolist())
    alternatives = _atom_column(name, "alt_atom_id")[heavy].tolist()
    return Component(
        name=name,
        kind=ccd_kind(name),
        atom_names=atom_names,
        elements=element_names,
        charges=charges.astype(np.int64),
        leaving=_atom_column(name, "pdbx_leaving_atom_flag")[heavy] == "Y",
        bonds=bonds,
        ref_pos=_ccd_conformer(name, heavy, element_names, charges, bonds),
        synonyms={old: new for old, new in zip(alternatives, atom_names, strict=True) if old not in atom_names},
    )


@lru_cache(maxsize=4096)
def ccd_kind(name: str) -> int:
    """The polymer that a CCD component links into, `NONPOLYMER` for none or an unknown name."""
    column = get_from_ccd("chem_comp", name, "type")
    kind = str(column.as_array(str)[0]).upper() if column is not None else ""
    if "DNA" in kind:
        return DNA
    if "RNA" in kind:
        return RNA
    return PROTEIN if "PEPTIDE" in kind and kind != "PEPTIDE-LIKE" else NONPOLYMER


def in_ccd(name: str) -> bool:
    """Whether the CCD has a component of that name with heavy atoms."""
    return ccd_component(name) is not None


def component_from_mol(mol: Chem.Mol, seed: int, name: str = LIGAND_NAME) -> Component:
    """A component from one connected RDKit molecule without hydrogens; its own conformers are not looked at."""
    return Component(
        name=name,
        kind=NONPOLYMER,
        atom_names=molecules.atom_names(mol),
        elements=tuple(atom.GetSymbol().upper() for atom in mol.GetAtoms()),
        charges=np.array([atom.GetFormalCharge() for atom in mol.GetAtoms()], dtype=np.int64),
        leaving=np.zeros(mol.GetNumAtoms(), dtype=bool),
        bonds=molecules.bonds(mol),
        ref_pos=molecules.embed(mol, seed),
        label=Chem.MolToSmiles(mol),
    )


def component_from_graph(
    name: str, atom_names: tuple[str, ...], elements: tuple[str, ...], charges: np.ndarray, bonds: np.ndarray
) -> Component:
    """A component that a file defines itself (mmCIF `chem_comp_bond`), with an ETKDG conformer of its graph."""
    mol = molecules.mol_from_graph(elements, charges.tolist(), bonds)
    return Component(
        name=name,
        kind=NONPOLYMER,
        atom_names=atom_names,
        elements=elements,
        charges=charges.astype(np.int64),
        leaving=np.zeros(len(atom_names), dtype=bool),
        bonds=bonds,
        ref_pos=molecules.embed(mol, _CONFORMER_SEED),
    )


def renamed_to_match(
    component: Component, observed: AtomArray, observed_bonds: np.ndarray | None = None
) -> Component | None:
    """The component under the atom names of a file that calls its atoms otherwise, or None if the graphs differ.

    Parameters
    ----------
    component : Component
        With the right chemistry and other names.
    observed : AtomArray
        One residue with coordinates. It may lack atoms of the component.
    observed_bonds : array, optional
        [K, 3] bonds of `observed`; by default those that the distances tell.
    """
    if observed_bonds is None:
        observed_bonds = connect_via_distances(observed).as_array().astype(np.int64)
    elements = [str(element).upper() for element in observed.element]
    matches = molecules.graph_matches(elements, observed_bonds, component.elements, component.bonds)
    if not matches:
        return None
    # among symmetric matches the one of the right handedness is nearest to the conformer
    best = min(matches, key=lambda match: _misfit(observed.coord, component.ref_pos[list(match)]))
    names = [f"{name}_{number}" for number, name in enumerate(component.atom_names)]
    for position, name in zip(best, observed.atom_name.tolist(), strict=True):
        names[position] = name
    return replace(component, atom_names=tuple(names), synonyms={})


def in_order(component: Component, names: tuple[str, ...]) -> Component:
    """The component with its atoms in the order of `names`, which are the same names."""
    old = np.array([component.atom_names.index(name) for name in names])
    new = np.argsort(old)
    bonds = component.bonds.copy()
    bonds[:, :2] = new[bonds[:, :2]]
    return replace(
        component,
        atom_names=names,
        elements=tuple(component.elements[i] for i in old),
        charges=component.charges[old],
        leaving=component.leaving[old],
        bonds=bonds,
        ref_pos=component.ref_pos[old],
    )


def _misfit(coords: np.ndarray, reference: np.ndarray) -> float:
    fitted, _ = superimpose(reference, coords)
    return float(rmsd(reference, fitted))


def bond_type(order: str, aromatic: str) -> BondType:
    """biotite's bond type for the CCD's order and aromaticity flag; ANY for an unheard-of order."""
    return _BOND_TYPES.get((order.upper()[:4], aromatic.upper()[:1] or "N"), BondType.ANY)


def bond_rows(
    atom_names: tuple[str, ...], first: np.ndarray, second: np.ndarray, order: np.ndarray, aromatic: np.ndarray
) -> np.ndarray:
    """[K, 3] int64 bonds between the atoms named; those to other atoms (hydrogens) are left out."""
    index = {atom: position for position, atom in enumerate(atom_names)}
    rows = [
        (index[a], index[b], int(bond_type(o, f)))
        for a, b, o, f in zip(first.tolist(), second.tolist(), order.tolist(), aromatic.tolist(), strict=True)
        if a in index and b in index and a != b
    ]
    return np.array(rows, dtype=np.int64).reshape(-1, 3)


def _atom_column(name, column, dtype=str, masked=None):
    values = get_from_ccd("chem_comp_atom", name, column)
    return None if values is None else values.as_array(dtype, masked)


def _ccd_bonds(name: str, atom_names: tuple[str, ...]) -> np.ndarray:
    columns = [
        get_from_ccd("chem_comp_bond", name, column)
        for column in ("atom_id_1", "atom_id_2", "value_order", "pdbx_aromatic_flag")
    ]
    if columns[0] is None:
        return np.zeros((0, 3), dtype=np.int64)
    return bond_rows(atom_names, *(column.as_array(str) for column in columns))


def _ccd_conformer(name, heavy, elements, charges, bonds) -> np.ndarray:
    for prefix, suffix in (("pdbx_model_", "_ideal"), ("model_", "")):
        coords = np.stack(
            [_atom_column(name, f"{prefix}Cartn_{axis}{suffix}", np.float32, np.nan)[heavy] for axis in "xyz"],
            axis=1,
        )
        # an entry of zeros throughout is the dictionary's way of having no coordinates
        if np.isfinite(coords).all() and (len(coords) == 1 or np.ptp(coords, axis=0).max() > 0.1):
            return coords
    return molecules.embed(molecules.mol_from_graph(elements, charges, bonds), _CONFORMER_SEED)
