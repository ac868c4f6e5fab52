"""The training objective: noised copies of the truth, aligned mean square error and smooth lDDT.

One denoising step, no unrolling (AlphaFold 3, section 3.7.1). Nothing here knows a network: `DiffusionTraining` takes
any `denoise(noisy, sigma)`, draws `NoisedCopies` for it and compares the result with their targets.
Axes: B structures, S noised copies of each, A atoms, N tokens, E models of an ensemble; everything is float32.
"""

from frazil.loss.copies import NoisedCopies, TrainingNoise, noised_copies, place_unresolved
from frazil.loss.lddt import SmoothLDDT, smooth_lddt_loss
from frazil.loss.objective import AtomWeights, DiffusionLoss, atom_mol_type, diffusion_loss
from frazil.loss.step import DiffusionTraining

__all__ = [
    "AtomWeights",
    "DiffusionLoss",
    "DiffusionTraining",
    "NoisedCopies",
    "SmoothLDDT",
    "TrainingNoise",
    "atom_mol_type",
    "diffusion_loss",
    "noised_copies",
    "place_unresolved",
    "smooth_lddt_loss",
]
