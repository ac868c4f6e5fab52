"""`Restraints`: what a structure is held to, as flat lists of terms over a batch; the record that potentials read.

A term names k atoms of one structure, a value (a distance, a dihedral, ...) and the interval it has to lie in. Lists
are flat over the batch, each term with the row of its structure, so structures of unlike sizes need no padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Terms:
    """T terms of one kind, each on k atoms; the groups G hold terms of which one has to hold.

    Angstrom for distances, radians for angles.
    """

    structure: Tensor
    """[T] int64, row of the batch."""
    atoms: Tensor
    """[T, k] int64, atoms of that structure."""
    lower: Tensor
    """[T] float32, least value; -inf for no bound."""
    upper: Tensor
    """[T] float32, greatest value; inf for no bound."""
    weight: Tensor
    """[T] float32, factor on the energy; 0 for terms that are judged but do not steer."""
    group: Tensor
    """[T] int64, 0 .. G - 1, not falling: terms of equal number are alternatives of one restraint."""
    labels: tuple[str, ...] = ()
    """One name for each group, as a person wrote it; empty for restraints that nobody named."""

    @classmethod
    def none(cls, num_atoms: int) -> Terms:
        """No term, of `num_atoms` atoms each.

        >>> Terms.none(4).atoms.shape
        torch.Size([0, 4])
        """
        return cls.of(torch.zeros(0, num_atoms, dtype=torch.int64))

    @classmethod
    def of(
        cls, atoms: Tensor, lower: Tensor | float = float("-inf"), upper: Tensor | float = float("inf"), *,
        weight: Tensor | float = 1.0, group: Tensor | None = None, labels: Sequence[str] = (),
    ) -> Terms:  # fmt: skip
        """Terms of a single structure (B = 1).

        Parameters
        ----------
        atoms : Tensor
            [T, k] int64.
        lower, upper, weight : Tensor or float
            [T], or one number for all.
        group : Tensor, optional
            [T] int64, from 0 without gaps and not falling; by default every term stands alone.
        labels : sequence of str
            One for each group, or none.

        >>> Terms.of(torch.tensor([[0, 5], [1, 5]]), upper=8.0, group=torch.tensor([0, 0])).num_groups
        1
        """
        count = atoms.shape[0]

        def spread(value: Tensor | float) -> Tensor:
            return torch.as_tensor(value, dtype=torch.float32, device=atoms.device).expand(count).clone()

        rows = torch.zeros(count, dtype=torch.int64, device=atoms.device)
        alone = torch.arange(count, device=atoms.device)
        group = alone if group is None else group
        return cls(rows, atoms, spread(lower), spread(upper), spread(weight), group, tuple(labels))

    def __len__(self) -> int:
        return self.atoms.shape[0]

    @property
    def num_groups(self) -> int:
        """G."""
        return int(self.group[-1]) + 1 if len(self) else 0

    @property
    def group_structure(self) -> Tensor:
        """[G] int64, row of the batch of each group."""
        first = torch.zeros(self.num_groups, dtype=torch.int64, device=self.group.device)
        return first.index_copy(0, self.group, self.structure)

    def to(self, device: torch.device | str) -> Terms:
        """The terms on another device."""
        moved = {f.name: getattr(self, f.name).to(device) for f in fields(self) if f.name != "labels"}
        return replace(self, **moved)

    def keep(self, kept: Tensor) -> Terms:
        """The terms where `kept` [T] is True, groups numbered anew; a group without a term is gone."""
        old, group = torch.unique_consecutive(self.group[kept], return_inverse=True)
        labels = tuple(self.labels[i] for i in old.tolist()) if self.labels else ()
        parts = {f.name: getattr(self, f.name)[kept] for f in fields(self) if f.name not in ("labels", "group")}
        return Terms(**parts, group=group, labels=labels)

    def named(self) -> Terms:
        """The terms of groups that somebody named.

        >>> Terms.of(torch.tensor([[0, 1], [2, 3]]), labels=("", "A:1,B:1")).named().atoms.tolist()
        [[2, 3]]
        """
        labels = [bool(label) for label in self.labels] or [False] * self.num_groups
        return self.keep(torch.tensor(labels, dtype=torch.bool, device=self.group.device)[self.group])

    def select(self, rows: range) -> Terms:
        """The terms of some structures, which become 0, 1, ..."""
        kept = self.keep((self.structure >= rows.start) & (self.structure < rows.stop))
        return replace(kept, structure=kept.structure - rows.start)

    def crop(self, new_atom: Tensor) -> Terms:
        """The terms whose atoms are all kept; `new_atom` [A] int64 gives their new numbers, -1 for atoms left out."""
        renamed = new_atom[self.atoms]
        kept = (renamed >= 0).all(dim=-1)
        return replace(self.keep(kept), atoms=renamed[kept])

    @staticmethod
    def join(parts: Sequence[Terms], first_rows: Sequence[int] | None = None) -> Terms:
        """Lists of the same kind one after the other; `first_rows` gives the batch row that each begins at (0)."""
        rows = [0] * len(parts) if first_rows is None else list(first_rows)
        starts = torch.tensor([0, *(part.num_groups for part in parts)]).cumsum(0).tolist()
        named = any(part.labels for part in parts)
        return Terms(
            structure=torch.cat([part.structure + row for part, row in zip(parts, rows, strict=True)]),
            group=torch.cat([part.group + start for part, start in zip(parts, starts[:-1], strict=True)]),
            labels=tuple(label for part in parts for label in part.labels or ("",) * part.num_groups) if named else (),
            **{
                name: torch.cat([getattr(part, name) for part in parts])
                for name in ("atoms", "lower", "upper", "weight")
            },
        )


@dataclass(frozen=True, eq=False)
class PlaceTerms:
    """Atoms (k = 1) that stay near given places; the groups of `terms` are rigid sets that move as one.

    The value of a term is the atom's distance from its place. Where `aligned`, a group's places are first put onto its
    atoms by the rigid motion that fits best, so only the shape counts; else the places are taken as they lie.
    """

    terms: Terms
    """[T] with k = 1."""
    places: Tensor
    """[T, 3] float32, angstrom."""
    aligned: Tensor
    """[G] bool."""

    @classmethod
    def none(cls) -> PlaceTerms:
        """No term."""
        return cls(Terms.none(1), torch.zeros(0, 3), torch.zeros(0, dtype=torch.bool))

    def __len__(self) -> int:
        return len(self.terms)

    def to(self, device: torch.device | str) -> PlaceTerms:
        """The terms on another device."""
        return PlaceTerms(self.terms.to(device), self.places.to(device), self.aligned.to(device))

    def keep(self, kept: Tensor) -> PlaceTerms:
        """The terms where `kept` [T] is True."""
        groups = torch.unique_consecutive(self.terms.group[kept])
        return PlaceTerms(self.terms.keep(kept), self.places[kept], self.aligned[groups])

    def select(self, rows: range) -> PlaceTerms:
        """The terms of some structures, which become 0, 1, ..."""
        kept = self.keep((self.terms.structure >= rows.start) & (self.terms.structure < rows.stop))
        return replace(kept, terms=kept.terms.select(rows))

    def crop(self, new_atom: Tensor) -> PlaceTerms:
        """The terms whose atom is kept, see `Terms.crop`."""
        kept = self.keep((new_atom[self.terms.atoms] >= 0).all(dim=-1))
        return replace(kept, terms=kept.terms.crop(new_atom))

    @staticmethod
    def join(parts: Sequence[PlaceTerms], first_rows: Sequence[int] | None = None) -> PlaceTerms:
        """Lists one after the other, see `Terms.join`."""
        terms = Terms.join([part.terms for part in parts], first_rows)
        return PlaceTerms(
            terms, torch.cat([part.places for part in parts]), torch.cat([part.aligned for part in parts])
        )


@dataclass(frozen=True, eq=False)
class Restraints:
    """All that a batch of structures is held to; every list may be empty."""

    bonds: Terms
    """k = 2: every covalent bond between atoms; no bounds, for those who need the graph."""
    distance_bounds: Terms
    """k = 2: distances within ligands and modified residues (RDKit's bounds matrix, buffers applied)."""
    chirality: Terms
    """k = 4: improper dihedral at stereocentres (three neighbours of highest CIP rank, then the centre)."""
    stereo_bonds: Terms
    """k = 4: absolute dihedral at double bonds with E or Z."""
    planar_bonds: Terms
    """k = 4: absolute improper dihedral at both ends of planar double bonds."""
    connections: Terms
    """k = 2: covalent bonds between chains and between residues."""
    contacts: Terms
    """k = 2: pairs of which, in each group, one has to be close."""
    distances: Terms
    """k = 2: least distances and windows of distance."""
    dihedrals: Terms
    """k = 4: windows of a dihedral; `lower` <= `upper`, taken modulo one turn."""
    positions: PlaceTerms
    """Atoms that stay near given places."""
    templates: PlaceTerms
    """Representative atoms that stay near an aligned template."""
    gyration: Terms
    """k = 1: the atoms of a group have this radius of gyration (the bounds of its first term)."""

    @classmethod
    def none(cls) -> Restraints:
        """Nothing to be held to."""
        pair, four, one = Terms.none(2), Terms.none(4), Terms.none(1)
        return cls(pair, pair, four, four, four, pair, pair, pair, four, PlaceTerms.none(), PlaceTerms.none(), one)

    def __len__(self) -> int:
        """Terms of all kinds, bare bonds not counted."""
        return sum(len(getattr(self, f.name)) for f in fields(self) if f.name != "bonds")

    def to(self, device: torch.device | str) -> Restraints:
        """The record on another device."""
        return Restraints(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    def select(self, rows: range) -> Restraints:
        """Those of some structures, which become 0, 1, ..."""
        return Restraints(**{f.name: getattr(self, f.name).select(rows) for f in fields(self)})

    def crop(self, new_atom: Tensor) -> Restraints:
        """Those whose atoms are all kept, see `Terms.crop`."""
        return Restraints(**{f.name: getattr(self, f.name).crop(new_atom) for f in fields(self)})

    @staticmethod
    def join(parts: Sequence[Restraints], first_rows: Sequence[int] | None = None) -> Restraints:
        """Records one after the other, see `Terms.join`; without `first_rows` all are of the same structures."""
        joined = {}
        for field in fields(Restraints):
            lists = [getattr(part, field.name) for part in parts]
            joined[field.name] = type(lists[0]).join(lists, first_rows)
        return Restraints(**joined)
