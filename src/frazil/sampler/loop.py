"""The loop itself: move, add noise, denoise, steer, align, advance (AlphaFold 3, Algorithm 18; Karras 2022)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, final

import torch
from torch import Tensor

from frazil.errors import InputError
from frazil.geometry import Align, center, rigid_align
from frazil.sampler.chunks import BoundedDenoise, Denoise
from frazil.sampler.motion import Augmentation, CenterOnly, RandomMotion
from frazil.sampler.sources import NoiseSource, NoiseStream
from frazil.sampler.steering import Steering, StepRecord
from frazil.sampler.stepping import Step, Stepper, StochasticEuler


class Schedule(Protocol):
    """Noise levels to visit, as a plain tensor that falls to 0; angstrom."""

    def sigmas(self, num_steps: int) -> Tensor:
        """[num_steps + 1] from the largest level to 0."""
        ...

    def from_sigma(self, start_sigma: float, num_steps: int) -> Tensor:
        """[num_steps + 1] from `start_sigma` to 0."""
        ...


@dataclass(frozen=True, eq=False)
class Start:
    """A structure to start from instead of pure noise (partial diffusion)."""

    coords: Tensor
    """[B, A, 3], or [B, S, A, 3] for another one each sample; angstrom."""
    sigma: float
    """Noise put on it, angstrom."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One step of a trajectory, on the CPU; both structures are in the frame of that step."""

    index: int
    """Step, from 0."""
    sigma: float
    """Noise level of `noisy`, angstrom."""
    noisy: Tensor
    """[B, S, A, 3] coordinates that were denoised (after alignment, where there is one)."""
    denoised: Tensor
    """[B, S, A, 3] estimate of the clean coordinates."""


@dataclass(frozen=True, eq=False)
class SampleResult:
    """What sampling gives."""

    coords: Tensor
    """[B, S, A, 3] float32, angstrom; values at padding atoms mean nothing."""
    finite: Tensor
    """[B, S] bool: every existing atom of the sample has finite coordinates."""
    trajectory: tuple[Frame, ...]
    """Every k-th step and the last one, if asked for."""
    steps: int
    """Steps taken."""
    samples_at_once: int
    """Most samples (structures x samples) in one call of the denoiser, after any halving."""
    halvings: int
    """How often memory ran out, so that this was halved."""


