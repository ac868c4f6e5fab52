"""The loop itself: move, add noise, denoise, hold, steer, align, advance (AlphaFold 3, Algorithm 18; Karras 2022)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol, final

import torch
from torch import Tensor

from frazil.errors import InputError
from frazil.geometry import Align, RigidMotion, mean_atoms, rigid_align
from frazil.sampler.chunks import BoundedDenoise, Denoise
from frazil.sampler.euler import StochasticEuler
from frazil.sampler.hold import Hold
from frazil.sampler.motion import Augmentation, CenterOnly, RandomMotion
from frazil.sampler.records import Frame, SampleResult, Start
from frazil.sampler.sources import NoiseSource, NoiseStream
from frazil.sampler.steering import Steering, StepRecord, finite_samples, take_samples
from frazil.sampler.stepping import Estimate, Points, Step, Stepper


class Schedule(Protocol):
    """Noise levels to visit, as a plain tensor that falls to 0; angstrom."""

    def sigmas(self, num_steps: int) -> Tensor:
        """[num_steps + 1] from the largest level to 0."""
        ...

    def from_sigma(self, start_sigma: float, num_steps: int) -> Tensor:
        """[num_steps + 1] from `start_sigma` to 0."""
        ...


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
    def for_frame(
        cls,
        schedule: Schedule,
        *,
        turned: bool,
        stepper: Stepper | None = None,
        max_parallel_samples: int | None = None,
    ) -> Sampler:
        """The sampler that fits how a network was trained.

        Parameters
        ----------
        schedule : Schedule
            Noise levels.
        turned : bool
            Trained on turned copies: samples are turned and aligned too; else they keep the data's own frame.
        stepper : Stepper, optional
            Method of stepping; the reference's by default.
        max_parallel_samples : int or None
            Hard bound on structures x samples in one call of the denoiser.
        """
        augmentation: Augmentation = RandomMotion() if turned else CenterOnly()
        align = rigid_align if turned else None
        return cls(
            schedule, stepper or StochasticEuler(), augmentation, align, max_parallel_samples=max_parallel_samples
        )

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
        hold: Hold | None = None,
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
        hold : Hold, optional
            Atoms that stay at given coordinates; samples then come in the frame of these.
        trajectory_every : int, optional
            Keep every so many-th step, and the last, in the result.
        on_step : callable, optional
            Called after each step with the numbers of steps done and in all.

        Raises
        ------
        InputError
            If there is nothing to draw, the schedule refuses the number of steps or the start's noise level, or atoms
            cannot be held.
        FrazilError
            If one sample does not fit into memory.
        """
        if num_samples < 1:
            raise InputError(f"number of samples is {num_samples}: give at least 1")
        particles = 1 if self.steering is None else self.steering.num_particles
        bounded = BoundedDenoise(denoise, self.max_parallel_samples)
        stream = noise.stream(atom_mask, num_samples, particles)
        mobile = atom_mask if hold is None else self._mobile(atom_mask, hold)
        run = _Run(atom_mask, mobile, atom_mask if center_mask is None else center_mask, stream, bounded, hold)
        plan = self.stepper.plan(self._levels(start, num_steps))
        state = self._begin(plan[0].sigma, start, num_samples, run)
        frames = []
        for step in plan:
            estimate, state = self._estimate(step, state, run)
            if trajectory_every is not None and (step.index % trajectory_every == 0 or step.is_last):
                frames.append(_frame(step, estimate, state.ancestors))
                state = replace(state, ancestors=None)
            coords, memory = self.stepper.advance(step, estimate, state.memory)
            state = replace(state, coords=coords, memory=memory)
            if on_step is not None:
                on_step(step.index + 1, step.num_steps)
        coords = state.coords if hold is None else hold.finish(state.anchors, state.coords)
        finite = finite_samples(coords, atom_mask)
        report = None if self.steering is None else self.steering.report(state.steering)
        return SampleResult(
            coords, finite, tuple(frames), len(plan), bounded.calls, bounded.largest, bounded.halvings, report
        )

    def _mobile(self, atom_mask: Tensor, hold: Hold) -> Tensor:
        if hold.align is None and self.augmentation is not None:
            raise InputError("held atoms that keep their pose need a sampler without augmentation, which moves samples")
        return hold.mobile(atom_mask)

    def _begin(self, sigma: float, start: Start | None, num_samples: int, run: _Run) -> _State:
        """Noise at the first level, on top of the given structure if there is one."""
        coords = sigma * run.stream.normal()
        given = None
        if start is not None:
            given = start.coords if start.coords.dim() == 4 else start.coords[:, None]
            coords = given.to(coords) + coords
        anchors = coords if run.hold is None else run.hold.begin(coords, given)
        steered = None if self.steering is None else self.steering.begin(run.atom_mask, num_samples, run.stream)
        return _State(coords, anchors, steered)

    def _estimate(self, step: Step, state: _State, run: _Run) -> tuple[Estimate, _State]:
        """Move, add noise, denoise, hold, steer, align: what to step by, and the state in the same frame."""
        state = self._move(state, run)
        coords, noise = _noised(step, state, run)
        noisy = coords + noise
        denoised = unguided = run.denoised(noisy, step.sigma_hat)
        if run.hold is not None:
            state = replace(state, anchors=run.hold.place(state.anchors, denoised))
            denoised = unguided = run.hold.put(state.anchors, denoised)
        if self.steering is not None:
            record = StepRecord(step, run.atom_mask, run.mobile, coords, noise, noisy, denoised)
            record, steered = self.steering.steer(record, state.steering)
            noisy, denoised = record.noisy, record.denoised
            unguided = unguided if record.parents is None else take_samples(unguided, record.parents)
            state = replace(state.descend(record.parents), steering=steered)
        if self.align is not None:
            noisy, memory = _laid(self.align, (noisy, *state.memory), denoised, run.atom_mask)
            state = replace(state, memory=memory)
        return Estimate(noisy, denoised, unguided, partial(self._again, state.anchors, run)), state

    def _again(self, anchors: Tensor, run: _Run, coords: Tensor, sigma: float) -> Tensor:
        """See `Estimate.again`."""
        denoised = run.denoised(coords, sigma)
        if run.hold is not None:
            denoised = run.hold.put(run.hold.place(anchors, denoised), denoised)
        # The estimate is laid onto what it is of, not the reverse, to stay in the frame of the step's first.
        return denoised if self.align is None else self.align(denoised, coords, run.atom_mask[:, None])

    def _levels(self, start: Start | None, num_steps: int) -> Tensor:
        if start is None:
            return self.schedule.sigmas(num_steps)
        return self.schedule.from_sigma(start.sigma, num_steps)

    def _move(self, state: _State, run: _Run) -> _State:
        """Centre and move the samples; what is held and what steering remembers moves along."""
        if self.augmentation is None:
            return state
        middle = mean_atoms(state.coords, run.center_mask[:, None])
        coords = state.coords - middle[..., None, :]
        motion = self.augmentation.motion(coords, run.stream)
        whole = RigidMotion(motion.rotation, motion.apply(-middle[..., None, :])[..., 0, :])
        anchors = state.anchors if run.hold is None else whole.apply(state.anchors)
        memory = tuple(whole.apply(points) for points in state.memory)
        steered = None if self.steering is None else self.steering.move(state.steering, whole)
        return replace(state, coords=motion.apply(coords), anchors=anchors, steering=steered, memory=memory)


