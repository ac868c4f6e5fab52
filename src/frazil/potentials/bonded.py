"""Potentials on the covalent geometry of ligands, modified residues and links.

Bounds are the terms' own (`frazil.restraints.Restraints`); all are flat-bottom energies of Boltz-2
(Passaro et al. 2025), with dihedrals by way of the arc tangent.
"""

from __future__ import annotations

from typing import final

import torch

from frazil.features import Features
from frazil.potentials.flat_bottom import FlatBottomPotential
from frazil.potentials.variables import AbsoluteDihedral, Dihedral, Distance


@final
class Connections(FlatBottomPotential):
    """Covalent bonds between chains and between residues are not longer than their bound, angstrom."""

    def __init__(self, features: Features) -> None:
        super().__init__(features.restraints.connections, Distance())


@final
class AskedConnections(FlatBottomPotential):
    """The part of `Connections` that a person asked for."""

    def __init__(self, features: Features) -> None:
        super().__init__(features.restraints.connections.named(), Distance())


@final
class DistanceBounds(FlatBottomPotential):
    """Distances within a ligand or modified residue lie within RDKit's bounds matrix, angstrom."""

    def __init__(self, features: Features) -> None:
        super().__init__(features.restraints.distance_bounds, Distance())


@final
class BondedBounds(FlatBottomPotential):
    """The part of `DistanceBounds` that bounds from both sides: bonds and angles."""

    def __init__(self, features: Features) -> None:
        terms = features.restraints.distance_bounds
        super().__init__(terms.keep(torch.isfinite(terms.upper)), Distance())


@final
class NonBondedBounds(FlatBottomPotential):
    """The part of `DistanceBounds` that bounds from below alone: atoms that no bond or angle joins."""

    def __init__(self, features: Features) -> None:
        terms = features.restraints.distance_bounds
        super().__init__(terms.keep(~torch.isfinite(terms.upper)), Distance())


@final
class Chirality(FlatBottomPotential):
    """Improper dihedrals at stereocentres have the sign, and at least the size, of their R or S; radians."""

    def __init__(self, features: Features) -> None:
        super().__init__(features.restraints.chirality, Dihedral())


@final
class StereoBonds(FlatBottomPotential):
    """Dihedrals of double bonds are near 180 degrees (E) or 0 (Z); radians."""

    def __init__(self, features: Features) -> None:
        super().__init__(features.restraints.stereo_bonds, AbsoluteDihedral())


@final
class PlanarBonds(FlatBottomPotential):
    """Improper dihedrals at both ends of planar double bonds are near 0; radians."""

    def __init__(self, features: Features) -> None:
        super().__init__(features.restraints.planar_bonds, AbsoluteDihedral())
