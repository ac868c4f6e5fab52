"""What steers: the protocol that guidance and particle filters follow, and the record of a step that they read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeVar

from torch import Tensor

from frazil.geometry import RigidMotion
from frazil.sampler.stepping import Step

State = TypeVar("State")


@dataclass(frozen=True, eq=False)
class StepRecord:
    """One step after denoising: coordinates in angstrom, [B, S, A, 3], all in the frame of this step."""

    step: Step
    """Index, time, noise levels, noise variance and step scale."""
    atom_mask: Tensor
    """[B, A] bool, atoms that exist."""
    coords: Tensor
    """Before the fresh noise, at `step.sigma`."""
    noise: Tensor
    """The fresh noise itself, of variance `step.noise_variance`."""
    noisy: Tensor
    """`coords + noise`, at `step.sigma_hat`."""
    denoised: Tensor
    """Estimate of the clean coordinates from `noisy`."""


class Steering(Protocol[State]):
    """Changes the denoised estimate (guidance), the set of samples (a particle filter), or both.

    State goes in and comes out; the object itself never changes. The S samples of a structure are
    `num_samples * num_particles`, the particles of a sample next to each other. `steer` may return fewer samples at
    the last step (one particle of each group), and exactly as many at every other.
    """

    @property
    def num_particles(self) -> int:
        """Particles that are run for each sample asked for; 1 without a particle filter."""
        ...

    def begin(self, atom_mask: Tensor, num_samples: int) -> State:
        """State before the first step, for `atom_mask` [B, A] and `num_samples` samples, particles not counted."""
        ...

    def move(self, state: State, motion: RigidMotion) -> State:
        """State after every sample has been moved by `motion`; directions turn with its rotation."""
        ...

    def steer(self, record: StepRecord, state: State) -> tuple[StepRecord, State]:
        """The step as it should go on: energies of the unguided estimate, then guidance, then resampling."""
        ...
