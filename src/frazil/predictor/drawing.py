"""From structures to their samples: features, conditioning, the sampling loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from frazil.denoiser import StructureModel
from frazil.errors import FrazilError, InputError
from frazil.features import Features
from frazil.geometry import alignment_rotation, center, rigid_align
from frazil.loss import place_unresolved
from frazil.nn.conditioning import Conditioning
from frazil.predictor.available import available_memory
from frazil.predictor.joined import joined_energies, joined_features
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
)

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
    """Draw the samples of one input; as `draw_together`."""
    return draw_together(model, [request], settings, on_step, on_plan)[0]


@torch.no_grad()
def draw_together(
    model: StructureModel,
    requests: Sequence[Request],
    settings: PredictSettings,
    on_step: Callable[[int, int], None] | None = None,
    on_plan: Callable[[MemoryPlan], None] | None = None,
) -> list[Drawn]:
    """Draw the samples of several inputs in the same calls of the network.

    A sample is the same whatever inputs are drawn beside its own, if they have the same `room`: bit by bit in float32
    on a CPU, else to rounding. So inputs of like size should go together, which saves padding, too.

    Parameters
    ----------
    model : StructureModel
        In evaluation mode; samples are drawn on its device.
    requests : sequence of Request
        Molecules, name, restraints and perhaps a start. One with a start, held atoms, fixed places or representations
        of its own has to be alone.
    settings : PredictSettings
        Number of samples, sampler, seed, precision, steering.
    on_step : callable, optional
        Called after each step with the numbers of steps done and in all.
    on_plan : callable, optional
        Called with what memory is needed, before it is.

    Returns
    -------
    list of Drawn
        One for each request.

    Raises
    ------
    InputError
        If one of the user's own potentials fails.
    FrazilError
        If the inputs do not fit into memory.
    """
    origin = _origin(requests[0], settings.steering)
    if origin is not None and model.config.reference_frame:
        raise InputError(
            f"{requests[0].structure.source}: places that pull as they lie mean nothing to a model that draws ligands "
            "as they lie on their reference conformer; give the restraint aligned = true, or another model"
        )
    moved = [_moved(requests[0], origin), *requests[1:]]
    if len(moved) > 1 and not all(can_be_joined(request, settings) for request in moved):
        raise ValueError("a request with a start, held atoms, fixed places or representations has to be drawn alone")
    features = joined_features(model, moved, settings.seed)
    name = moved[0].name if len(moved) == 1 else f"{moved[0].name} and {len(moved) - 1} more"
    plan = memory_plan(name, model, features, settings, available_memory(features.device))
    if on_plan is not None:
        on_plan(plan)
    try:
        acting = forces(features, settings.steering)
        sampler = _sampler(model, acting, settings, origin, plan.samples_at_once)
        result = sampler.sample(
            model.denoiser.bind(_conditioning(model, moved[0], features), settings.compute),
            features.atom_mask,
            settings.num_samples,
            settings.preset.steps,
            PerSampleNoise(settings.seed, [request.name for request in moved]),
            start=_start(moved[0], settings, features, model.config.reference_frame),
            hold=_hold(moved[0], features, origin),
            trajectory_every=settings.trajectory,
            on_step=on_step,
        )
        found = joined_energies(acting, result.coords, moved, features, settings.steering)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise FrazilError(
            f"{moved[0].structure.source}: out of memory with {len(moved[0].structure.atoms)} atoms; "
            "use a machine with more memory or a smaller structure"
        ) from error
    particles = 1 if sampler.steering is None else sampler.steering.num_particles
    return [
        replace(
            _placed(request, _of_structure(result, row), origin),
            energies=found[row],
            sets=acting.sets,
            particles=result.coords.shape[1] // settings.num_samples,
            all_particles=particles,
        )
        for row, request in enumerate(moved)
    ]


def can_be_joined(request: Request, settings: PredictSettings) -> bool:
    """Whether a request can be drawn together with others."""
    own = (request.start, request.fixed, request.conditioned, _origin(request, settings.steering))
    return all(one is None for one in own)


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


def _start(request: Request, settings: PredictSettings, features: Features, on_reference: bool) -> Start | None:
    """The start with its unresolved atoms placed, padded as the features are; perhaps laid onto the reference."""
    if request.start is None or settings.start_sigma is None:
        return None
    start = torch.from_numpy(request.start)
    padding = torch.full((features.num_atoms - len(start), 3), float("nan"))
    coords = torch.cat([start, padding])[None, None].to(features.device)
    known = torch.isfinite(coords).all(dim=-1)
    placed = place_unresolved(coords, known, features)
    return Start(
        rigid_align(placed, features.ref_pos[:, None], known) if on_reference else placed, settings.start_sigma
    )


def _hold(request: Request, features: Features, origin: Tensor | None) -> Hold | None:
    """The held atoms, padded as the features are."""
    if request.fixed is None:
        return None
    coords, mask = torch.zeros_like(features.ref_pos), torch.zeros_like(features.atom_mask)
    atoms = len(request.fixed.mask)
    coords[0, :atoms], mask[0, :atoms] = torch.from_numpy(request.fixed.coords), torch.from_numpy(request.fixed.mask)
    return Hold(coords, mask, align=rigid_align if origin is None else None)


def _of_structure(result: SampleResult, row: int) -> SampleResult:
    """The result of one structure of the batch, B = 1."""
    rows = slice(row, row + 1)
    frames = tuple(
        replace(
            frame,
            noisy=frame.noisy[rows],
            denoised=frame.denoised[rows],
            parents=None if frame.parents is None else frame.parents[rows],
        )
        for frame in result.trajectory
    )
    told = result.steering
    if told is not None:
        weights = None if told.log_weights is None else told.log_weights[rows]
        sizes = tuple((step, size[rows]) for step, size in told.effective_sizes)
        told = SteeringReport(told.guided_steps, sizes, weights, told.lost[rows])
    return replace(result, coords=result.coords[rows], finite=result.finite[rows], trajectory=frames, steering=told)


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
        steering=result.steering,
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