@dataclass(frozen=True, eq=False)
class _Run:
    """What stays the same over the steps of one call."""

    atom_mask: Tensor
    mobile: Tensor
    center_mask: Tensor
    stream: NoiseStream
    denoise: Denoise
    hold: Hold | None

    def denoised(self, coords: Tensor, sigma: float) -> Tensor:
        """The estimate from `coords` at one level, which is filled in on the device: nothing waits for it."""
        return self.denoise(coords, torch.full((coords.shape[0], 1), sigma, device=coords.device))


@dataclass(frozen=True, eq=False)
class _State:
    """What goes from step to step."""

    coords: Tensor
    """[B, S, A, 3] angstrom."""
    anchors: Tensor
    """[B, S, A, 3] where the held atoms are; read only where some are held."""
    steering: Any
    """The state of the steering object."""
    memory: Points = ()
    """What the method of stepping remembers."""
    ancestors: Tensor | None = None
    """[B, S] samples at the last frame that these come from; None for their own."""

    def descend(self, parents: Tensor | None) -> _State:
        """The state of the samples `parents`; coordinates are those of the step's record and not touched."""
        if parents is None:
            return self
        ancestors = parents if self.ancestors is None else take_samples(self.ancestors, parents)
        memory = tuple(take_samples(points, parents) for points in self.memory)
        return replace(self, anchors=take_samples(self.anchors, parents), ancestors=ancestors, memory=memory)


def _noised(step: Step, state: _State, run: _Run) -> tuple[Tensor, Tensor]:
    """Coordinates and the fresh noise to be added: all of the level's noise where atoms are held."""
    normal = run.stream.normal()
    noise = step.noise_std * normal
    if run.hold is None:
        return state.coords, noise
    return run.hold.put(state.anchors, state.coords), run.hold.put(step.sigma_hat * normal, noise)


def _laid(align: Align, moving: Points, target: Tensor, atom_mask: Tensor) -> tuple[Tensor, Points]:
    """The first of `moving` laid onto the target, and the others after the same motion: they ride along unweighted."""
    if len(moving) == 1:
        return align(moving[0], target, atom_mask[:, None]), ()
    weights = torch.cat([atom_mask] + [torch.zeros_like(atom_mask)] * (len(moving) - 1), dim=-1)
    laid = align(torch.cat(moving, dim=-2), torch.cat([target] * len(moving), dim=-2), weights[:, None])
    first, *others = laid.split(target.shape[-2], dim=-2)
    return first, tuple(others)


def _frame(step: Step, estimate: Estimate, ancestors: Tensor | None) -> Frame:
    parents = None if ancestors is None else ancestors.cpu()
    return Frame(step.index, step.sigma_hat, estimate.noisy.cpu(), estimate.denoised.cpu(), parents)
