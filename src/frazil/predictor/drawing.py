"""From one structure to its samples: features, conditioning, the sampling loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from frazil.data import featurize, randomize_reference
from frazil.denoiser import StructureModel
from frazil.errors import FrazilError
from frazil.features import Features
from frazil.geometry import alignment_rotation, center, rigid_align
from frazil.loss import place_unresolved
from frazil.noise import KarrasSchedule
from frazil.predictor.requests import Request
from frazil.predictor.settings import PredictSettings
from frazil.sampler import (
    Frame,
    PerSampleNoise,
    Sampler,
    SampleResult,
    Start,
    is_out_of_memory,
    stable_seed,
)

Floats = NDArray[np.float32]
OFF_SCALE = 1e6
"""Angstrom; coordinates beyond this cannot be written and are as useless as NaN."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """The samples of one input: S of them, A atoms, F frames of a trajectory."""

    coords: Floats
    """[S, A, 3] angstrom; centred, or laid onto the start."""
    finite: NDArray[np.bool_]
    """[S], which are usable: finite, and nowhere beyond `OFF_SCALE`."""
    sigmas: tuple[float, ...]
    """[F] noise levels of the trajectory, angstrom; empty without one."""
    noisy: Floats
    """[S, F, A, 3] noisy coordinates, each laid onto the sample."""
    denoised: Floats
    """[S, F, A, 3] denoised ones, moved along."""
    samples_at_once: int
    """Most samples in one call of the network."""
    halvings: int
    """How often memory ran out."""


@torch.no_grad()
def draw(
    model: StructureModel,
    request: Request,
    settings: PredictSettings,
    on_step: Callable[[int, int], None] | None = None,
) -> Drawn:
    """Draw the samples of one input.

    Parameters
    ----------
    model : StructureModel
        In evaluation mode; samples are drawn on its device.
    request : Request
        Molecules, name and perhaps a start.
    settings : PredictSettings
        Number of samples, steps, seed.
    on_step : callable, optional
        Called after each step with the numbers of steps done and in all.

    Raises
    ------
    FrazilError
        If the input does not fit into memory.
    """
    poses = torch.Generator().manual_seed(stable_seed(settings.seed, request.name, "reference poses"))
    features = model.prepare(randomize_reference(featurize(request.structure), poses))
    features = features.to(next(model.parameters()).device)
    schedule = KarrasSchedule(sigma_data=model.config.sigma_data)
    turned = model.config.coordinate_augmentation
    sampler = Sampler.for_frame(schedule, turned=turned, max_parallel_samples=settings.max_parallel_samples)
    try:
        denoise = model.denoiser.bind(model.condition(features))
        result = sampler.sample(
            denoise,
            features.atom_mask,
            settings.num_samples,
            settings.steps,
            PerSampleNoise(settings.seed, [request.name]),
            start=_start(request, settings, features),
            trajectory_every=settings.trajectory,
            on_step=on_step,
        )
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise FrazilError(
            f"{request.structure.source}: out of memory with {len(request.structure.atoms)} atoms; "
            "use a machine with more memory or a smaller structure"
        ) from error
    return _placed(request, result)


def _start(request: Request, settings: PredictSettings, features: Features) -> Start | None:
    """The start with its unresolved atoms placed, padded as the features are."""
    if request.start is None or settings.start_sigma is None:
        return None
    known = torch.from_numpy(request.start)
    padding = torch.full((features.num_atoms - len(known), 3), float("nan"))
    coords = torch.cat([known, padding])[None, None].to(features.device)
    return Start(place_unresolved(coords, torch.isfinite(coords).all(dim=-1), features), settings.start_sigma)


def _placed(request: Request, result: SampleResult) -> Drawn:
    """Padding cut off and every sample put where a person looks for it; a sample's place depends on no other."""
    atoms = len(request.structure.atoms)
    coords = result.coords[0, :, :atoms].cpu()
    if request.start is None:
        coords = center(coords, torch.ones(coords.shape[:-1]))
    else:
        known = torch.from_numpy(request.start)
        coords = rigid_align(coords, known.nan_to_num(), torch.isfinite(known).all(dim=-1))
    noisy, denoised = _frames(result.trajectory, coords)
    everything = torch.cat([coords[:, None], noisy, denoised], dim=1)
    usable = result.finite[0].cpu() & (everything.abs() < OFF_SCALE).flatten(1).all(dim=1)
    return Drawn(
        coords=coords.numpy(),
        finite=usable.numpy(),
        sigmas=tuple(frame.sigma for frame in result.trajectory),
        noisy=noisy.numpy(),
        denoised=denoised.numpy(),
        samples_at_once=result.samples_at_once,
        halvings=result.halvings,
    )


def _frames(trajectory: tuple[Frame, ...], coords: Tensor) -> tuple[Tensor, Tensor]:
    """[S, F, A, 3] noisy and denoised frames, each turned so that its denoised coordinates lie on the sample."""
    if not trajectory:
        return torch.empty(len(coords), 0, *coords.shape[1:]), torch.empty(len(coords), 0, *coords.shape[1:])
    atoms = coords.shape[1]
    noisy = torch.stack([frame.noisy[0, :, :atoms] for frame in trajectory], dim=1)
    denoised = torch.stack([frame.denoised[0, :, :atoms] for frame in trajectory], dim=1)
    motion = alignment_rotation(denoised, coords[:, None].expand_as(denoised), torch.ones(denoised.shape[:-1]))
    return motion.apply(noisy), motion.apply(denoised)
