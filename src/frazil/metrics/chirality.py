"""Handedness of tetrahedral centres."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from frazil.metrics.superposition import Floats, Ints

FLATNESS = 0.2
"""Normalised volume below which a centre has no handedness; an ideal tetrahedron has 0.77, a plane 0."""


def handedness(coords: ArrayLike, centres: Ints) -> Floats:
    """Signed volume of three neighbours of each centre, with the bonds scaled to length 1.

    Parameters
    ----------
    coords : array
        [..., A, 3], angstrom; NaN where unresolved.
    centres : array
        [C, 4] int: a tetrahedral atom and three of its neighbours.

    Returns
    -------
    array
        [..., C] in -1..1: the sign is the handedness, 0 is flat, NaN is unresolved or of no bond length.

    Examples
    --------
    >>> import numpy as np
    >>> handedness(np.vstack([np.zeros(3), np.eye(3)]), np.array([[0, 1, 2, 3]])).tolist()
    [1.0]
    """
    x = np.asarray(coords, dtype=np.float64)
    index = np.asarray(centres, dtype=np.int64).reshape(-1, 4)
    arms = x[..., index[:, 1:], :] - x[..., index[:, :1], :]
    with np.errstate(invalid="ignore", divide="ignore"):
        arms = arms / np.linalg.norm(arms, axis=-1, keepdims=True)
        return np.asarray(np.linalg.det(arms))


def chirality_errors(coords: ArrayLike, centres: Ints, expected: ArrayLike) -> Ints:
    """Centres that are flat or of the wrong hand.

    Parameters
    ----------
    coords : array
        [A, 3], angstrom; NaN where unresolved.
    centres : array
        [C, 4] int, as for `handedness`.
    expected : array
        [C] float, `handedness` of the right structure; where that is unknown (NaN) or flat, nothing is counted.

    Returns
    -------
    array
        [n] int64, rows of `centres` in error.
    """
    found, wanted = handedness(coords, centres), np.asarray(expected, dtype=np.float64)
    judged = np.isfinite(found) & np.isfinite(wanted) & (np.abs(wanted) >= FLATNESS)
    return np.flatnonzero(judged & (found * np.sign(wanted) < FLATNESS))
