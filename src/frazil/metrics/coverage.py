"""How well a set of samples covers a set of reference conformers, and the other way round."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

THRESHOLDS = (0.5, 0.75, 1.0)
"""Angstrom."""


@dataclass(frozen=True)
class Coverage:
    """Coverage and matching of one molecule's conformers."""

    thresholds: tuple[float, ...]
    """Angstrom."""
    cov_r: tuple[float, ...]
    """COV-R: for each threshold the share of the references that a sample comes closer to."""
    cov_p: tuple[float, ...]
    """COV-P: for each threshold the share of the samples that come closer to a reference."""
    mat_r: float
    """MAT-R: mean over the references of the RMSD to the nearest sample, angstrom."""
    mat_p: float
    """MAT-P: mean over the samples of the RMSD to the nearest reference, angstrom."""


def coverage(distances: ArrayLike, thresholds: tuple[float, ...] = THRESHOLDS) -> Coverage:
    """Recall and precision of samples, by the definitions of Xu et al. 2021 and Ganea et al. 2021 (GeoMol).

    Parameters
    ----------
    distances : array
        [S, E] RMSD in angstrom of each sample to each reference conformer, symmetries considered.
    thresholds : tuple of float
        Angstrom; closer means less than.

    Raises
    ------
    ValueError
        If there is no sample, or no reference.

    Examples
    --------
    >>> found = coverage([[0.4, 2.0], [0.9, 1.2], [3.0, 3.0]])
    >>> found.cov_r, found.mat_r
    ((0.5, 0.5, 0.5), 0.8)
    >>> [round(share, 2) for share in found.cov_p], round(found.mat_p, 2)
    ([0.33, 0.33, 0.67], 1.43)
    """
    table = np.asarray(distances, dtype=np.float64)
    if table.ndim != 2 or 0 in table.shape:
        raise ValueError(f"distances {table.shape}: coverage needs a sample and a reference")
    to_sample, to_reference = table.min(axis=0), table.min(axis=1)
    return Coverage(
        thresholds=thresholds,
        cov_r=tuple(float((to_sample < threshold).mean()) for threshold in thresholds),
        cov_p=tuple(float((to_reference < threshold).mean()) for threshold in thresholds),
        mat_r=float(to_sample.mean()),
        mat_p=float(to_reference.mean()),
    )