@final
@dataclass(frozen=True)
class Sampler:
    """Draws samples from a denoiser; the defaults are those of Boltz-2.

    Every operation is elementwise or within one sample in a fixed order, so a sample has the same bits whatever runs
    beside it, if that holds for the denoiser too. The loop never waits for the device unless a trajectory is wanted.

    Parameters
    ----------
    schedule : Schedule
        Noise levels, `noise.KarrasSchedule()` for instance.
    stepper : Stepper
        Method of stepping.
    augmentation : Augmentation or None
        Motion of the centred samples before each step; None leaves them where they are, not even centred.
    align : callable or None
        Puts the noisy coordinates onto the denoised ones before each move.
    steering : Steering or None
        Guidance, particle filter or both.
    max_parallel_samples : int or None
        Hard bound on structures x samples in one call of the denoiser; None for no bound.

    Raises
    ------
    InputError
        If `max_parallel_samples` is below 1.

    Examples
    --------
    >>> from frazil.noise import KarrasSchedule
    >>> from frazil.sampler import PerSampleNoise
    >>> def to_origin(coords, sigma):
    ...     return coords / (1 + sigma[..., None, None] ** 2)
    >>> sampler = Sampler(KarrasSchedule())
    >>> result = sampler.sample(to_origin, torch.ones(1, 4, dtype=torch.bool), 3, 10, PerSampleNoise(0, ["x"]))
    >>> result.coords.shape, result.finite.tolist()
    (torch.Size([1, 3, 4, 3]), [[True, True, True]])
    """

    schedule: Schedule
    stepper: Stepper = field(default_factory=StochasticEuler)
    augmentation: Augmentation | None = field(default_factory=RandomMotion)
    align: Align | None = rigid_align
    steering: Steering[Any] | None = None
    max_parallel_samples: int | None = None

    def __post_init__(self) -> None:
        if self.max_parallel_samples is not None and self.max_parallel_samples < 1:
            raise InputError(f"max_parallel_samples is {self.max_parallel_samples}: give at least 1")

    @classmethod
    def for_frame(cls, schedule: Schedule, *, turned: bool, max_parallel_samples: int | None = None) -> Sampler:
        """The sampler that fits how a network was trained.

        Parameters
        ----------
        schedule : Schedule
            Noise levels.
        turned : bool
            Trained on turned copies: samples are turned and aligned too; else they keep the data's own frame.
        max_parallel_samples : int or None
            Hard bound on structures x samples in one call of the denoiser.
        """
        augmentation: Augmentation = RandomMotion() if turned else CenterOnly()
        align = rigid_align if turned else None
        return cls(schedule, augmentation=augmentation, align=align, max_parallel_samples=max_parallel_samples)

    @torch.no_grad()
    def sample(
        self,
        denoise: Denoise,
        atom_mask: Tensor,
        num_samples: int,
        num_steps: int,
        noise: NoiseSource,
        *,
        center_mask: Tensor | None = None,
        start: Start | None = None,
        trajectory_every: int | None = None,
        on_step: Callable[[int, int], None] | None = None,
    ) -> SampleResult:
        """Draw samples.

        Parameters
        ----------
        denoise : Denoise
            Estimate of clean coordinates, made for these structures.
        atom_mask : Tensor
            [B, A] bool, atoms that exist; its device is where the loop runs.
        num_samples : int
            S, samples of each structure.
        num_steps : int
            Steps of the schedule.
        noise : NoiseSource
            Where random numbers come from.
        center_mask : Tensor, optional
            [B, A] bool, atoms whose mean is the centre; `atom_mask` by default (the reference counts padding too).
        start : Start, optional
            Structure and noise level to start from, instead of pure noise at the schedule's first level.
        trajectory_every : int, optional
            Keep every so many-th step, and the last, in the result.
        on_step : callable, optional
            Called after each step with the numbers of steps done and in all.

        Raises
        ------
        InputError
            If there is nothing to draw, or the schedule refuses the number of steps or the start's noise level.
        FrazilError
            If one sample does not fit into memory.
        """
        if num_samples < 1:
            raise InputError(f"number of samples is {num_samples}: give at least 1")
        particles = 1 if self.steering is None else self.steering.num_particles
        bounded = BoundedDenoise(denoise, self.max_parallel_samples)
        stream = noise.stream(atom_mask, num_samples, particles)
        run = _Run(atom_mask, atom_mask if center_mask is None else center_mask, stream, bounded)
        plan = self.stepper.plan(self._levels(start, num_steps))
        levels = torch.tensor([step.sigma_hat for step in plan], dtype=torch.float32).to(atom_mask.device)
        state = None if self.steering is None else self.steering.begin(atom_mask, num_samples)
        coords = _beginning(plan[0].sigma, start, stream)
        frames = []
        for step, level in zip(plan, levels, strict=True):
            noisy, denoised, state = self._estimate(step, level, coords, state, run)
            if trajectory_every is not None and (step.index % trajectory_every == 0 or step.is_last):
                frames.append(Frame(step.index, step.sigma_hat, noisy.cpu(), denoised.cpu()))
            coords = self.stepper.advance(step, noisy, denoised)
            if on_step is not None:
                on_step(step.index + 1, step.num_steps)
        finite = (torch.isfinite(coords) | ~atom_mask[:, None, :, None]).flatten(-2).all(dim=-1)
        return SampleResult(coords, finite, tuple(frames), len(plan), bounded.largest, bounded.halvings)

    def _estimate(self, step: Step, level: Tensor, coords: Tensor, state: Any, run: _Run) -> tuple[Tensor, Tensor, Any]:
        """Move, add noise, denoise, steer, align: noisy and denoised coordinates, and the steering's state.

        `level` is `step.sigma_hat` as a tensor on the device.
        """
        coords, state = self._move(coords, state, run)
        noise = step.noise_std * run.stream.normal()
        noisy = coords + noise
        denoised = run.denoise(noisy, level.expand(coords.shape[0], 1))
        if self.steering is not None:
            record = StepRecord(step, run.atom_mask, coords, noise, noisy, denoised)
            record, state = self.steering.steer(record, state)
            noisy, denoised = record.noisy, record.denoised
        if self.align is not None:
            noisy = self.align(noisy, denoised, run.atom_mask[:, None])
        return noisy, denoised, state

    def _levels(self, start: Start | None, num_steps: int) -> Tensor:
        if start is None:
            return self.schedule.sigmas(num_steps)
        return self.schedule.from_sigma(start.sigma, num_steps)

    def _move(self, coords: Tensor, state: Any, run: _Run) -> tuple[Tensor, Any]:
        """Centre and move the samples; directions in the steering's state turn along."""
        if self.augmentation is None:
            return coords, state
        coords = center(coords, run.center_mask[:, None])
        motion = self.augmentation.motion(coords, run.stream)
        if self.steering is not None:
            state = self.steering.move(state, motion)
        return motion.apply(coords), state


@dataclass(frozen=True, eq=False)
class _Run:
    """What stays the same over the steps of one call."""

    atom_mask: Tensor
    center_mask: Tensor
    stream: NoiseStream
    denoise: Denoise


def _beginning(sigma: float, start: Start | None, stream: NoiseStream) -> Tensor:
    """Noise at the first level, on top of the given structure if there is one."""
    noise = sigma * stream.normal()
    if start is None:
        return noise
    given = start.coords if start.coords.dim() == 4 else start.coords[:, None]
    return given.to(noise) + noise
