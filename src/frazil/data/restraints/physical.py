"""What a structure is held to by its own chemistry: ligands, modified residues and the bonds between residues."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from biotite.structure import BondType
from rdkit import Chem

from frazil.data.conformers import with_stereo
from frazil.data.featurize import ONE_TOKEN_RESIDUES
from frazil.data.molecules import MAX_MATCHES, mol_from_graph
from frazil.data.residues import Component, ccd_component
from frazil.data.restraints.geometry import Geometry, Windows, geometry
from frazil.data.restraints.requests import CovalentBond
from frazil.data.restraints.selection import Selector
from frazil.data.structure import Structure
from frazil.data.symmetry import Ints, is_metal
from frazil.restraints import Restraints, Terms

LONGEST_LINK = 2.0
"""Angstrom, greatest length of a bond between residues, but for heavier pairs such as disulfides."""
_LINK_SPARE = 0.1

_Part = tuple[Geometry, Ints]
"""The geometry of a molecule, and the atom of the structure for each of its atoms (-1 for those it has lost)."""


def physical_restraints(structure: Structure) -> Restraints:
    """The restraints that follow from what the molecules are.

    Of every ligand and modified residue the distance bounds, chirality, double-bond stereo and planarity (those of
    standard residues are left to the model); of the whole structure its bonds, and the covalent bonds between
    residues, at most 2 A long (or the sum of the covalent radii and 0.1 A, where that is more).

    Stereo is that of the CCD's conformer, or of the SMILES. A ligand that only the file itself defines has that of the
    file's coordinates, or none without them.

    Parameters
    ----------
    structure : Structure

    Returns
    -------
    Restraints
        Of a single structure; connections that a person asked for have a label.

    Examples
    --------
    >>> from frazil.data import read
    >>> restraints = physical_restraints(read("ALA"))
    >>> len(restraints.distance_bounds), restraints.chirality.atoms.tolist()
    (15, [[0, 2, 4, 1]])
    """
    bonds = structure.atoms.bonds.as_array().astype(np.int64)
    parts = _parts(structure, bonds)
    return replace(
        Restraints.none(),
        bonds=Terms.of(torch.from_numpy(bonds[:, :2].copy())),
        distance_bounds=_terms([_placed(part.distances, atoms) for part, atoms in parts], 2),
        chirality=_terms(_handed(structure, parts, bonds), 4),
        stereo_bonds=_terms([_placed(part.stereo_bonds, atoms) for part, atoms in parts], 4),
        planar_bonds=_terms([_placed(part.planar_bonds, atoms) for part, atoms in parts], 4),
        connections=_connections(structure, bonds),
    )


def links(structure: Structure, bonds: Ints) -> Ints:
    """[K, 2] int64: the covalent bonds between residues, those of metals left out."""
    places = np.stack([structure.chain_index, structure.residue_index], axis=1)[bonds[:, :2]]
    between = (places[:, 0] != places[:, 1]).any(axis=-1)
    metallic = is_metal(structure.atoms.element)[bonds[:, :2]].any(axis=1)
    return bonds[between & ~metallic & (bonds[:, 2] != BondType.COORDINATION), :2]


def _parts(structure: Structure, bonds: Ints) -> list[_Part]:
    """Ligands and modified residues."""
    places = np.stack([structure.chain_index, structure.residue_index])
    starts = np.flatnonzero(np.concatenate([[True], (np.diff(places, axis=1) != 0).any(axis=0)]))
    stops = np.append(starts[1:], len(structure.atoms))
    names = structure.atoms.res_name[starts].tolist()
    inner = _bonds_by_residue(bonds, starts)
    parts = []
    for number, (start, stop) in enumerate(zip(starts.tolist(), stops.tolist(), strict=True)):
        chain = structure.chains[structure.chain_index[start]]
        if stop - start > 1 and names[number] not in ONE_TOKEN_RESIDUES.get(chain.mol_type, ()):
            rows = inner.get(number, np.empty((0, 3), dtype=np.int64)) - np.array([start, start, 0])
            parts.append(_part(structure, np.arange(start, stop), rows))
    return parts


def _bonds_by_residue(bonds: Ints, starts: Ints) -> dict[int, Ints]:
    """The bonds within each residue that has any."""
    residue = np.searchsorted(starts, bonds[:, :2], side="right") - 1
    inside = residue[:, 0] == residue[:, 1]
    order = np.argsort(residue[inside, 0], kind="stable")
    rows, owner = bonds[inside][order], residue[inside, 0][order]
    found, first = np.unique(owner, return_index=True)
    return dict(zip(found.tolist(), np.split(rows, first[1:]), strict=False))


def _part(structure: Structure, atoms: Ints, rows: Ints) -> _Part:
    """One residue by the CCD, by its SMILES, or by its own graph; `rows` are its bonds, numbered within it."""
    part = structure.atoms[atoms]
    label = structure.chains[structure.chain_index[atoms[0]]].label
    if label is None:
        component = ccd_component(str(part.res_name[0]))
        match = _match(component, part.atom_name.tolist(), part.element.tolist(), rows) if component else None
        if component and match is not None:
            return _of_component(component.name), np.append(atoms, -1)[match]
    mol = mol_from_graph(part.element.tolist(), part.charge.tolist(), rows)
    if label is not None:
        drawn, found = _of_label(label)
        order = _laid(drawn, found, with_stereo(mol, structure.ref_pos[atoms]))
        if order is not None:
            return found, atoms[order]
    if structure.resolved[0, atoms].all():
        mol = with_stereo(mol, structure.coords[0, atoms])
    return geometry(mol), atoms


@lru_cache(maxsize=256)
def _of_component(name: str) -> Geometry:
    """The geometry of a whole CCD component, by its conformer."""
    component = ccd_component(name)
    assert component is not None
    mol = mol_from_graph(component.elements, component.charges.tolist(), component.bonds)
    coords = component.ref_pos.astype(np.float64)
    return geometry(with_stereo(mol, coords)).including(coords)


@lru_cache(maxsize=256)
def _of_label(smiles: str) -> tuple[Chem.Mol, Geometry]:
    """The molecule of a SMILES that was read before, and its geometry."""
    mol = Chem.MolFromSmiles(smiles)
    return mol, geometry(mol)


def _laid(drawn: Chem.Mol, found: Geometry, known: Chem.Mol) -> Ints | None:
    """[n] int64: the atom of `known`, which has a conformer, for each atom of `drawn`; None if the molecules differ.

    Of several ways, one where the conformer has the stereo of the drawing.
    """
    if drawn.GetNumAtoms() != known.GetNumAtoms():
        return None
    if Chem.MolToSmiles(drawn) == Chem.MolToSmiles(known):
        # equal texts name equal atoms in the same order
        order = np.empty(drawn.GetNumAtoms(), dtype=np.int64)
        order[_written(drawn)] = _written(known)
        return order
    coords = known.GetConformer().GetPositions()
    matches = known.GetSubstructMatches(drawn, uniquify=False, maxMatches=MAX_MATCHES)
    ways = [np.array(match, dtype=np.int64) for match in matches]
    return max(ways, key=lambda way: found.agreement(coords[way])) if ways else None


def _written(mol: Chem.Mol) -> list[int]:
    """The atoms in the order of the SMILES that was just made of them."""
    return list(mol.GetPropsAsDict(includePrivate=True, includeComputed=True)["_smilesAtomOutputOrder"])


def _match(component: Component, names: list[str], elements: list[str], rows: Ints) -> Ints | None:
    """[n] int64: for each atom of a component that of the residue, -1 for none; None if it is another molecule.

    A file may define a ligand of its own under a name of the CCD, then bonds and elements differ.
    """
    index = {name: number for number, name in enumerate(component.atom_names)}
    place = np.array([index.get(name, -1) for name in names])
    bonded = place[rows[:, :2]]
    pairs = {frozenset(pair) for pair in bonded.tolist()}
    kept = set(place.tolist())
    known = {frozenset(pair) for pair in component.bonds[:, :2].tolist() if kept.issuperset(pair)}
    same = all(component.elements[i] == element.upper() for i, element in zip(place, elements, strict=True) if i >= 0)
    if pairs != known or not same:
        return None
    match = np.full(len(component), -1, dtype=np.int64)
    match[place[place >= 0]] = np.flatnonzero(place >= 0)
    return match


def _placed(windows: Windows, atoms: Ints) -> Windows:
    """The windows on the structure's atoms, those of lost atoms left out."""
    renamed = replace(windows, atoms=atoms[windows.atoms])
    return renamed.keep(np.all(renamed.atoms >= 0, axis=1))


