"""Sets of potentials by name, with the weights over time t that they act with unless told otherwise.

Where Boltz-2 (`boltz-community` 2.12.0) has the potential, intervals and resampling weights are its own, and so are
the guidance weights but for these. Contacts act to the last step, weaker as the structure settles. Chirality, stereo,
planarity, bonds and angles pull harder until t = 0.08, and lower bounds within a ligand begin at t = 0.12, so that
atoms on the wrong side can pass. Symmetric chains count every atom, so their resampling weight is that of the
reference for chains of a thousand atoms. Clashes, distance windows, dihedrals, positions and gyration are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import final

from frazil.errors import InputError
from frazil.features import Features
from frazil.potentials.base import Potential, Weighted
from frazil.potentials.bonded import (
    AskedConnections,
    BondedBounds,
    Chirality,
    Connections,
    NonBondedBounds,
    PlanarBonds,
    StereoBonds,
)
from frazil.potentials.chains import SymmetricChains, atom_weight
from frazil.potentials.contacts import Contacts, Dihedrals, Distances
from frazil.potentials.gyration import Gyration
from frazil.potentials.overlap import Clashes, VDWOverlap
from frazil.potentials.places import Positions, Template
from frazil.potentials.schedules import Constant, Schedule, Steps


@final
@dataclass(frozen=True)
class PotentialWeights:
    """When and how strongly a potential acts.

    Raises
    ------
    InputError
        If the interval is below 1.
    """

    guidance: Schedule
    """Factor on its gradient in a guidance move, angstrom per unit of gradient."""
    resampling: Schedule
    """Factor on its energy in the weights of particles."""
    interval: int = 1
    """Acts in every so many-th guidance move."""

    def __post_init__(self) -> None:
        if self.interval < 1:
            raise InputError(f"weights of a potential: the interval is {self.interval}; give at least 1")


@final
@dataclass(frozen=True)
class Preset:
    """A potential of a set."""

    build: Callable[[Features], Potential]
    """Makes it."""
    weights: PotentialWeights
    """Its usual weights."""


def _preset(
    build: Callable[[Features], Potential], guidance: float | Schedule, resampling: float | Schedule, interval: int = 1
) -> Preset:
    pull, score = (Constant(w) if isinstance(w, int | float) else w for w in (guidance, resampling))
    return Preset(build, PotentialWeights(pull, score, interval))


def _settling(end: float, before: float) -> Schedule:
    """Strong while noise still moves atoms past each other, weaker once they only settle."""
    return Steps(thresholds=(0.08,), values=(end, before))


def _symmetric_chains(features: Features) -> SymmetricChains:
    return SymmetricChains(features, weight=atom_weight)


# Early, atoms lie on top of each other whatever the structure will be: overlap says something later only.
_LATE = Steps(thresholds=(0.4,), values=(0.125, 0.0))
_LATE_ENERGY = Steps(thresholds=(0.6,), values=(0.01, 0.0))
# Until atoms have their places they may pass through each other, or a molecule stays tangled.
_LAST = Steps(thresholds=(0.12,), values=(0.02, 0.0))
# Strong while the fold is open, and never zero: what nothing holds at the end drifts apart again.
_TO_THE_END = Steps(thresholds=(0.05, 0.25, 0.75), values=(0.1, 0.25, 0.5, 1.0))

POTENTIAL_SETS: Mapping[str, Mapping[str, Preset]] = MappingProxyType(
    {
        "physical": MappingProxyType(
            {
                "symmetric_chains": _preset(_symmetric_chains, 0.5, 0.0005, interval=4),
                "van_der_waals": _preset(VDWOverlap, _LATE, _LATE_ENERGY, interval=5),
                "clashes": _preset(Clashes, _LATE, _LATE_ENERGY, interval=5),
                "connections": _preset(Connections, 0.15, 1.0),
                "bonded_bounds": _preset(BondedBounds, _settling(0.02, 0.1), 0.1),
                "non_bonded_bounds": _preset(NonBondedBounds, _LAST, 0.1),
                "chirality": _preset(Chirality, _settling(0.1, 0.4), 1.0),
                "stereo_bonds": _preset(StereoBonds, _settling(0.05, 0.2), 1.0),
                "planar_bonds": _preset(PlanarBonds, _settling(0.05, 0.2), 1.0),
            }
        ),
        "contacts": MappingProxyType(
            {
                "contacts": _preset(Contacts, _TO_THE_END, 1.0, interval=4),
                "asked_connections": _preset(AskedConnections, 0.15, 1.0),
                "distances": _preset(Distances, _TO_THE_END, 1.0, interval=4),
                "dihedrals": _preset(Dihedrals, 0.1, 1.0),
                "positions": _preset(Positions, 0.1, 1.0, interval=2),
                "template": _preset(Template, 0.1, 1.0, interval=2),
                "gyration": _preset(Gyration, 0.1, 0.001, interval=2),
            }
        ),
    }
)
"""Potentials by set and name; `Potential.name` is the same name."""


def default_potentials(
    features: Features, sets: Sequence[str], overrides: Mapping[str, PotentialWeights] | None = None
) -> tuple[Weighted, ...]:
    """The potentials of some sets that have terms in `features`, with their weights.

    Parameters
    ----------
    features : Features
        The batch that is to be sampled.
    sets : sequence of str
        Keys of `POTENTIAL_SETS`; a set named twice acts once.
    overrides : mapping of str to PotentialWeights, optional
        Weights in place of the usual ones, by the potential's name.

    Raises
    ------
    InputError
        If a set or a potential of that name is not known.

    Examples
    --------
    >>> [len(POTENTIAL_SETS[name]) for name in ("physical", "contacts")]
    [9, 7]
    """
    given = dict(overrides or {})
    known = [name for presets in POTENTIAL_SETS.values() for name in presets]
    _refuse_unknown("set of potentials", sets, list(POTENTIAL_SETS))
    _refuse_unknown("potential", list(given), known)
    weighted = []
    for name, preset in ((n, p) for chosen in dict.fromkeys(sets) for n, p in POTENTIAL_SETS[chosen].items()):
        weights = given.get(name, preset.weights)
        potential = preset.build(features)
        if potential.num_terms:
            weighted.append(Weighted(potential, weights.guidance, weights.resampling, weights.interval))
    return tuple(weighted)


def _refuse_unknown(what: str, names: Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise InputError(f"no {what} is called {name!r}; there are {', '.join(known)}")
