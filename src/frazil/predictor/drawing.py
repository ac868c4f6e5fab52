"""From one structure to its samples: features, conditioning, the sampling loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

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
from frazil.nn.conditioning import Conditioning
from frazil.predictor.available import available_memory
from frazil.predictor.memory import MemoryPlan, memory_plan
from frazil.predictor.requests import Request
from frazil.predictor.settings import PredictSettings, SteeringSettings
from frazil.predictor.steering import CONTACTS, Forces, chosen_sets, forces
from frazil.sampler import (
    Frame,
    Hold,
    PerSampleNoise,
    Sampler,
    SampleResult,
    Start,
    SteeringReport,
    is_out_of_memory,
    stable_seed,
)
from frazil.steering.energies import energies

Floats = NDArray[np.float32]
OFF_SCALE = 1e6
"""Angstrom; coordinates beyond this cannot be written and are as useless as NaN."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """The samples of one input: S of them, A atoms, F frames of a trajectory."""

    coords: Floats
    """[S, A, 3] angstrom; centred, laid onto the start, or in the frame of held atoms or fixed places."""
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
    evaluations: int
    """Calls of the network for each sample."""
    energies: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """S numbers by potential, of the final coordinates; NaN where they are not finite."""
    steering: SteeringReport | None = None
    """What steering did, of B = 1 structure; None without any."""
    sets: tuple[str, ...] = ()
    """Sets of potentials that acted."""
    particles: int = 1
    """Particles kept of each sample that was asked for, next to each other; S counts them all."""
    all_particles: int = 1
    """Particles that were run of each."""
    lineage: NDArray[np.int64] = field(default_factory=lambda: np.empty((0, 0), dtype=np.int64))
    """[S, F] which of all particles each frame of a sample shows."""


@torch.no_grad()
def draw(
    model: StructureModel,
    request: Request,
    settings: PredictSettings,
    on_step: Callable[[int, int], None] | None = None,
    on_plan: Callable[[MemoryPlan], None] | None = None,
) -> Drawn:
    """Draw the samples of one input.

    Parameters
    ----------
    model : StructureModel
        In evaluation mode; samples are drawn on its device.
    request : Request
        Molecules, name, restraints and perhaps a start.
    settings : PredictSettings
        Number of samples, sampler, seed, precision, steering.
    on_step : callable, optional
        Called after each step with the numbers of steps done and in all.
    on_plan : callable, optional
        Called with what memory is needed, before it is.

    Raises
    ------
    InputError
        If one of the user's own potentials fails.
    FrazilError
        If the input does not fit into memory.
    """
    origin = _origin(request, settings.steering)
    request = _moved(request, origin)
    features = _features(model, request, settings.seed)
    plan = memory_plan(request.name, model, features, settings, available_memory(features.device))
    if on_plan is not None:
        on_plan(plan)
    try:
        acting = forces(features, settings.steering)
        sampler = _sampler(model, acting, settings, origin, plan.samples_at_once)
        result = sampler.sample(
            model.denoiser.bind(_conditioning(model, request, features), settings.compute),
            features.atom_mask,
            settings.num_samples,
            settings.preset.steps,
            PerSampleNoise(settings.seed, [request.name]),
            start=_start(request, settings, features),
            hold=_hold(request, features, origin),
            trajectory_every=settings.trajectory,
            on_step=on_step,
        )
        found = energies(acting.reported, result.coords, features.atom_mask)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise FrazilError(
            f"{request.structure.source}: out of memory with {len(request.structure.atoms)} atoms; "
            "use a machine with more memory or a smaller structure"
        ) from error
    particles = 1 if sampler.steering is None else sampler.steering.num_particles
    drawn = _placed(request, result, origin)
    kept = len(drawn.coords) // settings.num_samples
    return replace(
        drawn, energies=found, steering=result.steering, sets=acting.sets, particles=kept, all_particles=particles
    )


def _features(model: StructureModel, request: Request, seed: int) -> Features:
    """Features with their restraints, padded as the model wants them and on its device."""
    if request.conditioned is None:
        poses = torch.Generator().manual_seed(stable_seed(seed, request.name, "reference poses"))
        features = randomize_reference(featurize(request.structure), poses)
    else:
        # their reference poses are those that the trunk has seen
        features = request.conditioned.features
    features = model.prepare(replace(features, restraints=request.restraints))
    return features.to(next(model.parameters()).device)


def _conditioning(model: StructureModel, request: Request, features: Features) -> Conditioning:
    if request.conditioned is None:
        return model.condition(features)
    return model.condition(features, request.conditioned.trunk)


def _sampler(
    model: StructureModel, acting: Forces, settings: PredictSettings, origin: Tensor | None, at_once: int
) -> Sampler:
    turned = model.config.coordinate_augmentation
    sampler = settings.preset.sampler(sigma_data=model.config.sigma_data, turned=turned, max_parallel_samples=at_once)
    if origin is not None:
        sampler = replace(sampler, augmentation=None)
    return replace(sampler, steering=acting.steering(settings.steering))


def _origin(request: Request, settings: SteeringSettings) -> Tensor | None:
    """[3] the middle of the places that pull as they lie, to be the network's origin; None if there are none.

    Such places mean nothing in a frame that turns: samples are then left in one frame, which is theirs.
    """
    if CONTACTS not in chosen_sets(request.restraints, settings):
        return None
    positions = request.restraints.positions
    lying = ~positions.aligned[positions.terms.group] & (positions.terms.weight != 0)
    return positions.places[lying].mean(dim=0) if bool(lying.any()) else None


def _moved(request: Request, origin: Tensor | None) -> Request:
    """The request with all coordinates counted from `origin`."""
    if origin is None:
        return request
    shift, positions = origin.numpy(), request.restraints.positions
    restraints = replace(request.restraints, positions=replace(positions, places=positions.places - origin))
    fixed = None if request.fixed is None else replace(request.fixed, coords=request.fixed.coords - shift)
    start = None if request.start is None else request.start - shift
    return replace(request, restraints=restraints, fixed=fixed, start=start)


def _start(request: Request, settings: PredictSettings, features: Features) -> Start | None:
    """The start with its unresolved atoms placed, padded as the features are."""
    if request.start is None or settings.start_sigma is None:
        return None
    known = torch.from_numpy(request.start)
    padding = torch.full((features.num_atoms - len(known), 3), float("nan"))
    coords = torch.cat([known, padding])[None, None].to(features.device)
    return Start(place_unresolved(coords, torch.isfinite(coords).all(dim=-1), features), settings.start_sigma)


def _hold(request: Request, features: Features, origin: Tensor | None) -> Hold | None:
    """The held atoms, padded as the features are."""
    if request.fixed is None:
        return None
    coords, mask = torch.zeros_like(features.ref_pos), torch.zeros_like(features.atom_mask)
    atoms = len(request.fixed.mask)
    coords[0, :atoms], mask[0, :atoms] = torch.from_numpy(request.fixed.coords), torch.from_numpy(request.fixed.mask)
    return Hold(coords, mask, align=rigid_align if origin is None else None)


def _placed(request: Request, result: SampleResult, origin: Tensor | None) -> Drawn:
    """Padding cut off and every sample put where a person looks for it; a sample's place depends on no other."""
    atoms = len(request.structure.atoms)
    coords = result.coords[0, :, :atoms].cpu()
    if origin is not None:
        coords = coords + origin
    elif request.fixed is None and request.start is None:
        coords = center(coords, torch.ones(coords.shape[:-1]))
    elif request.fixed is None:
        known = torch.from_numpy(request.start)
        coords = rigid_align(coords, known.nan_to_num(), torch.isfinite(known).all(dim=-1))
    lineage = _lineage(result.trajectory, len(coords))
    noisy, denoised = _frames(result.trajectory, coords, lineage)
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
        evaluations=result.evaluations,
        lineage=lineage.numpy(),
    )


