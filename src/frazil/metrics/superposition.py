"""Optimal proper superposition of two point sets, and the RMSD after it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class RigidTransform:
    """The rigid motion x -> (x - origin) R^T + target."""

    rotation: Floats
    """[3, 3] proper rotation matrix."""
    origin: Floats
    """[3] centroid of the points that were moved."""
    target: Floats
    """[3] centroid of the points they were moved onto."""

    def __call__(self, points: Floats) -> Floats:
        """The points [..., 3], moved."""
        return (points - self.origin) @ self.rotation.T + self.target


def resolved_in_both(a: Floats, b: Floats) -> Bools:
    """[A] bool, True for atoms that have finite coordinates in both arrays [A, 3]."""
    return np.asarray(np.isfinite(a).all(axis=-1) & np.isfinite(b).all(axis=-1))


def superposition(moving: ArrayLike, target: ArrayLike) -> RigidTransform:
    """The proper rigid motion of least RMSD (Kabsch 1976; scipy's `Rotation.align_vectors`).

    Parameters
    ----------
    moving, target : array
        [A, 3], angstrom; NaN where unresolved. Atoms resolved in both count, with equal weights.

    Returns
    -------
    RigidTransform
        Takes `moving` onto `target`; a reflection is never used. One common atom gives a translation.

    Raises
    ------
    ValueError
        If no atom is resolved in both.

    Examples
    --------
    >>> import numpy as np
    >>> square = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    >>> bool(np.allclose(superposition(square + 5.0, square)(square + 5.0), square))
    True
    """
    a, b = np.asarray(moving, dtype=np.float64), np.asarray(target, dtype=np.float64)
    both = resolved_in_both(a, b)
    if not both.any():
        raise ValueError("no atom is resolved in both structures")
    a, b = a[both], b[both]
    origin, goal = a.mean(axis=0), b.mean(axis=0)
    return RigidTransform(_rotation(a - origin, b - goal), origin, goal)


def _rotation(moving: Floats, target: Floats) -> Floats:
    if len(moving) < 2:
        return np.eye(3)
    with warnings.catch_warnings():
        # two, collinear or coincident atoms leave the rotation open: any of the best ones will do
        warnings.filterwarnings("ignore", message="Optimal rotation is not uniquely")
        return Rotation.align_vectors(target, moving)[0].as_matrix()


def rmsd(moving: ArrayLike, target: ArrayLike) -> float:
    """Root mean square distance in angstrom after optimal proper superposition, over atoms resolved in both.

    Parameters
    ----------
    moving, target : array
        [A, 3], angstrom; NaN where unresolved.

    Raises
    ------
    ValueError
        If no atom is resolved in both.

    Examples
    --------
    >>> import numpy as np
    >>> rod = np.array([[-1.0, 0, 0], [1, 0, 0]])
    >>> round(rmsd(2 * rod, rod), 6)
    1.0
    """
    a, b = np.asarray(moving, dtype=np.float64), np.asarray(target, dtype=np.float64)
    squared = ((superposition(a, b)(a) - b) ** 2).sum(axis=-1)
    return float(np.sqrt(np.nanmean(squared)))
