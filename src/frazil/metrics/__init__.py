"""How good a structure is: RMSD, lDDT, clashes, chirality. Numpy arrays in, numbers out; NaN marks unresolved atoms."""

from frazil.metrics.chirality import FLATNESS, chirality_errors, handedness
from frazil.metrics.clashes import CLASH_FRACTION, clashes, count_clashes
from frazil.metrics.lddt import agreement, lddt
from frazil.metrics.matching import Matcher
from frazil.metrics.superposition import RigidTransform, rmsd, superposition

__all__ = [
    "CLASH_FRACTION",
    "FLATNESS",
    "Matcher",
    "RigidTransform",
    "agreement",
    "chirality_errors",
    "clashes",
    "count_clashes",
    "handedness",
    "lddt",
    "rmsd",
    "superposition",
]
