"""How good structures are: RMSD, lDDT, TM-score, coverage, clashes, chirality.

Numpy arrays in, numbers out; NaN marks unresolved atoms.
"""

from frazil.metrics.chirality import FLATNESS, chirality_errors, handedness
from frazil.metrics.clashes import CLASH_FRACTION, clashes, count_clashes
from frazil.metrics.coverage import THRESHOLDS, Coverage, coverage
from frazil.metrics.lddt import agreement, lddt
from frazil.metrics.matching import Matcher
from frazil.metrics.superposition import RigidTransform, rmsd, superposition
from frazil.metrics.tm import HAS_TMTOOLS, tm_score

__all__ = [
    "CLASH_FRACTION",
    "FLATNESS",
    "HAS_TMTOOLS",
    "THRESHOLDS",
    "Coverage",
    "Matcher",
    "RigidTransform",
    "agreement",
    "chirality_errors",
    "clashes",
    "count_clashes",
    "coverage",
    "handedness",
    "lddt",
    "rmsd",
    "superposition",
    "tm_score",
]
