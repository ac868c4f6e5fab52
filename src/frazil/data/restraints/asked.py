"""Requests -> `Restraints`: selections become atoms, every request one or more labelled groups of terms."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
from biotite.structure import BondType

from frazil.data.assembly import add_bonds
from frazil.data.restraints.physical import longest_links, physical_restraints
from frazil.data.restraints.places import position_terms, template_terms
from frazil.data.restraints.requests import (
    Contact,
    CovalentBond,
    Dihedral,
    DistanceWindow,
    Pocket,
    Position,
    RadiusOfGyration,
    Request,
    TemplateRequest,
)
from frazil.data.restraints.selection import Selector
from frazil.data.structure import Structure
from frazil.errors import InputError
from frazil.restraints import Restraints, Terms

MAX_PAIRS = 1_000_000
"""Atom pairs of one request; more take minutes and say nothing that fewer do not."""


def with_requests(structure: Structure, requests: Iterable[Request]) -> Structure:
    """The structure with further requests kept in its `restraints`, and the bonds among them made.

    Raises
    ------
    InputError
        If a selection names no atom or is ambiguous, or a bond joins an atom to itself.

    Examples
    --------
    >>> from frazil.data import CovalentBond, read
    >>> structure = read("CC.CC")
    >>> len(with_requests(structure, [CovalentBond("A:1:C1", "B:1:C1")]).atoms.bonds.as_array())
    3
    """
    requests = tuple(requests)
    if not requests:
        return structure
    selector = Selector(structure)
    rows = []
    for request in requests:
        for text in request.selections:
            _explained(request, selector.atoms, text)
        if isinstance(request, CovalentBond):
            first, second = _explained(request, _ends, selector, request)
            rows.append((first, second, int(BondType.SINGLE)))
    atoms = structure.atoms
    if rows:
        atoms = atoms.copy()
        add_bonds(atoms, rows)
    return replace(structure, atoms=atoms, restraints=structure.restraints + requests)


def all_restraints(structure: Structure) -> Restraints:
    """The physical restraints of a structure and those of its own requests.

    Raises
    ------
    InputError
        As `restraints_of`.
    """
    return Restraints.join([physical_restraints(structure), restraints_of(structure, structure.restraints)])


def restraints_of(structure: Structure, requests: Iterable[Request]) -> Restraints:
    """The terms of some requests; those not enforced have weight 0.

    Each contact, and each contact of a pocket, is one group of pairs of which one has to be near. A least distance
    holds for every pair: each has a group of its own, all with the label of the request. A bond is a connection here
    only if it is not part of the structure (`with_requests`), else `physical_restraints` has it.

    Parameters
    ----------
    structure : Structure
    requests : iterable of Request

    Returns
    -------
    Restraints
        Of a single structure; of `bonds` only those asked for that are not part of it.

    Raises
    ------
    InputError
        If a selection names no atom or is ambiguous, two selections share an atom, or a template is of other molecules.

    Examples
    --------
    >>> from frazil.data import read
    >>> found = restraints_of(read("CC.CC"), [Contact("A", "B", 4.0)]).contacts
    >>> len(found), found.num_groups, found.labels
    (4, 1, ('A,B,4',))
    """
    selector = Selector(structure)
    found: dict[str, list[Any]] = {field.name: [] for field in fields(Restraints)}
    for request in requests:
        name, build = _BUILDERS[type(request)]
        terms = _explained(request, build, structure, selector, request)
        found[name].append(terms)
        if isinstance(request, CovalentBond):
            found["bonds"].append(Terms.of(terms.atoms))
    joined = {name: type(parts[0]).join(parts) for name, parts in found.items() if parts}
    return replace(Restraints.none(), **joined)


def _explained(request: Request, function: Callable[..., Any], *arguments: Any) -> Any:
    """The function's value; an error in it says which request it was."""
    try:
        return function(*arguments)
    except InputError as error:
        raise InputError(f"{request.kind} {request.label}: {error}") from None


def _contact(structure: Structure, selector: Selector, request: Contact) -> Terms:
    pairs = _pairs(selector, request.first, request.second)
    return _any_of(pairs, request.max_distance, request)


