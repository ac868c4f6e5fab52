"""Atoms too close to each other: `VDWOverlap` between chains, `Clashes` everywhere; both by neighbour search."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from frazil.chemistry import CONTACT_RADII, NUM_ELEMENTS, VDW_RADII
from frazil.features import Features
from frazil.geometry.sums import sum_atoms
from frazil.potentials.base import Potential
from frazil.potentials.exclusions import PairSet, within_bonds
from frazil.potentials.neighbours import Pairs, neighbour_pairs

VDW_BUFFER = 0.225
"""Share of the sum of two van-der-Waals radii by which atoms of two chains may overlap (Boltz-2)."""
CLASH_FRACTION = 0.75
"""Share of the sum of two radii below which atoms clash (PoseBusters, Buttenschoen et al. 2024)."""
BONDED_REACH = 3
"""Atoms that so many bonds join, or fewer, are not judged."""
_COINCIDENT = 1e-12


@dataclass(frozen=True, eq=False)
class _Overlaps:
    """P pairs of atoms that are closer than they may be."""

    first: Tensor
    second: Tensor
    depth: Tensor
    """[P], angstrom, by how much."""
    away: Tensor
    """[P, 3], unit vector from the second to the first atom."""


class PairOverlap(Potential):
    """E = sum over pairs of atoms of max(0, r_i + r_j - distance), but for the pairs of an exclusion list.

    Parameters
    ----------
    structure, atom : Tensor
        [n] int64, row of the batch and atom of each of the atoms that take part.
    radius : Tensor
        [n] float32, angstrom.
    tag : Tensor
        [n] int64, the number that `excluded` knows an atom by.
    excluded : PairSet
        Pairs of tags that do not count.
    label : Tensor, optional
        [n] int64; atoms of equal label do not meet.
    """

    def __init__(
        self, structure: Tensor, atom: Tensor, radius: Tensor, *, tag: Tensor, excluded: PairSet,
        label: Tensor | None = None,
    ) -> None:  # fmt: skip
        self._structure, self._atom, self._radius = structure, atom, radius
        self._tag, self._excluded, self._label = tag, excluded, label
        self._reach = 2 * float(radius.max()) if len(radius) else 0.0

    def energy(self, coords: Tensor, t: float) -> Tensor:
        """See `Potential.energy`; atoms that are not finite overlap with none."""
        per_atom = coords.new_zeros(coords.shape[:-1].numel())
        for overlaps in self._overlaps(coords):
            per_atom.index_add_(0, overlaps.first, overlaps.depth)
        return sum_atoms(per_atom.reshape(*coords.shape[:-1], 1))[..., 0]

    def gradient(self, coords: Tensor, t: float) -> Tensor:
        """See `Potential.gradient`; coincident atoms are parted along x."""
        # Two sums, so that the order within each does not depend on how the pairs were split into blocks.
        first, second = (coords.new_zeros(coords.shape[:-1].numel(), 3) for _ in range(2))
        for overlaps in self._overlaps(coords):
            first.index_add_(0, overlaps.first, overlaps.away)
            second.index_add_(0, overlaps.second, overlaps.away)
        return (second - first).reshape(coords.shape)

    def _overlaps(self, coords: Tensor) -> Iterator[_Overlaps]:
        samples, atoms = coords.shape[1:3]
        sample = torch.arange(samples, device=coords.device)[:, None]
        group = self._structure * samples + sample
        place = (group * atoms + self._atom).reshape(-1)
        points = coords.detach().reshape(-1, 3).index_select(0, place)
        radius, tag = self._radius.repeat(samples), self._tag.repeat(samples)
        label = None if self._label is None else self._label.repeat(samples)
        for pairs in neighbour_pairs(points, group.reshape(-1), self._reach, label=label):
            depth = radius.index_select(0, pairs.first) + radius.index_select(0, pairs.second) - pairs.distance
            deep = torch.nonzero(depth > 0).squeeze(1)
            first, second = pairs.first.index_select(0, deep), pairs.second.index_select(0, deep)
            excluded = self._excluded.contains(tag.index_select(0, first), tag.index_select(0, second))
            counted = deep.index_select(0, torch.nonzero(~excluded).squeeze(1))
            first, second = (place[end.index_select(0, counted)] for end in (pairs.first, pairs.second))
            yield _Overlaps(first, second, depth.index_select(0, counted), _directions(pairs, counted))


@final
class VDWOverlap(PairOverlap):
    """Atoms of unconnected chains overlap by no more than `buffer`: distance >= (r_i + r_j) (1 - buffer).

    Chains are connected where a covalent bond (`restraints.connections`) joins them; chains of a single atom, such as
    ions, do not take part. Radii are `chemistry.VDW_RADII` (Boltz-2's van-der-Waals potential).

    Parameters
    ----------
    features : Features
        Chains, elements and connections of a batch.
    buffer : float
        Share of the sum of the radii.
    """

    def __init__(self, features: Features, buffer: float = VDW_BUFFER) -> None:
        chains, sizes = _chains(features)
        many = torch.nonzero(features.atom_mask & (sizes[chains] > 1))
        structure, atom = many.unbind(-1)
        tag = chains[structure, atom]
        bonds = features.restraints.connections
        ends = chains[bonds.structure[:, None], bonds.atoms]
        joined = PairSet.of(ends[:, 0], ends[:, 1], size=len(sizes))
        radius = atom_radii(features, VDW_RADII)[structure, atom] * (1 - buffer)
        super().__init__(structure, atom, radius, tag=tag, excluded=joined, label=tag)
        self._num_terms = _unlike_pairs(structure, tag, joined)

    @property
    def name(self) -> str:
        """See `Potential.name`."""
        return "van_der_waals"

    @property
    def num_terms(self) -> int:
        """Pairs of atoms that could overlap."""
        return self._num_terms


@final
class Clashes(PairOverlap):
    """No two atoms closer than `fraction` of the sum of their radii, unless within three bonds of each other.

    The definition of `metrics.clashes`, within and between chains; radii are `chemistry.CONTACT_RADII`.

    Parameters
    ----------
    features : Features
        Elements and bonds (`restraints.bonds`) of a batch.
    fraction : float
        Share of the sum of the radii.
    """

    def __init__(self, features: Features, fraction: float = CLASH_FRACTION) -> None:
        structure, atom = torch.nonzero(features.atom_mask).unbind(-1)
        tag = structure * features.num_atoms + atom
        bonds = features.restraints.bonds
        bonded = within_bonds(
            bonds.structure[:, None] * features.num_atoms + bonds.atoms, features.atom_mask.numel(), BONDED_REACH
        )
        radius = atom_radii(features, CONTACT_RADII)[structure, atom] * fraction
        super().__init__(structure, atom, radius, tag=tag, excluded=bonded)
        sizes = features.atom_mask.sum(dim=1)
        present = features.atom_mask.reshape(-1)
        low, high = bonded.ends
        self._num_terms = int((sizes * (sizes - 1) // 2).sum() - (present[low] & present[high]).sum())

    @property
    def name(self) -> str:
        """See `Potential.name`."""
        return "clashes"

    @property
    def num_terms(self) -> int:
        """Pairs of atoms that could clash."""
        return self._num_terms


def _directions(pairs: Pairs, counted: Tensor) -> Tensor:
    """[k, 3] unit vectors from the second to the first of some of the pairs, +x for those that coincide."""
    distance = pairs.distance.index_select(0, counted)[:, None]
    difference = torch.stack([axis.index_select(0, counted) for axis in pairs.difference], dim=-1)
    fixed = difference.new_tensor([1.0, 0.0, 0.0])
    return torch.where(distance > _COINCIDENT, difference / distance, fixed)


def atom_radii(features: Features, table: tuple[float, ...]) -> Tensor:
    """[B, A] radius of each atom by a table over atomic numbers, 0 beyond its end."""
    known = torch.tensor(table, device=features.device)
    radii = torch.cat([known, known.new_zeros(NUM_ELEMENTS - len(table))])
    return radii[features.ref_element]


def _chains(features: Features) -> tuple[Tensor, Tensor]:
    """[B, A] chain of each atom, numbered through the batch, and the number of atoms [C] of each chain."""
    asym = features.asym_id.gather(1, features.atom_token_index)
    row = torch.arange(features.batch_size, device=features.device)[:, None]
    _, chains = torch.stack([row.expand_as(asym), asym], dim=-1).reshape(-1, 2).unique(dim=0, return_inverse=True)
    chains = chains.reshape(asym.shape)
    sizes = torch.zeros(int(chains.max()) + 1, dtype=torch.int64, device=features.device)
    return chains, sizes.index_add(0, chains.reshape(-1), features.atom_mask.reshape(-1).to(torch.int64))


def _unlike_pairs(structure: Tensor, chain: Tensor, joined: PairSet) -> int:
    """Pairs of atoms of one structure whose chains differ and are not joined."""
    in_structure, in_chain = torch.bincount(structure), torch.bincount(chain, minlength=joined.size)
    low, high = joined.ends
    pairs = in_structure.square().sum() - in_chain.square().sum()
    return int(pairs) // 2 - int((in_chain[low] * in_chain[high]).sum())
