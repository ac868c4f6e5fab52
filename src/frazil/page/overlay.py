"""Samples laid on each other: superposed on the best, their RMSDs, and where they agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from frazil.data.drawable import Drawable
from frazil.metrics import Matcher, superposition
from frazil.metrics.lddt import INCLUSION_RADIUS, THRESHOLDS
from frazil.metrics.neighbours import neighbour_pairs
from frazil.metrics.superposition import RigidTransform

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
MOST_COMPARED: Final = 40
"""Samples whose RMSDs to each other are computed."""
MOST_DISTANCES: Final = 40_000_000
"""Distances that the local agreement looks at; more samples are compared with fewer others."""


@dataclass(frozen=True, eq=False)
class Overlay:
    """Axes: S samples, A atoms, H heavy atoms."""

    coords: Floats
    """[S, A, 3] angstrom, each sample laid on the first, which lies along the axes around the origin."""
    motions: tuple[RigidTransform, ...]
    """[S] that took them there."""
    rmsd: Floats
    """[C, C] symmetry-aware heavy-atom RMSD between the first C samples, angstrom."""
    order: Ints
    """[C] those samples so that alike ones are neighbours."""
    spread: Floats
    """[H] root mean square fluctuation over the samples, angstrom; 0 for a lone sample."""
    local: Floats
    """[S, H] local lDDT of each sample to the others, 0..1; NaN where nothing is to be compared."""


def overlay(drawable: Drawable) -> Overlay:
    """Superpose samples on the first, symmetric atoms and equal chains matched."""
    known, heavy = drawable.topology, drawable.coords[:, drawable.heavy]
    matcher = Matcher(len(drawable.heavy), known.copies, known.alternatives)
    target = _lying(heavy[0])
    orders = [matcher.match(sample, target) for sample in heavy]
    matched = np.stack([sample[order] for sample, order in zip(heavy, orders, strict=True)])
    motions = tuple(superposition(sample, target) for sample in matched)
    placed = np.stack([motion(sample) for motion, sample in zip(motions, matched, strict=True)])
    between = _rmsds(matcher, heavy[:MOST_COMPARED])
    residue = known.residue if len(np.unique(known.residue)) > 1 else None
    back = np.stack([np.argsort(order) for order in orders])
    return Overlay(
        coords=np.stack([motion(sample) for motion, sample in zip(motions, drawable.coords, strict=True)]),
        motions=motions,
        rmsd=between,
        order=alike_together(between),
        spread=np.sqrt(((placed - placed.mean(axis=0)) ** 2).sum(axis=-1).mean(axis=0)),
        local=np.take_along_axis(local_agreement(placed, residue), back, axis=1),
    )


def local_agreement(samples: Floats, residue: Ints | None = None) -> Floats:
    """Local lDDT of every atom in each sample to the other samples, each other in turn as the reference.

    Parameters
    ----------
    samples : array
        [S, H, 3] angstrom, finite.
    residue : array, optional
        [H] residue of each atom; pairs inside one are left out. None keeps them.

    Returns
    -------
    array
        [S, H] in 0..1; NaN where there is no other sample or no neighbour.

    Examples
    --------
    >>> pair = np.array([[0.0, 0, 0], [3, 0, 0]])
    >>> local_agreement(np.stack([pair, pair, pair * 1.5])).mean(axis=1).tolist()
    [0.75, 0.75, 0.5]
    """
    count, atoms = samples.shape[:2]
    kept, compared = np.zeros((count, atoms)), np.zeros((count, atoms))
    most = max(2, MOST_DISTANCES // max(1, count * len(_between(samples[0], residue)[0])))
    for reference in range(0, count, max(1, -(-count // most))):
        i, j, distance = _between(samples[reference], residue)
        for index in range(count):
            if index == reference:
                continue
            change = np.abs(np.linalg.norm(samples[index, i] - samples[index, j], axis=-1) - distance)
            share = sum((change < threshold).astype(np.float64) for threshold in THRESHOLDS) / len(THRESHOLDS)
            for ends in (i, j):
                kept[index] += np.bincount(ends, share, atoms)
                compared[index] += np.bincount(ends, minlength=atoms)
    return np.where(compared > 0, kept / np.maximum(compared, 1), np.nan)


def _lying(points: Floats) -> Floats:
    """Centred and turned so that the longest extent goes across the screen, the shortest into it."""
    centred = points - points.mean(axis=0)
    axes = np.linalg.svd(centred, full_matrices=True)[2]
    axes[2] *= np.sign(np.linalg.det(axes))
    return np.asarray(centred @ axes.T)


def _between(points: Floats, residue: Ints | None) -> tuple[Ints, Ints, Floats]:
    """Pairs of atoms near each other, those inside a residue left out."""
    i, j, distance = (np.concatenate(part) for part in zip(*neighbour_pairs(points, INCLUSION_RADIUS), strict=True))
    apart = np.ones(len(i), dtype=bool) if residue is None else residue[i] != residue[j]
    return i[apart], j[apart], distance[apart]


def _rmsds(matcher: Matcher, heavy: Floats) -> Floats:
    found = np.zeros((len(heavy), len(heavy)))
    for i, j in zip(*np.triu_indices(len(heavy), k=1), strict=True):
        matched = heavy[i][matcher.match(heavy[i], heavy[j])]
        moved = superposition(matched, heavy[j])(matched)
        found[i, j] = found[j, i] = np.sqrt(((moved - heavy[j]) ** 2).sum(axis=-1).mean())
    return found


def alike_together(rmsd: Floats) -> Ints:
    """An order by average-linkage clustering, in which alike samples are neighbours."""
    if len(rmsd) < 3:
        return np.arange(len(rmsd))
    tree = linkage(squareform(rmsd, checks=False), method="average", optimal_ordering=True)
    return np.asarray(leaves_list(tree), dtype=np.int64)