def _pocket(structure: Structure, selector: Selector, request: Pocket) -> Terms:
    return Terms.join(
        [
            replace(
                _any_of(_pairs(selector, request.binder, contact), request.max_distance, request),
                labels=(f"{request.binder},{contact},{request.max_distance:g}",),
            )
            for contact in request.contacts
        ]
    )


def _window(structure: Structure, selector: Selector, request: DistanceWindow) -> Terms:
    pairs = _pairs(selector, request.first, request.second)
    if len(pairs) == 1:
        return _terms(pairs, request.lower, request.upper, request, group=[0])
    parts = []
    if request.lower > 0:
        parts.append(_terms(pairs, request.lower, math.inf, request, group=range(len(pairs))))
    if request.upper < math.inf:
        parts.append(_any_of(pairs, request.upper, request))
    return Terms.join(parts)


def _dihedral(structure: Structure, selector: Selector, request: Dihedral) -> Terms:
    atoms = [selector.one(text) for text in request.atoms]
    if len(set(atoms)) < 4:
        raise InputError("the four atoms must differ")
    upper = request.upper + (360 if request.upper < request.lower else 0)
    return _terms(np.array([atoms]), math.radians(request.lower), math.radians(upper), request, group=[0])


def _gyration(structure: Structure, selector: Selector, request: RadiusOfGyration) -> Terms:
    atoms = selector.atoms(request.selection)
    if len(atoms) < 2:
        raise InputError("a single atom has no radius of gyration; name more")
    return _terms(atoms[:, None], request.lower, request.upper, request, group=[0] * len(atoms))


def _bond(structure: Structure, selector: Selector, request: CovalentBond) -> Terms:
    ends = _ends(selector, request)
    made = {frozenset(pair) for pair in structure.atoms.bonds.as_array()[:, :2].tolist()}
    pairs = np.array([] if frozenset(ends) in made else [ends], dtype=np.int64).reshape(-1, 2)
    return Terms.of(
        torch.from_numpy(pairs), upper=longest_links(structure, pairs), weight=float(request.enforced),
        labels=(request.label,) * len(pairs),
    )  # fmt: skip


_BUILDERS: dict[type[Request], tuple[str, Callable[..., Any]]] = {
    Contact: ("contacts", _contact),
    Pocket: ("contacts", _pocket),
    DistanceWindow: ("distances", _window),
    Dihedral: ("dihedrals", _dihedral),
    Position: ("positions", position_terms),
    RadiusOfGyration: ("gyration", _gyration),
    TemplateRequest: ("templates", template_terms),
    CovalentBond: ("connections", _bond),
}


def _ends(selector: Selector, request: CovalentBond) -> tuple[int, int]:
    first, second = selector.one(request.first), selector.one(request.second)
    if first == second:
        raise InputError("joins an atom to itself; name two")
    return first, second


def _pairs(selector: Selector, first: str, second: str) -> np.ndarray:
    """[P, 2] int64: every atom of one selection with every one of the other."""
    left, right = selector.atoms(first), selector.atoms(second)
    shared = np.intersect1d(left, right)
    if len(shared):
        raise InputError(f"{first} and {second} share {len(shared)} atoms; name two separate parts")
    if len(left) * len(right) > MAX_PAIRS:
        raise InputError(f"{first} and {second} make {len(left) * len(right)} pairs of atoms; name smaller parts")
    return np.stack(np.meshgrid(left, right, indexing="ij"), axis=-1).reshape(-1, 2)


def _any_of(pairs: np.ndarray, upper: float, request: Request) -> Terms:
    return _terms(pairs, -math.inf, upper, request, group=[0] * len(pairs))


def _terms(atoms: np.ndarray, lower: float, upper: float, request: Request, group: Sequence[int]) -> Terms:
    groups = torch.tensor(list(group), dtype=torch.int64)
    labels = (request.label,) * (int(groups[-1]) + 1)
    return Terms.of(
        torch.from_numpy(atoms.astype(np.int64)), lower, upper,
        weight=float(request.enforced), group=groups, labels=labels,
    )  # fmt: skip
