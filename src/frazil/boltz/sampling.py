"""How `sample` draws inside Boltz-2, and the record of what it did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from torch import Tensor

from frazil.boltz.settings import DiffusionSettings
from frazil.boltz.steering import Draw, SteeringArguments, WithPadding, our_steering, reference_steering
from frazil.errors import InputError
from frazil.nn.compute import Compute
from frazil.noise import KarrasSchedule
from frazil.sampler import Steering, SteeringReport, Stepper, chosen
from frazil.steering import Resampler

REFERENCE: Final = "reference"
OURS: Final = "ours"
STEERING_ENGINES: Final = (REFERENCE, OURS)
"""Whose potentials, weights and methods act on Boltz-2's `steering_args`."""


@dataclass(frozen=True, eq=False)
class SamplingRecord:
    """What one call of `BoltzStructureModule.sample` did: B structures, S samples of each."""

    seconds: float
    """Wall time of the call."""
    steps: int
    """Steps taken."""
    evaluations: int
    """Calls of the network for each sample."""
    samples_at_once: int
    """Most samples (structures x samples x particles) in one call of the network, after any halving."""
    halvings: int
    """How often memory ran out, so that this was halved."""
    finite: Tensor
    """[B, S] bool, on the CPU: every existing atom of the sample has finite coordinates."""
    steering: SteeringReport | None
    """What steering did; None without any."""
    draws: tuple[Draw, ...]
    """Weights and choices of each resampling, with parity. Where rounding flips a choice, the samples differ from the
    reference's from there on."""


@dataclass(frozen=True)
class Stepping:
    """Noise levels, method and number of steps of one call."""

    schedule: KarrasSchedule
    stepper: Stepper
    steps: int
    proposal_step_scale: float | None
    """Step scale that the reference's proposal takes; None for the step's own."""


@dataclass(frozen=True)
class SamplingSettings:
    """What `accelerate` was asked for; the defaults are the reference's behaviour.

    Raises
    ------
    InputError
        If a name is unknown, or there is no step.
    """

    parity: bool = True
    """Whether random numbers come from torch's global generator in the reference's order, and centring is as there."""
    compute: Compute = field(default_factory=Compute)
    """How `sample` computes the network."""
    sampler: str = REFERENCE
    """A preset or a method of stepping by its name in `frazil.sampler`; `reference` for the model's own settings."""
    steps: int | None = None
    """Steps; None for the sampler's usual number, with `reference` for as many as the caller asks for."""
    steering: str | None = None
    """Whose potentials act: `reference` or `ours`; None for the reference's with parity, else ours."""

    def __post_init__(self) -> None:
        chosen(self.sampler, self.steps)
        if self.steering not in (None, *STEERING_ENGINES):
            raise InputError(f"steering {str(self.steering)[:40]!r} is unknown: give {' or '.join(STEERING_ENGINES)}")

    def stepping(self, own: DiffusionSettings, step_scale: float, steps: int | None) -> Stepping:
        """How to step, given the model's own settings, its step scale in this call, and the steps asked for there."""
        if self.sampler != REFERENCE:
            preset = chosen(self.sampler, self.steps)
            schedule = replace(preset.schedule, sigma_data=own.sigma_data)
            return Stepping(schedule, preset.stepper, preset.steps, None)
        asked = next(number for number in (self.steps, steps, own.num_sampling_steps) if number is not None)
        stepper = replace(own.stepper, step_scale=step_scale)
        return Stepping(own.schedule, stepper, asked, own.stepper.step_scale)

    def steering_for(
        self, given: Mapping[str, Any] | None, feats: Mapping[str, Tensor], scale: float | None, resampler: Resampler
    ) -> Steering[Any] | None:
        """What steers, from Boltz-2's `steering_args` and features; None if nothing is asked for.

        `scale` and `resampler` are those of `reference_steering`.
        """
        arguments = SteeringArguments.read(given)
        if not arguments.sets:
            return None
        if (self.steering or (REFERENCE if self.parity else OURS)) == OURS:
            return our_steering(arguments, feats)
        steering = reference_steering(arguments, feats, scale, resampler)
        return WithPadding(steering) if self.parity and steering is not None else steering
