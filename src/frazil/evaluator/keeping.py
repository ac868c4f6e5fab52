"""What samples keep of the restraints on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from frazil.data import featurize
from frazil.data.restraints import all_restraints
from frazil.data.structure import Structure
from frazil.data.topology import selections
from frazil.metrics.superposition import Floats
from frazil.potentials import POTENTIAL_SETS, default_potentials
from frazil.steering.energies import energies
from frazil.steering.judge import Outcome, Verdict, judge, verdict


class Keeping:
    """What samples keep of what a structure is held to, and their energies; made once for all samples."""

    def __init__(self, structure: Structure) -> None:
        self._restraints, self._names = all_restraints(structure), selections(structure)
        features = replace(featurize(structure), restraints=self._restraints)
        self._mask = features.atom_mask
        self._potentials = [one.potential for one in default_potentials(features, tuple(POTENTIAL_SETS))]

    def verdict(self, coords: Floats, recorded: Sequence[Outcome]) -> Verdict:
        """Of one sample [A, 3], NaN where unresolved; recorded restraints count unless they are judged anew."""
        found = verdict(judge(self._restraints, torch.from_numpy(coords)[None], self._names), 0)
        anew = {(one.kind, one.label) for one in found.given}
        return replace(found, given=(*found.given, *(one for one in recorded if (one.kind, one.label) not in anew)))

    def energies(self, coords: Floats) -> dict[str, float]:
        """Of one sample [A, 3], by potential; NaN where atoms are unresolved."""
        sample = torch.from_numpy(coords.astype(np.float32))[None, None]
        return {name: values[0] for name, values in energies(self._potentials, sample, self._mask).items()}