def _lineage(trajectory: tuple[Frame, ...], num_samples: int) -> Tensor:
    """[S, F] the sample of each frame from which each final sample comes."""
    present = torch.arange(num_samples)
    rows = []
    for frame in reversed(trajectory):
        rows.append(present)
        present = present if frame.parents is None else frame.parents[0, present]
    return torch.stack(rows[::-1], dim=1) if rows else torch.empty(num_samples, 0, dtype=torch.int64)


def _frames(trajectory: tuple[Frame, ...], coords: Tensor, lineage: Tensor) -> tuple[Tensor, Tensor]:
    """[S, F, A, 3] noisy and denoised frames, each turned so that its denoised coordinates lie on the sample."""
    if not trajectory:
        return torch.empty(len(coords), 0, *coords.shape[1:]), torch.empty(len(coords), 0, *coords.shape[1:])
    atoms = coords.shape[1]
    rows = list(zip(trajectory, lineage.unbind(dim=1), strict=True))
    noisy = torch.stack([frame.noisy[0, row, :atoms] for frame, row in rows], dim=1)
    denoised = torch.stack([frame.denoised[0, row, :atoms] for frame, row in rows], dim=1)
    motion = alignment_rotation(denoised, coords[:, None].expand_as(denoised), torch.ones(denoised.shape[:-1]))
    return motion.apply(noisy), motion.apply(denoised)
