"""What a run of the sampler starts from, and what it gives."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from frazil.sampler.steering import SteeringReport


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
    parents: Tensor | None = None
    """[B, S] int64, the sample of the frame before (of the start, in the first) that each sample comes from; None if
    every sample comes from its own."""


@dataclass(frozen=True, eq=False)
class SampleResult:
    """What sampling gives."""

    coords: Tensor
    """[B, S, A, 3] float32, angstrom; values at padding atoms mean nothing. S may count particles, see `Steering`."""
    finite: Tensor
    """[B, S] bool: every existing atom of the sample has finite coordinates."""
    trajectory: tuple[Frame, ...]
    """Every k-th step and the last one, if asked for."""
    steps: int
    """Steps taken."""
    evaluations: int
    """Calls of the network for each sample."""
    samples_at_once: int
    """Most samples (structures x samples) in one call of the denoiser, after any halving."""
    halvings: int
    """How often memory ran out, so that this was halved."""
    steering: SteeringReport | None = None
    """What steering did; None without any."""
