"""The whole of a training step before the optimiser: draw noised copies, denoise once, compare."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from frazil.features import Features
from frazil.geometry import Align, rigid_align
from frazil.loss.copies import NoisedCopies, TrainingNoise
from frazil.loss.lddt import SmoothLDDT
from frazil.loss.objective import AtomWeights, DiffusionLoss, diffusion_loss
from frazil.noise import Preconditioning


@dataclass(frozen=True)
class DiffusionTraining:
    """One denoising step, no unrolling (AlphaFold 3, section 3.7.1), for any denoiser.

    Parameters
    ----------
    noise : TrainingNoise
        How copies are drawn.
    preconditioning : Preconditioning
        Gives the weight of each sigma.
    weights : AtomWeights
        Weights of atoms in alignment and mean square error.
    smooth_lddt : SmoothLDDT or None
        The second term of the loss, or None without it.
    plddt_threshold : float
        Where above 0, only atoms with a pLDDT (0-100) above it count.
    align : callable or None
        Puts the truth onto the denoised coordinates (Algorithm 28); None where copies keep the data's own frame.
    """

    noise: TrainingNoise = field(default_factory=TrainingNoise)
    preconditioning: Preconditioning = field(default_factory=Preconditioning)
    weights: AtomWeights = field(default_factory=AtomWeights)
    smooth_lddt: SmoothLDDT | None = field(default_factory=SmoothLDDT)
    plddt_threshold: float = 0.0
    align: Align | None = rigid_align

    def __call__(
        self, denoise: Callable[[Tensor, Tensor], Tensor], features: Features, generator: torch.Generator
    ) -> DiffusionLoss:
        """Loss of `denoise(noisy [B, S, A, 3], sigma [B, S]) -> [B, S, A, 3]` on freshly drawn copies.

        Parameters
        ----------
        denoise : callable
            The denoiser, bound to these structures.
        features : Features
            The structures with their truth.
        generator : torch.Generator
            Source of all randomness.
        """
        return self.compare(denoise, features, self.noise.draw(features, generator))

    def compare(
        self, denoise: Callable[[Tensor, Tensor], Tensor], features: Features, copies: NoisedCopies
    ) -> DiffusionLoss:
        """Loss of `denoise` on given copies, from `TrainingNoise.draw` or `TrainingNoise.draw_each`.

        Parameters
        ----------
        denoise : callable
            The denoiser, bound to these structures.
        features : Features
            The structures with their truth.
        copies : NoisedCopies
            Of these structures.
        """
        return diffusion_loss(
            denoise(copies.noisy, copies.sigma), copies.target, copies.sigma, features, copies.resolved,
            truth=copies.truth, preconditioning=self.preconditioning, weights=self.weights,
            smooth_lddt=self.smooth_lddt, plddt_threshold=self.plddt_threshold, align=self.align,
        )  # fmt: skip
