"""Potentials on distances and dihedrals that a person asks for."""

from __future__ import annotations

from typing import final

from frazil.features import Features
from frazil.potentials.flat_bottom import FlatBottomPotential
from frazil.potentials.intervals import Periodic
from frazil.potentials.reductions import AnyOf
from frazil.potentials.schedules import Exponential, Schedule
from frazil.potentials.variables import Dihedral, Distance

_SHARPER_TO_THE_END: Schedule = Exponential(start=8.0, end=0.0, alpha=-2.0)


@final
class Contacts(FlatBottomPotential):
    """One pair of atoms of each group is close enough, angstrom; the soft minimum over the group's pairs.

    Boltz-2 (Passaro et al. 2025) takes the mean of E weighted by softmax(-l E) instead, which can push pairs apart.

    Parameters
    ----------
    features : Features
        Reads `restraints.contacts`.
    sharpness : Schedule
        l of the soft minimum, 1 / angstrom: at 0 all pairs are pulled alike, at 8 the closest one.
    """

    def __init__(self, features: Features, sharpness: Schedule = _SHARPER_TO_THE_END) -> None:
        super().__init__(features.restraints.contacts, Distance(), AnyOf(sharpness))


@final
class Distances(FlatBottomPotential):
    """Pairs of atoms keep a least distance or lie within a window of distances, angstrom."""

    def __init__(self, features: Features) -> None:
        super().__init__(features.restraints.distances, Distance())


@final
class Dihedrals(FlatBottomPotential):
    """Dihedrals lie within a window, radians, taken modulo one turn."""

    def __init__(self, features: Features) -> None:
        super().__init__(features.restraints.dihedrals, Dihedral(), interval=Periodic())
