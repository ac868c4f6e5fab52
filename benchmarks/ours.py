"""Ours, with the reference's weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import torch
from oracle import uniform_batch
from torch import Tensor

from benchmarks.peers import Peer, Solve
from benchmarks.problems import NETWORKS, Problem
from benchmarks.reference import Program as Reference
from frazil.boltz import BoltzDiffusionConditioning, BoltzStructureModule, convert
from frazil.boltz.features import to_features
from frazil.features import Features
from frazil.loss import DiffusionTraining, TrainingNoise
from frazil.nn.compute import Compute
from frazil.nn.conditioning import Conditioning, TrunkOutput
from frazil.sampler import PerSampleNoise, Sampler
from frazil.trainer.precision import forward_products


@dataclass(frozen=True, eq=False)
class Inputs:
    """A problem in our terms."""

    structure: BoltzStructureModule
    """Holds the denoiser and the sampler's settings."""
    conditioning: BoltzDiffusionConditioning
    """Holds the network that makes `bound_to`."""
    features: Features
    """The structure, with its truth."""
    trunk: TrunkOutput
    """Random representations."""
    bound_to: Conditioning | None
    """What the denoiser is bound to; training makes its own."""
    coords: Tensor
    """[1, S, A, 3] angstrom."""


@final
class Program(Peer):
    """Frazil."""

    _network: str = ""

    def packages(self) -> tuple[str, ...]:
        return ("torch", "frazil")

    def modules(self, problem: Problem) -> tuple[BoltzStructureModule, BoltzDiffusionConditioning]:
        """The reference's modules of a network, converted; those of the last network are kept."""
        if self._network != problem.network:
            self._modules: tuple[BoltzStructureModule, BoltzDiffusionConditioning] | None = None
            self._modules = convert(*Reference(self.device).modules(problem))
            self._network = problem.network
        assert self._modules is not None
        return self._modules

    def inputs(self, problem: Problem) -> Inputs:
        structure, conditioning = self.modules(problem)
        made = uniform_batch(NETWORKS[problem.network], problem.tokens, problem.atoms_per_token)
        features = to_features(made.feats).map(lambda x: x.to(self.device))
        if problem.kind == "train":
            features = replace(features, coords=made.feats["coords"][:, None].to(self.device))
        trunk = TrunkOutput(
            *(x.to(self.device) for x in (made.s_inputs, made.s_trunk, made.z, made.relative_positions))
        )
        bound_to = None if problem.kind == "train" else conditioning.network(features, trunk)
        return Inputs(structure, conditioning, features, trunk, bound_to, self.noisy_coords(problem)[None])

    def bind(self, problem: Problem, inputs: Inputs, precision: str) -> Solve:
        if inputs.bound_to is None:
            return _training(problem, inputs, precision)
        denoise = inputs.structure.eval().denoiser.bind(inputs.bound_to, Compute(precision))
        if problem.kind == "sample":
            sampler, mask = _sampler(inputs.structure), inputs.features.atom_mask
            return lambda sigma: (
                sampler.sample(denoise, mask, problem.samples, problem.steps, PerSampleNoise(0, ["x"])).coords
            )
        return lambda sigma: denoise(inputs.coords, torch.full((1, 1), sigma, device=self.device))[0]


def _sampler(structure: BoltzStructureModule) -> Sampler:
    settings = structure.settings
    return Sampler(schedule=settings.schedule, stepper=settings.stepper, align=settings.align)


def _training(problem: Problem, inputs: Inputs, precision: str) -> Solve:
    """A step as the trainer takes it, without the optimiser."""
    structure, conditioning = inputs.structure.train(), inputs.conditioning.train()
    recipe = DiffusionTraining(
        noise=TrainingNoise(copies=problem.samples, law=structure.settings.sigma_law, shared_sigma=True),
        preconditioning=structure.denoiser.preconditioning,
    )
    generator, compute = torch.Generator().manual_seed(0), Compute(precision)

    def step(sigma: float) -> Tensor:
        with torch.enable_grad():
            with forward_products(compute, inputs.coords.device):
                denoise = structure.denoiser.plain(conditioning.network(inputs.features, inputs.trunk))
                loss = recipe(denoise, inputs.features, generator).total
            loss.backward()
        for module in (structure, conditioning):
            module.zero_grad(set_to_none=True)
        return loss.detach()

    return step