def _handed(structure: Structure, parts: Sequence[_Part], bonds: Ints) -> list[Windows]:
    """Chirality; where a neighbour left for a bond to another residue, as at a sugar's anomeric carbon, its heir
    takes its place."""
    outside: dict[int, list[int]] = {}
    for first, second in links(structure, bonds).tolist():
        outside.setdefault(first, []).append(second)
        outside.setdefault(second, []).append(first)
    found = []
    for part, atoms in parts:
        windows = part.chirality
        placed = atoms[windows.atoms]
        for centre in np.unique(placed[:, 3]).tolist():
            here = placed[:, 3] == centre
            lost = np.unique(windows.atoms[here][placed[here] < 0])
            heirs = outside.get(centre, [])
            if len(lost) == len(heirs) == 1:
                placed[here] = np.where(placed[here] < 0, heirs[0], placed[here])
        found.append(replace(windows, atoms=placed).keep(np.all(placed >= 0, axis=1)))
    return found


def longest_links(structure: Structure, pairs: Ints) -> torch.Tensor:
    """[K] float32, angstrom: the greatest lengths of bonds between these pairs of atoms."""
    table = Chem.GetPeriodicTable()
    names = structure.atoms.element[pairs]
    elements, where = np.unique(names, return_inverse=True)
    radii = np.array([table.GetRcovalent(element.capitalize()) for element in elements.tolist()], dtype=np.float64)
    lengths = radii[where.reshape(names.shape)].sum(axis=1) + _LINK_SPARE
    return torch.from_numpy(np.maximum(LONGEST_LINK, lengths)).float()


def _connections(structure: Structure, bonds: Ints) -> Terms:
    """Bonds between residues, then those that a person asked for elsewhere; the latter with label and weight."""
    selector = Selector(structure)
    asked = {
        (min(ends), max(ends)): request
        for request in structure.restraints
        if isinstance(request, CovalentBond)
        for ends in [(selector.one(request.first), selector.one(request.second))]
    }
    found = dict.fromkeys((min(pair), max(pair)) for pair in links(structure, bonds).tolist()) | asked
    pairs = np.array(list(found), dtype=np.int64).reshape(-1, 2)
    weight = [float(request is None or request.enforced) for request in found.values()]
    labels = tuple(request.label if request else "" for request in found.values()) if asked else ()
    upper = longest_links(structure, pairs)
    return Terms.of(torch.from_numpy(pairs), upper=upper, weight=torch.tensor(weight), labels=labels)


def _terms(windows: Sequence[Windows], num_atoms: int) -> Terms:
    if not windows:
        return Terms.none(num_atoms)

    def join(part: Callable[[Windows], np.ndarray]) -> torch.Tensor:
        return torch.from_numpy(np.concatenate([part(one) for one in windows]))

    return Terms.of(join(lambda one: one.atoms), join(lambda one: one.lower), join(lambda one: one.upper))
