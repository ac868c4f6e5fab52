"""Validation by sampling: held-out structures are drawn with the averaged weights and compared with the truth."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor

from frazil.data import contiguous_crop, randomize_reference
from frazil.denoiser import StructureModel
from frazil.features import Features
from frazil.metrics import lddt, rmsd
from frazil.nn.compute import Compute
from frazil.noise import KarrasSchedule
from frazil.sampler import PerSampleNoise, Sampler, stable_seed
from frazil.trainer.settings import TrainSettings

MOST_STRUCTURES = 8


@dataclass(frozen=True)
class Validation:
    """Medians over all samples of all held-out structures."""

    structures: int
    samples: int
    rmsd: float
    """Heavy-atom RMSD to the nearest model, angstrom, atom by atom (no symmetry)."""
    lddt: float
    """Best lDDT to any model, 0..1."""
    failed: int
    """Samples that are not finite."""

    def text(self) -> str:
        """One line for a person."""
        if self.failed == self.samples:
            return f"validation: none of {self.samples} samples is finite"
        lost = f", {self.failed} not finite" if self.failed else ""
        return (
            f"validation: {self.samples} samples of {self.structures} structure(s){lost}: "
            f"median RMSD {self.rmsd:.2f} A, lDDT {self.lddt:.3f}"
        )


def held_out(features: Features, name: str, settings: TrainSettings) -> Features:
    """A held-out structure as validation sees it: cropped contiguously, in reference poses that never change."""
    generator = Generator().manual_seed(stable_seed(settings.seed, "held out", name))
    if features.num_tokens > settings.crop_tokens:
        features = contiguous_crop(features, settings.crop_tokens, generator)
    return randomize_reference(features, generator)


@torch.no_grad()
def validate(
    model: StructureModel, structures: Sequence[tuple[str, Features]], settings: TrainSettings, device: torch.device
) -> Validation:
    """Sample each structure and compare; the same weights give the same numbers.

    Parameters
    ----------
    model : StructureModel
        Carries the weights to judge.
    structures : sequence of (name, Features)
        From `held_out`.
    settings : TrainSettings
        `val_samples`, `val_steps`, `seed`, `precision`.
    device : torch.device
        Where the model is.
    """
    schedule, turned = KarrasSchedule(sigma_data=model.config.sigma_data), model.config.coordinate_augmentation
    sampler = Sampler.for_frame(schedule, turned=turned, max_parallel_samples=settings.copies)
    model.eval()
    scores = []
    for name, features in structures:
        prepared = model.prepare(features).to(device)
        denoise = model.denoiser.bind(model.condition(prepared), Compute(settings.precision))
        noise = PerSampleNoise(settings.seed, [name])
        drawn = sampler.sample(denoise, prepared.atom_mask, settings.val_samples, settings.val_steps, noise)
        truth = _models(prepared)
        scores += [_score(sample, truth) for sample in drawn.coords[0].cpu() if bool(torch.isfinite(sample).all())]
    model.train()
    asked = len(structures) * settings.val_samples
    distances, similarities = zip(*scores, strict=True) if scores else ((np.nan,), (np.nan,))
    return Validation(
        len(structures), asked, statistics.median(distances), statistics.median(similarities), asked - len(scores)
    )


def _models(features: Features) -> list[np.ndarray]:
    """[A, 3] of each model, NaN where unresolved."""
    size = int(features.ensemble_size[0])
    coords = features.coords[0, :size].masked_fill(~features.resolved_mask[0, :size, :, None], float("nan"))
    return [model for model in coords.cpu().numpy() if np.isfinite(model).any()]


def _score(sample: Tensor, truth: Sequence[np.ndarray]) -> tuple[float, float]:
    coords = sample.numpy()
    return min(rmsd(coords, model) for model in truth), max(lddt(coords, model) for model in truth)
