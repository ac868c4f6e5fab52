"""Restraints to given coordinates: positions of the input or of a file, and templates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from frazil.chemistry import MOLECULE_TYPES, NONPOLYMER
from frazil.data.correspondence import paired_atoms
from frazil.data.featurize import featurize
from frazil.data.files import STRUCTURE_SUFFIXES, read_structure_file, suffix_of
from frazil.data.restraints.requests import Position, TemplateRequest
from frazil.data.restraints.selection import Selector
from frazil.data.structure import Structure
from frazil.data.symmetry import Ints
from frazil.errors import InputError
from frazil.restraints import PlaceTerms, Terms


def position_terms(structure: Structure, selector: Selector, request: Position) -> PlaceTerms:
    """The atoms of a selection at their places in the first model of the input or of a file, as one rigid group.

    Raises
    ------
    InputError
        If the file cannot be read, has other molecules, or none of the atoms has coordinates.
    """
    atoms = selector.atoms(request.selection)
    places = structure.coords[0]
    if request.file is not None:
        other = _read(request.file)
        places = np.full((len(structure.atoms), 3), np.nan, dtype=np.float32)
        chains = np.unique(structure.chain_index[atoms]).tolist()
        for ours, theirs in _paired(structure, chains, other, None, required=True):
            places[ours] = other.coords[0, theirs]
    known = atoms[np.isfinite(places[atoms]).all(axis=-1)]
    if not len(known):
        raise InputError("none of these atoms has coordinates; give a structure that has them")
    return _rigid(known, places[known], request.tolerance, request.aligned, request.enforced, request.label)


def template_terms(structure: Structure, selector: Selector, request: TemplateRequest) -> PlaceTerms:
    """The representative atoms of the templated chains at their places in the template, as one aligned group.

    Representative is C-beta (glycine: C-alpha), C4 or C2 of a base, and every atom of modified residues and ligands.
    Residues are matched by their position in the sequence, which has to be the same; residues that the template has
    without coordinates are left out.

    Raises
    ------
    InputError
        If the file cannot be read, a chain is missing, or its sequence or length is another.
    """
    template = _read(request.file)
    chains = [selector.chain(name) for name in request.chains]
    theirs = [Selector(template).chain(name) for name in request.template_chains] or None
    if chains:
        matched = _paired(structure, chains, template, theirs, required=True)
    else:
        polymers = [k for k, chain in enumerate(structure.chains) if chain.mol_type != NONPOLYMER]
        matched = _paired(structure, polymers, template, None, required=False)
    features = featurize(structure)
    representative = np.zeros(len(structure.atoms), dtype=bool)
    representative[features.representative_atom_index[0].numpy()] = True
    ours = np.concatenate([pair[0] for pair in matched])
    places = np.concatenate([template.coords[0, pair[1]] for pair in matched])
    kept = representative[ours] & np.isfinite(places).all(axis=-1)
    if not kept.any():
        raise InputError(f"{request.file}: no representative atom of these chains has coordinates; use another file")
    return _rigid(ours[kept], places[kept], request.threshold, True, request.enforced, request.label)


def existing_file(name: str, folder: Path) -> Path:
    """A file by its path, from `folder` if it is relative.

    Raises
    ------
    InputError
        If there is none.
    """
    try:
        path = folder / Path(name).expanduser()
        found = path.is_file()
    except (OSError, ValueError, RuntimeError):
        # too long a name, a null character, or the home of nobody
        found = False
    if not found:
        raise InputError(f"{name[:200]!r}: no such file; check the path")
    return path


def _read(file: str) -> Structure:
    path = existing_file(file, Path())
    if suffix_of(path) not in STRUCTURE_SUFFIXES:
        raise InputError(f"{file}: no structure file; give one that ends in {', '.join(STRUCTURE_SUFFIXES)}")
    return read_structure_file(path)


def _paired(
    structure: Structure, chains: list[int], other: Structure, partners: list[int] | None, *, required: bool
) -> list[tuple[Ints, Ints]]:
    """For each chain that has a partner of equal sequence, the atoms of both that are the same.

    Partners are as given, else the first that is free, those of the same name before the others.
    """
    found = []
    free = set(range(len(other.chains)))
    for number, chain in enumerate(chains):
        name = structure.chains[chain].chain_id
        candidates = sorted(free, key=lambda k: (other.chains[k].chain_id != name, k))
        if partners is not None:
            candidates = [partners[number]]
        for candidate in candidates:
            pair = paired_atoms(structure, chain, other, candidate)
            if pair is not None:
                found.append(pair)
                free.discard(candidate)
                break
        else:
            if required:
                raise InputError(_unlike(structure, chain, other, candidates))
    if not found:
        raise InputError(_unlike(structure, chains[0], other, sorted(free)) if chains else "no polymer to be templated")
    return found


def _unlike(structure: Structure, chain: int, other: Structure, candidates: list[int]) -> str:
    """Why none of the candidates is the same molecule: the lengths of both."""
    ours = structure.chains[chain]
    same_type = [other.chains[k] for k in candidates if other.chains[k].mol_type == ours.mol_type]
    kind = MOLECULE_TYPES[ours.mol_type]
    if not same_type:
        return f"chain {ours.chain_id}: {other.name} has no {kind} chain left for it; give the same molecules"
    length = len(ours.sequence)
    alike = next((one for one in same_type if len(one.sequence) == length), None)
    if alike is None:
        lengths = ", ".join(f"{one.chain_id} with {len(one.sequence)}" for one in same_type[:5])
        return f"chain {ours.chain_id} has {length} residues, {other.name} has {lengths}; the sequences must be equal"
    unlike = [k for k, names in enumerate(zip(ours.sequence, alike.sequence, strict=True), 1) if names[0] != names[1]]
    if not unlike:
        return f"chain {ours.chain_id} and chain {alike.chain_id} of {other.name} differ in their bonds or atoms"
    return (
        f"chain {ours.chain_id} and chain {alike.chain_id} of {other.name} have {length} and {len(alike.sequence)} "
        f"residues but differ in {len(unlike)} ({ours.sequence[unlike[0] - 1]} and {alike.sequence[unlike[0] - 1]} at "
        f"{unlike[0]}); the sequences must be equal"
    )


def _rigid(atoms: Ints, places: np.ndarray, upper: float, aligned: bool, enforced: bool, label: str) -> PlaceTerms:
    terms = Terms.of(
        torch.from_numpy(atoms.astype(np.int64))[:, None], upper=upper, weight=float(enforced),
        group=torch.zeros(len(atoms), dtype=torch.int64), labels=(label,),
    )  # fmt: skip
    return PlaceTerms(terms, torch.from_numpy(places.astype(np.float32)), torch.tensor([aligned]))
