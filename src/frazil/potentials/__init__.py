"""Energies that steer sampling: built once from `Features`, evaluated on coordinates [B, S, A, 3], angstrom.

A potential is a small class with an energy and, by hand or automatically, its gradient. Most bound one variable of a
few atoms (`FlatBottomPotential`); what they bound stands in `Features.restraints`. A sample's energy and gradient have
the same bits whatever other samples, structures and padding there are.
"""

from frazil.potentials.base import Potential, Weighted
from frazil.potentials.bonded import (
    AskedConnections,
    BondedBounds,
    Chirality,
    Connections,
    DistanceBounds,
    NonBondedBounds,
    PlanarBonds,
    StereoBonds,
)
from frazil.potentials.chains import SymmetricChains, atom_weight, equal_weight
from frazil.potentials.contacts import Contacts, Dihedrals, Distances
from frazil.potentials.flat_bottom import FlatBottomPotential, term_values
from frazil.potentials.gyration import Gyration, gyration_radii
from frazil.potentials.intervals import Interval, Periodic, Straight
from frazil.potentials.overlap import Clashes, VDWOverlap
from frazil.potentials.places import PlacePotential, Positions, Template
from frazil.potentials.reductions import AllOf, AnyOf, Reduction
from frazil.potentials.schedules import Constant, Exponential, Schedule, Steps
from frazil.potentials.sets import POTENTIAL_SETS, PotentialWeights, Preset, default_potentials
from frazil.potentials.variables import AbsoluteDihedral, Dihedral, Distance, Variable

__all__ = [
    "POTENTIAL_SETS",
    "AbsoluteDihedral",
    "AllOf",
    "AnyOf",
    "AskedConnections",
    "BondedBounds",
    "Chirality",
    "Clashes",
    "Connections",
    "Constant",
    "Contacts",
    "Dihedral",
    "Dihedrals",
    "Distance",
    "DistanceBounds",
    "Distances",
    "Exponential",
    "FlatBottomPotential",
    "Gyration",
    "Interval",
    "NonBondedBounds",
    "Periodic",
    "PlacePotential",
    "PlanarBonds",
    "Positions",
    "Potential",
    "PotentialWeights",
    "Preset",
    "Reduction",
    "Schedule",
    "Steps",
    "StereoBonds",
    "Straight",
    "SymmetricChains",
    "Template",
    "VDWOverlap",
    "Variable",
    "Weighted",
    "atom_weight",
    "default_potentials",
    "equal_weight",
    "gyration_radii",
    "term_values",
]
