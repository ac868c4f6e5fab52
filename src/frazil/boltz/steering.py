"""Boltz-2's `steering_args`: as the reference acts on them, and as ours does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, final

import torch
from torch import Tensor

from frazil.boltz.features import restrained_features
from frazil.boltz.potentials import (
    ReferenceChirality,
    ReferenceContacts,
    ReferencePlanarBonds,
    ReferenceStereoBonds,
    ReferenceSymmetricChains,
    ReferenceTemplate,
)
from frazil.features import Features
from frazil.geometry import RigidMotion
from frazil.potentials.base import Potential, Weighted
from frazil.potentials.bonded import Connections, DistanceBounds
from frazil.potentials.overlap import VDWOverlap
from frazil.potentials.schedules import Constant, Schedule, Steps
from frazil.potentials.sets import default_potentials
from frazil.sampler import NoiseStream, SteeringReport, StepRecord
from frazil.steering import Guidance, ParticleFilter, Resampler, ResamplingStepsOnly, Uniform


@dataclass(frozen=True)
class SteeringArguments:
    """Boltz-2's `steering_args`, with the defaults of `AtomDiffusion.sample`."""

    fk_steering: bool = False
    """Whether particles are resampled (Singhal et al. 2025)."""
    num_particles: int = 1
    """Particles of each sample; counts only with `fk_steering`."""
    fk_lambda: float = 0.0
    """Strength of the tilt exp(-lambda E)."""
    fk_resampling_interval: int = 1
    """Resample at every so many-th step that adds noise, and at the last."""
    physical_guidance_update: bool = False
    """Whether the physical potentials guide."""
    contact_guidance_update: bool = False
    """Whether contacts and templates guide."""
    num_gd_steps: int = 1
    """Moves along the gradient in each step."""

    @classmethod
    def read(cls, given: Mapping[str, Any] | None) -> SteeringArguments:
        """The arguments out of the reference's dictionary; None is no steering.

        Raises
        ------
        ValueError
            If a key is unknown.

        >>> SteeringArguments.read({"fk_steering": True, "num_particles": 3}).num_particles
        3
        """
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(given or {}) - set(known))
        if unknown:
            raise ValueError(f"unknown steering_args: {', '.join(unknown)}; known are {', '.join(known)}")
        return cls(**(given or {}))

    @property
    def sets(self) -> tuple[str, ...]:
        """The sets of potentials that exist."""
        return ("physical", "contacts") if self.fk_steering else self.guiding_sets

    @property
    def guiding_sets(self) -> tuple[str, ...]:
        """The sets of potentials that guide."""
        guiding = {"physical": self.physical_guidance_update, "contacts": self.contact_guidance_update}
        return tuple(name for name, guides in guiding.items() if guides and self.num_gd_steps > 0)


def reference_potentials(
    feats: Mapping[str, Tensor], features: Features, arguments: SteeringArguments
) -> tuple[Weighted, ...]:
    """The reference's potentials with its weights over time, in its order; some may have no terms.

    Parameters
    ----------
    feats : mapping of str to Tensor
        Boltz-2's features.
    features : Features
        The same batch with its restraints, from `restrained_features`.
    arguments : SteeringArguments
        Which potentials exist, and which of them guide.
    """
    sets = {"physical": _physical, "contacts": _contacts}
    return tuple(
        Weighted(potential, guidance if name in arguments.guiding_sets else Constant(0.0), resampling, interval)
        for name in arguments.sets
        for potential, guidance, interval, resampling in sets[name](feats, features)
    )


_Row = tuple[Potential, Schedule, int, Schedule]
"""Potential, guidance weight, its interval in moves, resampling weight."""


def _physical(feats: Mapping[str, Tensor], features: Features) -> list[_Row]:
    return [
        (ReferenceSymmetricChains(feats, features), Constant(0.5), 4, Constant(0.5)),
        (VDWOverlap(features), Steps((0.4,), (0.125, 0.0)), 5, Steps((0.6,), (0.01, 0.0))),
        (Connections(features), Constant(0.15), 1, Constant(1.0)),
        (DistanceBounds(features), Constant(0.01), 1, Constant(0.1)),
        (ReferenceChirality(features), Constant(0.1), 1, Constant(1.0)),
        (ReferenceStereoBonds(features), Constant(0.05), 1, Constant(1.0)),
        (ReferencePlanarBonds(features), Constant(0.05), 1, Constant(1.0)),
    ]


