"""Judging: does a finished sample keep what it was held to? By hard values, never by soft or weighted ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import degrees, inf, isfinite, nan, pi
from typing import Any, Final, final

import torch
from torch import Tensor

from frazil.geometry import distance, rigid_align
from frazil.potentials import AbsoluteDihedral, Dihedral, Distance, Variable, gyration_radii, term_values
from frazil.restraints import PlaceTerms, Restraints, Terms

TOLERANCE: Final = 1e-3
"""Angstrom or radians beyond a bound that still count as kept."""
FLATTENED: Final = pi / 12
"""Radians of the same at stereocentres, so that those of less than 15 degrees are wrong or flat: one in eleven of the
right centres in crystals lies below the 30 degrees that steering aims at, one in 280 below 15."""
GIVEN: Final = ("contacts", "distances", "dihedrals", "positions", "templates", "gyration")
"""Kinds that somebody asked for; the others follow from the molecules."""
STEREO: Final = ("chirality", "stereo_bonds")
PHYSICAL: Final = ("distance_bounds", "chirality", "stereo_bonds", "planar_bonds", "connections")
ANGLES: Final = ("chirality", "stereo_bonds", "planar_bonds", "dihedrals")
MOST_LISTED: Final = 20


@final
@dataclass(frozen=True)
class Outcome:
    """One restraint in one sample."""

    kind: str
    """Field of `Restraints` that it comes from."""
    label: str
    """As a person wrote it, or its atoms."""
    value: float
    """Final distance (angstrom) or angle (degrees) of the term that decides; NaN where its atoms are unresolved."""
    lower: float
    """Least allowed value, -inf for none."""
    upper: float
    """Greatest allowed value, inf for none."""
    satisfied: bool
    """Whether the value lies within its bounds, give or take `TOLERANCE`, or `FLATTENED` at a stereocentre."""
    enforced: bool
    """False for a restraint that is judged only."""

    @property
    def excess(self) -> float:
        """How far the value lies outside the bounds, negative inside; NaN as the value."""
        return max(self.lower - self.value, self.value - self.upper) if self.judged else nan

    @property
    def judged(self) -> bool:
        """Whether the atoms that decide have coordinates."""
        return isfinite(self.value)

    @property
    def unit(self) -> str:
        """Of value and bounds."""
        return "degree" if self.kind in ANGLES else "angstrom"

    def text(self) -> str:
        """Kind, label, final value and bounds on one line."""
        sign = "°" if self.unit == "degree" else " Å"
        found = f"{self.value:.2f}{sign}" if self.judged else "not resolved"
        low = f"at least {self.lower:g}{sign}" if isfinite(self.lower) else ""
        high = f"at most {self.upper:g}{sign}" if isfinite(self.upper) else ""
        return f"{_SINGULAR.get(self.kind, self.kind)} {self.label}: {found}, {' and '.join(filter(None, (low, high)))}"

    def to_dict(self) -> dict[str, str | float | bool | None]:
        """For JSON: what is not finite becomes None."""
        numbers = {name: getattr(self, name) for name in ("value", "lower", "upper")}
        return {
            "kind": self.kind,
            "label": self.label,
            **{name: round(number, 4) if isfinite(number) else None for name, number in numbers.items()},
            "unit": self.unit,
            "satisfied": self.satisfied,
            "enforced": self.enforced,
        }

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Outcome:
        """The outcome that `to_dict` gave this row for, its numbers rounded.

        Raises
        ------
        ValueError
            If it is no such row.
        """
        texts, numbers = (row.get("kind"), row.get("label")), [row.get(name) for name in ("value", "lower", "upper")]
        kept, enforced = row.get("satisfied"), row.get("enforced")
        known = all(isinstance(text, str) for text in texts) and isinstance(kept, bool) and isinstance(enforced, bool)
        if not known or not all(number is None or type(number) in (int, float) for number in numbers):
            raise ValueError("not the row of a restraint")
        value, lower, upper = (
            missing if number is None else float(number)
            for number, missing in zip(numbers, (nan, -inf, inf), strict=True)
        )
        return cls(str(texts[0]), str(texts[1]), value, lower, upper, bool(kept), bool(enforced))


@final
@dataclass(frozen=True, eq=False)
class Judgement:
    """All restraints of one kind in S samples: G restraints, each a group of terms or all groups of one label."""

    kind: str
    """Field of `Restraints`."""
    labels: tuple[str, ...]
    """[G]; empty where nobody gave a name."""
    atoms: Tensor
    """[G, S, k] int64, those of the term that decides."""
    value: Tensor
    """[G, S] angstrom or radians."""
    lower: Tensor
    """[G, S] its bounds."""
    upper: Tensor
    """[G, S]."""
    excess: Tensor
    """[G, S] outside the bounds; below 0 inside, NaN where atoms are unresolved."""
    enforced: Tensor
    """[G] bool."""
    names: tuple[str, ...] = ()
    """[A] names of the atoms, or none."""

    @property
    def satisfied(self) -> Tensor:
        """[G, S] bool."""
        return self.excess <= (FLATTENED if self.kind == "chirality" else TOLERANCE)

    @property
    def judged(self) -> Tensor:
        """[G, S] bool, restraints whose atoms have coordinates."""
        return ~torch.isnan(self.excess)

    @property
    def given(self) -> Tensor:
        """[G] bool: restraints that somebody asked for."""
        named = [self.kind in GIVEN or label != "" for label in self.labels]
        return torch.tensor(named, dtype=torch.bool)

    def outcome(self, group: int, sample: int) -> Outcome:
        """One restraint in one sample."""
        index = (group, sample)
        numbers = [float(part[index]) for part in (self.value, self.lower, self.upper)]
        if self.kind in ANGLES:
            numbers = [degrees(number) for number in numbers]
        atoms = [self.names[atom] if self.names else str(atom) for atom in self.atoms[index].tolist()]
        label = self.labels[group] or ",".join(atoms)
        value, lower, upper = numbers
        return Outcome(self.kind, label, value, lower, upper, bool(self.satisfied[index]), bool(self.enforced[group]))


def judge(restraints: Restraints, coords: Tensor, names: Sequence[str] = ()) -> tuple[Judgement, ...]:
    """Judge finished samples of one structure.

    A group of alternatives is judged by its best term, the hard minimum; a rigid set of places by its worst atom;
    groups of one label by the worst of them, for they are one restraint. A dihedral is taken modulo one turn.

    Parameters
    ----------
    restraints : Restraints
        Of a single structure.
    coords : Tensor
        [S, A, 3], angstrom; NaN where unresolved.
    names : sequence of str
        [A] what to call the atoms of a restraint that nobody named; by default their numbers.

    Returns
    -------
    tuple of Judgement
        One for each kind that has terms.

    Examples
    --------
    >>> from dataclasses import replace
    >>> pair = Terms.of(torch.tensor([[0, 1], [0, 2]]), upper=4.0, group=torch.tensor([0, 0]), labels=["near"])
    >>> [contacts] = judge(replace(Restraints.none(), contacts=pair), torch.eye(3)[None] * 10)
    >>> contacts.outcome(0, 0).satisfied, round(contacts.outcome(0, 0).value, 2)
    (False, 14.14)
    """
    if not torch.is_floating_point(coords) or coords.dim() != 3:
        raise ValueError(f"coordinates must be [S, A, 3], not {tuple(coords.shape)}")
    kinds = {kind: getattr(restraints, kind) for kind in (*GIVEN, *PHYSICAL)}
    found = (_judged(kind, terms, coords) for kind, terms in kinds.items() if len(terms))
    return tuple(replace(one, names=tuple(names)) for one in found)


@final
@dataclass(frozen=True)
class KindCount:
    """How many of the restraints of one kind hold in a sample."""

    kind: str
    satisfied: int
    total: int
    """Of those whose atoms are resolved."""
    violated: tuple[Outcome, ...]
    """The worst, at most `MOST_LISTED`."""

    def to_dict(self) -> dict[str, object]:
        """For JSON."""
        rows = [one.to_dict() for one in self.violated]
        return {"satisfied": self.satisfied, "total": self.total, "violated": rows}


@final
@dataclass(frozen=True)
class Verdict:
    """What a sample keeps: restraints that were asked for one by one, those of its molecules counted by kind."""

    given: tuple[Outcome, ...] = ()
    physical: tuple[KindCount, ...] = ()

    @property
    def satisfied(self) -> int:
        """Restraints asked for that hold."""
        return sum(one.satisfied for one in self.given)

    @property
    def total(self) -> int:
        """Restraints asked for whose atoms are resolved."""
        return sum(one.judged for one in self.given)

    @property
    def stereo_violations(self) -> int:
        """Stereocentres and stereo double bonds of ligands and modified residues that are wrong or flat."""
        return sum(one.total - one.satisfied for one in self.physical if one.kind in STEREO)

    @property
    def unsatisfied(self) -> tuple[Outcome, ...]:
        """Restraints asked for that do not hold, the worst first."""
        broken = (one for one in self.given if one.judged and not one.satisfied)
        return tuple(sorted(broken, key=lambda one: -one.excess))

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "restraints_satisfied": self.satisfied,
            "restraints_total": self.total,
            "stereo_violations": self.stereo_violations,
            "restraints": [one.to_dict() for one in self.given],
            "physical": {one.kind: one.to_dict() for one in self.physical},
        }


def verdict(judgements: Iterable[Judgement], sample: int) -> Verdict:
    """What sample number `sample` keeps of what was judged.

    Parameters
    ----------
    judgements : iterable of Judgement
        What `judge` gave.
    sample : int
        Row of the coordinates.
    """
    given: list[Outcome] = []
    counts = []
    for one in judgements:
        asked = one.given
        given += [one.outcome(group, sample) for group in torch.nonzero(asked).flatten().tolist()]
        judged = one.judged[:, sample] & ~asked
        broken = judged & ~one.satisfied[:, sample]
        if judged.any():
            worst = torch.where(broken, one.excess[:, sample], -inf).argsort(descending=True, stable=True)
            listed = worst[: min(int(broken.sum()), MOST_LISTED)].tolist()
            rows = tuple(one.outcome(group, sample) for group in listed)
            counts.append(KindCount(one.kind, int((judged & ~broken).sum()), int(judged.sum()), rows))
    return Verdict(tuple(given), tuple(counts))


def _judged(kind: str, terms: Terms | PlaceTerms, coords: Tensor) -> Judgement:
    if isinstance(terms, PlaceTerms):
        return _decided(kind, terms.terms, _distances_from_places(terms, coords), best=False)
    if kind == "gyration":
        begins = torch.diff(terms.group, prepend=terms.group.new_tensor([-1])) > 0
        return _decided(kind, terms.keep(begins), gyration_radii(terms, coords[None]), best=True)
    return _decided(kind, terms, _values(kind, terms, coords), best=True)


def _values(kind: str, terms: Terms, coords: Tensor) -> Tensor:
    """[T, S] values of the terms, NaN where unresolved; dihedrals within half a turn of their window's middle."""
    values = term_values(terms, _VARIABLES.get(kind, Distance()), coords[None])
    resolved = torch.isfinite(coords[:, terms.atoms]).all(dim=-1).all(dim=-1).T
    values = torch.where(resolved, values, torch.nan)
    if kind != "dihedrals":
        return values
    middle = ((terms.lower + terms.upper) / 2).nan_to_num()[:, None].to(values)
    return middle + torch.remainder(values - middle + pi, 2 * pi) - pi


