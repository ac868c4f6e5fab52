"""Who takes part: a program that solves problems. Runs in a worker, so it imports torch alone."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.problems import Problem

SIGMA = 8.0
"""Angstrom; noise level of the calls that are timed, which cost the same at any."""
COORDS_RMS = 15.0
"""Angstrom from the centre."""
SAMPLER_OFF = {
    "fk_steering": False, "num_particles": 1, "fk_lambda": 0.0, "fk_resampling_interval": 1,
    "physical_guidance_update": False, "contact_guidance_update": False, "num_gd_steps": 1,
}  # fmt: skip
"""The reference's steering arguments; version 2.2.1 has no defaults."""

Solve = Callable[[float], Tensor]
"""Solves a problem once, at a noise level where it has one; same inputs, same result."""


class Peer(ABC):
    """A program with weights of its own for each network, the same in every program."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    @abstractmethod
    def packages(self) -> tuple[str, ...]:
        """Distributions whose versions matter."""

    @abstractmethod
    def inputs(self, problem: Problem) -> Any:
        """Everything that is at hand before a solution begins, weights included."""

    @abstractmethod
    def bind(self, problem: Problem, inputs: Any, precision: str) -> Solve:
        """The solution, ready to be called again and again."""

    def noisy_coords(self, problem: Problem) -> Tensor:
        """[S, A, 3] coordinates of `COORDS_RMS`."""
        generator = torch.Generator().manual_seed(5)
        return (COORDS_RMS / 3**0.5 * torch.randn(problem.samples, problem.atoms, 3, generator=generator)).to(
            self.device
        )


def peer(name: str, device: torch.device) -> Peer:
    """The program of a name: module `benchmarks.<name>`, class `Program`."""
    program: Peer = importlib.import_module(f"benchmarks.{name}").Program(device)
    return program