def _contacts(feats: Mapping[str, Tensor], features: Features) -> list[_Row]:
    return [
        (ReferenceContacts(features), Steps((0.25, 0.75), (0.0, 0.5, 1.0)), 4, Constant(1.0)),
        (ReferenceTemplate(feats, features), Constant(0.1), 2, Constant(1.0)),
    ]


@dataclass(frozen=True, eq=False)
class Draw:
    """One call of torch.multinomial: what to compare where a choice differs from the reference's by rounding."""

    weights: Tensor
    """[B, G, P] of the particles of each group."""
    picked: Tensor
    """[B, G, K] int64, particles drawn."""


@final
@dataclass(frozen=True)
class GlobalMultinomial:
    """Draws with torch.multinomial from the global generator, as the reference does, and keeps what it drew."""

    draws: list[Draw] = field(default_factory=list)
    """One for each step that drew, in order."""

    def choose(self, weights: Tensor, count: int, uniform: Uniform) -> Tensor:
        """See `Resampler.choose`; `uniform` is not called."""
        picked = torch.multinomial(weights.flatten(0, 1), count, replacement=True).unflatten(0, weights.shape[:2])
        self.draws.append(Draw(weights, picked))
        return picked


@final
@dataclass(frozen=True)
class WithPadding:
    """Steering that moves padding too and counts it in the proposal, as the reference does.

    It shifts the centre of the padded coordinates, and so the samples, where centring counts padding.
    """

    steering: Guidance | ParticleFilter
    """What steers."""

    @property
    def num_particles(self) -> int:
        """See `Steering.num_particles`."""
        return self.steering.num_particles

    def begin(self, atom_mask: Tensor, num_samples: int, noise: NoiseStream) -> Any:
        """See `Steering.begin`."""
        return self.steering.begin(atom_mask, num_samples, noise)

    def move(self, state: Any, motion: RigidMotion) -> Any:
        """See `Steering.move`."""
        return self.steering.move(state, motion)

    def steer(self, record: StepRecord, state: Any) -> tuple[StepRecord, Any]:
        """See `Steering.steer`."""
        every = torch.ones_like(record.atom_mask)
        steered, state = self.steering.steer(replace(record, atom_mask=every, mobile=every), state)
        return replace(steered, atom_mask=record.atom_mask, mobile=record.mobile), state

    def report(self, state: Any) -> SteeringReport:
        """See `Steering.report`."""
        return self.steering.report(state)


def reference_steering(
    arguments: SteeringArguments, feats: Mapping[str, Tensor], step_scale: float | None, resampler: Resampler
) -> Guidance | ParticleFilter | None:
    """What the reference does on these arguments; None if nothing is asked for.

    There is no guidance at the last step, the proposal is that of `step_scale` (None: the step's own) whatever the
    step's own, and is corrected for at steps that resample only. Each structure has its own terms, though.
    """
    potentials = reference_potentials(feats, restrained_features(feats), arguments)
    guidance = None
    if arguments.guiding_sets:
        guidance = Guidance(potentials, arguments.num_gd_steps, last_step=False, proposal_step_scale=step_scale)
    if not arguments.fk_steering:
        return guidance
    return ParticleFilter(
        potentials,
        num_particles=arguments.num_particles,
        strength=arguments.fk_lambda,
        interval=arguments.fk_resampling_interval,
        resampler=resampler,
        guidance=guidance,
        correction=ResamplingStepsOnly(),
    )


def our_steering(arguments: SteeringArguments, feats: Mapping[str, Tensor]) -> Guidance | ParticleFilter | None:
    """Our potentials, weights and methods for what the arguments ask; None if nothing is asked for or has terms."""
    features = restrained_features(feats)
    guiding = default_potentials(features, arguments.guiding_sets)
    guidance = Guidance(guiding, arguments.num_gd_steps) if guiding else None
    scored = default_potentials(features, arguments.sets)
    if not arguments.fk_steering or not scored:
        return guidance
    return ParticleFilter(
        scored,
        num_particles=arguments.num_particles,
        strength=arguments.fk_lambda,
        interval=arguments.fk_resampling_interval,
        guidance=guidance,
    )