def _decided(kind: str, terms: Terms, values: Tensor, *, best: bool) -> Judgement:
    """The judgement of values [T, S]: in each group its best or its worst term decides, then the worst of a label."""
    lower, upper = terms.lower[:, None].to(values), terms.upper[:, None].to(values)
    excess = torch.maximum(lower - values, values - upper)
    term = _first_of_least(excess if best else -excess, terms.group, terms.num_groups)
    labels, restraint = _restraints(terms)
    group = _first_of_least(-excess.gather(0, term), restraint, len(labels))
    term = term.gather(0, group)

    def chosen(part: Tensor) -> Tensor:
        return part.expand_as(values).gather(0, term)

    weight = torch.zeros(len(labels)).index_add(0, restraint[terms.group], terms.weight.abs())
    return Judgement(
        kind, labels, terms.atoms[term], chosen(values), chosen(lower), chosen(upper), chosen(excess), weight > 0
    )


def _restraints(terms: Terms) -> tuple[tuple[str, ...], Tensor]:
    """Labels of the restraints, and [G] the restraint of each group: groups without a label stand alone."""
    keys = [label or str(group) for group, label in enumerate(terms.labels or ("",) * terms.num_groups)]
    named = [bool(label) for label in terms.labels] or [False] * terms.num_groups
    numbers: dict[tuple[bool, str], int] = {}
    owner = [numbers.setdefault(key, len(numbers)) for key in zip(named, keys, strict=True)]
    return tuple(key if name else "" for name, key in numbers), torch.tensor(owner, dtype=torch.int64)


