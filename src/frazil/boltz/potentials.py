"""Boltz-2's potentials as they are, faults included, for runs that have to give its samples (see docs/differences.md).

Only what differs from `frazil.potentials` is here; bonds, bounds of distance and van-der-Waals overlap are the same.
Unlike the reference, which reads the terms of batch element 0, each structure has its own.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor

from frazil.boltz.restraints import chain_pairs
from frazil.features import Features
from frazil.geometry import rigid_align
from frazil.geometry.sums import or_one
from frazil.potentials.base import Potential
from frazil.potentials.flat_bottom import FlatBottomPotential
from frazil.potentials.reductions import Reduction
from frazil.potentials.schedules import Exponential
from frazil.potentials.segments import Segments
from frazil.potentials.variables import Distance, Variable

SOFTNESS = Exponential(start=8.0, end=0.0, alpha=-2.0)
"""The reference's `union_lambda` over time."""
CHAIN_DISTANCE = Exponential(start=1.0, end=5.0, alpha=-2.0)
"""Least distance of the centres of symmetric chains over time, angstrom."""


class ArccosDihedral(Variable):
    """Dihedral by the arc cosine: 0 for exactly flat ones, trans included, and coarse near them (row 6).

    Where four points have no dihedral, value and derivatives are 0; the reference has NaN.

    >>> trans = torch.tensor([[1.0, 1, 0], [0, 1, 0], [0, 0, 0], [-1, 0, 0]])
    >>> ArccosDihedral().value(trans)
    tensor(0.)
    """

    num_points = 4

    def value(self, points: Tensor) -> Tensor:
        """See `Variable.value`."""
        return self.value_and_jacobian(points)[0]

    def value_and_jacobian(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """See `Variable.value_and_jacobian`."""
        ij, kj, kl = points[0] - points[1], points[2] - points[1], points[2] - points[3]
        first, second = torch.linalg.cross(ij, kj, dim=0), torch.linalg.cross(kj, kl, dim=0)
        first_norm, second_norm, axis_norm = (or_one(torch.linalg.norm(v, dim=0)) for v in (first, second, kj))
        cosine = ((first * second).sum(dim=0) / (first_norm * second_norm)).clamp(-1, 1)
        sign = torch.sign((kj * torch.linalg.cross(first, second, dim=0)).sum(dim=0))
        a, b = ((v * kj).sum(dim=0) / axis_norm**2 for v in (ij, kl))
        at_i, at_l = first * (axis_norm / first_norm**2), -second * (axis_norm / second_norm**2)
        at_j, at_k = (a - 1) * at_i - b * at_l, (b - 1) * at_l - a * at_i
        return sign * torch.arccos(cosine), torch.stack([at_i, at_j, at_k, at_l])


@final
class AbsoluteArccosDihedral(ArccosDihedral):
    """`ArccosDihedral` without its sign."""

    def value_and_jacobian(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """See `Variable.value_and_jacobian`."""
        value, jacobian = super().value_and_jacobian(points)
        return value.abs(), torch.where(value < 0, -jacobian, jacobian)


class SoftmaxMean(Reduction):
    """Mean energy of a group, weighted by softmax(-lambda E); pushes some violated terms outwards (rows 4c, 4b)."""

    def energy(self, energies: Tensor, groups: Segments, t: float) -> Tensor:
        """See `Reduction.energy`."""
        return groups.sum(self._weights(energies, groups, t) * energies)

    def shares(self, energies: Tensor, groups: Segments, t: float) -> Tensor:
        """See `Reduction.shares`."""
        weights = self._weights(energies, groups, t)
        mean = groups.spread(groups.sum(weights * energies))
        return weights * (1 + SOFTNESS.at(t) * (mean - energies))

    def _weights(self, energies: Tensor, groups: Segments, t: float) -> Tensor:
        odds = torch.exp(-SOFTNESS.at(t) * (energies - groups.spread(groups.min(energies))))
        return odds / groups.spread(groups.sum(odds))


@final
class UnderflowingSoftmaxMean(SoftmaxMean):
    """`SoftmaxMean` as boltz 2.2 has it: 0 where every exponential underflows, and the softmax's slope turned around.

    >>> far = torch.tensor([[40.0], [42.0]])
    >>> UnderflowingSoftmaxMean().energy(far, Segments(torch.tensor([0, 0]), 1), t=0.0)
    tensor([[0.]])
    """

    def shares(self, energies: Tensor, groups: Segments, t: float) -> Tensor:
        """See `Reduction.shares`."""
        weights = self._weights(energies, groups, t)
        mean = groups.spread(groups.sum(weights * energies))
        return weights * (1 + SOFTNESS.at(t) * (energies - mean))

    def _weights(self, energies: Tensor, groups: Segments, t: float) -> Tensor:
        odds = torch.exp(-SOFTNESS.at(t) * energies)
        return odds / or_one(groups.spread(groups.sum(odds)))


def installed_union() -> SoftmaxMean:
    """Of contacts, as the Boltz-2 of this process has it: boltz-community has mended it, boltz 2.2 has not."""
    theirs = sys.modules.get("boltz.model.potentials.potentials")
    mended = theirs is None or hasattr(theirs, "_stable_union_weights")
    return SoftmaxMean() if mended else UnderflowingSoftmaxMean()


@final
class ReferenceChirality(FlatBottomPotential):
    """Handedness of the stereocentres in `features.restraints`."""

    def __init__(self, features: Features) -> None:
        super().__init__(features.restraints.chirality, ArccosDihedral())


@final
class ReferenceStereoBonds(FlatBottomPotential):
    """E and Z of the double bonds in `features.restraints`."""

    def __init__(self, features: Features) -> None:
        super().__init__(features.restraints.stereo_bonds, AbsoluteArccosDihedral())


@final
class ReferencePlanarBonds(FlatBottomPotential):
    """Planarity of the double bonds in `features.restraints`."""

    def __init__(self, features: Features) -> None:
        super().__init__(features.restraints.planar_bonds, AbsoluteArccosDihedral())


@final
class ReferenceContacts(FlatBottomPotential):
    """The contacts in `features.restraints`, of which one in each group has to hold."""

    def __init__(self, features: Features) -> None:
        super().__init__(features.restraints.contacts, Distance(), installed_union())


@final
class ReferenceSymmetricChains(Potential):
    """Centres of symmetric chains, as the reference takes them: coordinates summed and divided by n + 1.

    Every atom of a chain moves by the gradient of its centre, without the factor 1 / n (row 7); absent atoms move with
    chain 0. Chains of a single atom are left out.

    Parameters
    ----------
    feats : mapping of str to Tensor
        `symmetric_chain_index` [B, 2, P]; nothing if it is missing.
    features : Features
        The same batch.
    """

    def __init__(self, feats: Mapping[str, Tensor], features: Features) -> None:
        asym = features.asym_id.gather(1, features.atom_token_index)
        chain = torch.where(features.atom_mask, asym, 0)
        rows = torch.arange(features.batch_size, device=features.device)[:, None]
        self._chains = int(features.asym_id.max()) + 1
        self._chain = rows * self._chains + chain
        self._mask = features.atom_mask
        count = torch.zeros(features.batch_size * self._chains, device=features.device)
        self._count = count.index_add(0, self._chain.flatten(), features.atom_mask.flatten().float())
        structure, pairs = chain_pairs(feats)
        pairs = structure[:, None] * self._chains + pairs
        kept = (self._count[pairs] > 1).all(dim=1)
        self._structure, self._pairs = structure[kept], pairs[kept]

    @property
    def num_terms(self) -> int:
        """See `Potential.num_terms`."""
        return len(self._pairs)

    def energy(self, coords: Tensor, t: float) -> Tensor:
        """See `Potential.energy`."""
        outside, _ = self._outside(coords, t)
        return coords.new_zeros(coords.shape[:2]).index_add(0, self._structure, outside)

    def gradient(self, coords: Tensor, t: float) -> Tensor:
        """See `Potential.gradient`: not the gradient of the energy, but what the reference moves by."""
        outside, unit = self._outside(coords, t)
        pull = torch.where(outside[..., None] > 0, -unit, 0.0)
        centres = coords.new_zeros(len(self._count), coords.shape[1], 3)
        centres = centres.index_add(0, self._pairs.T.flatten(), torch.cat([pull, -pull]))
        return centres[self._chain].transpose(1, 2)

    def _outside(self, coords: Tensor, t: float) -> tuple[Tensor, Tensor]:
        """[P, S] how much too close the pairs are, and the direction [P, S, 3] from the second to the first."""
        present = torch.where(self._mask[:, None, :, None], coords, 0.0).transpose(1, 2).flatten(0, 1)
        centres = coords.new_zeros(len(self._count), coords.shape[1], 3)
        centres = centres.index_add(0, self._chain.flatten(), present) / (self._count + 1)[:, None, None]
        between = centres[self._pairs[:, 0]] - centres[self._pairs[:, 1]]
        distance = torch.linalg.norm(between, dim=-1)
        return (CHAIN_DISTANCE.at(t) - distance).clamp(min=0), between / or_one(distance)[..., None]


@final
class ReferenceTemplate(Potential):
    """Distance of representative atoms from the aligned template, which is held fixed for the gradient (row 6c).

    All atoms of a token move by the gradient of its representative atom, absent atoms by that of token 0. Of several
    templates the reference takes the directions of the first, once for each template that is violated at the token.

    Parameters
    ----------
    feats : mapping of str to Tensor
        `template_cb` [B, P, N, 3] and `template_mask_cb`, `template_force`, `template_force_threshold`; nothing if
        they are missing.
    features : Features
        The same batch.
    """

    def __init__(self, feats: Mapping[str, Tensor], features: Features) -> None:
        self._feats = feats
        known = "template_mask_cb" in feats and "template_force" in feats
        self._forced = feats["template_force"].bool() if known else features.token_mask[:, :0]
        self._representative = features.representative_atom_index
        token = features.token_index.gather(1, features.atom_token_index)
        self._token = torch.where(features.atom_mask, token, 0)

    @property
    def num_terms(self) -> int:
        """See `Potential.num_terms`."""
        return int(self._forced.sum())

    def energy(self, coords: Tensor, t: float) -> Tensor:
        """See `Potential.energy`."""
        if self.num_terms == 0:
            return coords.new_zeros(coords.shape[:2])
        return torch.stack([self._outside(b, sample)[0].sum(dim=(1, 2)) for b, sample in enumerate(coords)])

    def gradient(self, coords: Tensor, t: float) -> Tensor:
        """See `Potential.gradient`: not the gradient of the energy, but what the reference moves by."""
        moved = torch.zeros_like(coords)
        for b in torch.nonzero(self._forced.any(dim=1)).flatten().tolist():
            outside, unit = self._outside(b, coords[b])
            pull = unit[:, 0] * (outside > 0).sum(dim=1)[..., None]
            moved[b] = pull[:, self._token[b]]
        return moved

    def _outside(self, row: int, coords: Tensor) -> tuple[Tensor, Tensor]:
        """For [S, A, 3]: distance beyond the threshold [S, P, N], and the direction away from the template."""
        forced = self._forced[row]
        places, mask, threshold = (
            self._feats[name][row][forced].float()
            for name in ("template_cb", "template_mask_cb", "template_force_threshold")
        )
        atoms = coords[:, None, self._representative[row]]
        between = (atoms - rigid_align(places[None], atoms, mask[None])) * mask[..., None]
        distance = torch.linalg.norm(between, dim=-1)
        outside = (distance - threshold[:, None]).clamp(min=0)
        return outside, between / or_one(distance)[..., None]
