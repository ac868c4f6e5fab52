"""Centres, rigid motions, weighted rigid alignment, distances and angles of atom coordinates.

Coordinates are rows: [..., A, 3] in angstrom, rotated as `x @ R`. Products and sums are written out as elementwise
operations in a fixed order, so a structure's result has the same bits in any batch, with any padding and number of
threads, and never depends on a device's reduced-precision matrix mode. Nothing here waits for a device.
"""

from frazil.geometry.alignment import Align, alignment_rotation, rigid_align
from frazil.geometry.angles import angle, dihedral, distance
from frazil.geometry.motion import (
    RigidMotion,
    quaternion_to_matrix,
    random_rotations,
    rotation_from_normal,
)
from frazil.geometry.sums import center, mean_atoms, sum_atoms

__all__ = [
    "Align",
    "RigidMotion",
    "alignment_rotation",
    "angle",
    "center",
    "dihedral",
    "distance",
    "mean_atoms",
    "quaternion_to_matrix",
    "random_rotations",
    "rigid_align",
    "rotation_from_normal",
    "sum_atoms",
]