def _first_of_least(cost: Tensor, owner: Tensor, count: int) -> Tensor:
    """[count, S] of the rows of `cost` [n, S] that each owner [n] has, the first of least cost; NaN costs most."""
    cost = torch.where(torch.isnan(cost), inf, cost)
    rows = owner[:, None].expand_as(cost)
    least = torch.full((count, cost.shape[1]), inf, dtype=cost.dtype).scatter_reduce(0, rows, cost, "amin")
    number = torch.arange(len(owner))[:, None].expand_as(cost)
    candidates = torch.where(cost == least.gather(0, rows), number, len(owner))
    return torch.full((count, cost.shape[1]), len(owner)).scatter_reduce(0, rows, candidates, "amin")


def _distances_from_places(places: PlaceTerms, coords: Tensor) -> Tensor:
    """[T, S] distances of atoms from their places, a rigid set put onto its resolved atoms first."""
    atoms = coords[:, places.terms.atoms[:, 0]]
    targets = places.places.to(coords).expand_as(atoms).clone()
    for group in torch.nonzero(places.aligned).flatten().tolist():
        rows = torch.nonzero(places.terms.group == group).flatten()
        resolved = torch.isfinite(atoms[:, rows]).all(dim=-1)
        targets[:, rows] = rigid_align(targets[:, rows], atoms[:, rows].nan_to_num(), resolved)
    return distance(atoms, targets).T


_VARIABLES: Final[dict[str, Variable]] = {
    "chirality": Dihedral(),
    "dihedrals": Dihedral(),
    "stereo_bonds": AbsoluteDihedral(),
    "planar_bonds": AbsoluteDihedral(),
}
_SINGULAR: Final = {
    "contacts": "contact", "distances": "distance", "dihedrals": "dihedral", "positions": "position",
    "templates": "template", "gyration": "radius of gyration", "connections": "bond",
}  # fmt: skip
