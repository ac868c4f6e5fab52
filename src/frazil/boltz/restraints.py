"""Boltz-2's features of constraints as our `Restraints`, with the buffers that its potentials put on them.

Structures of unlike numbers of constraints are padded with zeros by Boltz-2; a term whose atoms are all one atom is
such padding, and is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import pi

import torch
from torch import Tensor

from frazil.boltz.bonds import covalent_bonds
from frazil.chemistry import VDW_RADII
from frazil.features import Features
from frazil.potentials.overlap import atom_radii
from frazil.restraints import PlaceTerms, Restraints, Terms

_BOND_LENGTH, _HANDEDNESS, _PLANARITY = 2.0, 0.52360, 0.26180
_BOUND_BUFFER, _REPULSION_BUFFER, _RADIUS_MARGIN = 0.125, 0.10, 0.35
_IMPROPERS = ((1, 2, 3, 0), (4, 5, 0, 3))


def read_restraints(feats: Mapping[str, Tensor], features: Features) -> Restraints:
    """The restraints of a batch in Boltz-2's layout; what `feats` does not hold is empty.

    Parameters
    ----------
    feats : mapping of str to Tensor
        `connected_atom_index`, `rdkit_bounds_index`, `chiral_atom_index`, `stereo_bond_index`, `planar_bond_index` and
        `contact_pair_index` [B, k, T] with their companions [B, T]; `template_cb` [B, P, N, 3] and companions.
    features : Features
        The same batch.

    Returns
    -------
    Restraints
        Buffers as in REFERENCE 4: bonds between chains at most 2 A, bounds of distance wider by 12.5 % (10 % down for
        pairs that repel), handedness and stereo bonds 30 degrees, planarity 15 degrees.
    """
    connections = _Columns(feats, "connected_atom_index", 2).terms(upper=_BOND_LENGTH)
    none = Restraints.none().to(features.device)
    return replace(
        none,
        bonds=Terms.join([covalent_bonds(features), connections]),
        connections=connections,
        distance_bounds=_distance_bounds(feats, features),
        chirality=_chirality(feats),
        stereo_bonds=_stereo_bonds(feats),
        planar_bonds=_planar_bonds(feats),
        contacts=_contacts(feats),
        templates=_templates(feats, features),
    )


def chain_pairs(feats: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Structure [P] and chains [P, 2] of the pairs of equal chains, `symmetric_chain_index`; none if it is missing."""
    found = _Columns(feats, "symmetric_chain_index", 2)
    return found.structure, found.atoms


class _Columns:
    """Constraints of one kind over the batch, without those that only pad it."""

    def __init__(self, feats: Mapping[str, Tensor], name: str, num_atoms: int) -> None:
        self._feats = feats
        missing = torch.zeros(1, num_atoms, 0, device=feats["atom_pad_mask"].device)
        index = feats.get(name, missing).long()
        self.structure, self._column = torch.nonzero((index != index[:, :1]).any(dim=1), as_tuple=True)
        self.atoms = index[self.structure, :, self._column]

    def __getitem__(self, name: str) -> Tensor:
        """[T] values of a companion [B, T]; it is not asked for where there is no term."""
        return self._feats[name][self.structure, self._column] if len(self.atoms) else self._column.float()

    def terms(self, lower: Tensor | float = float("-inf"), upper: Tensor | float = float("inf")) -> Terms:
        """Each term alone in its group."""
        return replace(Terms.of(self.atoms, lower, upper), structure=self.structure)


def _distance_bounds(feats: Mapping[str, Tensor], features: Features) -> Terms:
    found = _Columns(feats, "rdkit_bounds_index", 2)
    bond, angle = found["rdkit_bounds_bond_mask"].bool(), found["rdkit_bounds_angle_mask"].bool()
    lower, upper = found["rdkit_lower_bounds"].float(), found["rdkit_upper_bounds"].float()
    lower = lower * torch.where(bond | angle, 1 - _BOUND_BUFFER, 1 - _REPULSION_BUFFER)
    upper = torch.where(bond | angle, upper * (1 + _BOUND_BUFFER), float("inf"))
    touching = _RADIUS_MARGIN + atom_radii(features, VDW_RADII)[found.structure[:, None], found.atoms].mean(dim=1)
    return found.terms(
        torch.where(bond, lower, torch.maximum(lower, touching)),
        torch.where(bond, torch.minimum(upper, touching), upper),
    )


def _chirality(feats: Mapping[str, Tensor]) -> Terms:
    found = _Columns(feats, "chiral_atom_index", 4)
    right = found["chiral_atom_orientations"].bool()
    return found.terms(torch.where(right, _HANDEDNESS, float("-inf")), torch.where(right, float("inf"), -_HANDEDNESS))


def _stereo_bonds(feats: Mapping[str, Tensor]) -> Terms:
    found = _Columns(feats, "stereo_bond_index", 4)
    trans = found["stereo_bond_orientations"].bool()
    return found.terms(
        torch.where(trans, pi - _HANDEDNESS, float("-inf")), torch.where(trans, float("inf"), _HANDEDNESS)
    )


def _planar_bonds(feats: Mapping[str, Tensor]) -> Terms:
    found = _Columns(feats, "planar_bond_index", 6)
    ends = [replace(found.terms(upper=_PLANARITY), atoms=found.atoms[:, list(order)]) for order in _IMPROPERS]
    return Terms.join(ends)


def _contacts(feats: Mapping[str, Tensor]) -> Terms:
    found = _Columns(feats, "contact_pair_index", 2)
    threshold = found["contact_thresholds"].float()
    # True in the "negation mask" means that the contact is *not* negated
    close = found["contact_negation_mask"].bool()
    terms = found.terms(torch.where(close, float("-inf"), threshold), torch.where(close, threshold, float("inf")))
    union = found["contact_union_index"].long()
    unions = int(union.max()) + 1 if len(union) else 1
    key, order = torch.sort(found.structure * unions + union, stable=True)
    return replace(terms.keep(order), group=torch.unique_consecutive(key, return_inverse=True)[1])


def _templates(feats: Mapping[str, Tensor], features: Features) -> PlaceTerms:
    if "template_mask_cb" not in feats or "template_force" not in feats:
        return PlaceTerms.none().to(features.device)
    placed = feats["template_mask_cb"].bool() & feats["template_force"].bool()[..., None]
    structure, template, token = torch.nonzero(placed, as_tuple=True)
    key = structure * placed.shape[1] + template
    terms = Terms.of(
        features.representative_atom_index[structure, token][:, None],
        upper=feats["template_force_threshold"].float()[structure, template],
        group=torch.unique_consecutive(key, return_inverse=True)[1],
    )
    return PlaceTerms(
        replace(terms, structure=structure),
        feats["template_cb"].float()[structure, template, token],
        torch.ones(terms.num_groups, dtype=torch.bool, device=structure.device),
    )
