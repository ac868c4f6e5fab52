"""The reference: Boltz-2's own modules, of whichever release the interpreter has."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from typing import Any, final

import torch
from oracle import Batch, condition, reference_modules, uniform_batch
from torch import Tensor, nn

from benchmarks.peers import SAMPLER_OFF, Peer, Solve
from benchmarks.problems import NETWORKS, Problem


@dataclass(frozen=True, eq=False)
class Inputs:
    """A problem in the reference's own terms."""

    structure: nn.Module
    """`AtomDiffusion`."""
    conditioning: nn.Module
    """`DiffusionConditioning`."""
    batch: Batch
    """Features and the trunk's representations."""
    arguments: dict[str, Any]
    """Of `structure`; training makes its own."""
    coords: Tensor
    """[S, A, 3] angstrom."""


@final
class Program(Peer):
    """boltz-community or boltz."""

    _network: str = ""

    def packages(self) -> tuple[str, ...]:
        found = {distribution.metadata["Name"] for distribution in importlib.metadata.distributions()}
        return ("torch", *(name for name in ("boltz-community", "boltz") if name in found))

    def modules(self, problem: Problem) -> tuple[nn.Module, nn.Module]:
        """(AtomDiffusion, DiffusionConditioning); those of the last network are kept."""
        if self._network != problem.network:
            self._modules: tuple[nn.Module, nn.Module] | None = None
            structure, conditioning = reference_modules(
                NETWORKS[problem.network], synchronize_sigmas=True, alignment_reverse_diff=True
            )
            self._modules = structure.to(self.device), conditioning.to(self.device)
            self._network = problem.network
        assert self._modules is not None
        return self._modules

    def inputs(self, problem: Problem) -> Inputs:
        structure, conditioning = self.modules(problem)
        made = uniform_batch(NETWORKS[problem.network], problem.tokens, problem.atoms_per_token)
        feats = {name: value.to(self.device) for name, value in made.feats.items()}
        if problem.kind == "train":
            feats["coords"] = feats["coords"].repeat_interleave(problem.samples, 0)
        trunk = (x.to(self.device) for x in (made.s_trunk, made.s_inputs, made.z, made.relative_positions))
        batch = Batch(feats, *trunk)
        arguments = {} if problem.kind == "train" else _arguments(conditioning, batch)
        return Inputs(structure, conditioning, batch, arguments, self.noisy_coords(problem))

    def bind(self, problem: Problem, inputs: Inputs, precision: str) -> Solve:
        if precision != "float32":
            raise ValueError(f"the reference has no {precision}")
        if problem.kind == "train":
            return _training(problem, inputs)
        structure, samples, given = inputs.structure.eval(), problem.samples, inputs.arguments
        if problem.kind == "sample":
            mask = inputs.batch.feats["atom_pad_mask"]
            return lambda sigma: structure.sample(mask, problem.steps, samples, None, SAMPLER_OFF, **given)[
                "sample_atom_coords"
            ]
        given = given | {"multiplicity": samples}
        return lambda sigma: structure.preconditioned_network_forward(inputs.coords, sigma, given)


def _arguments(conditioning: nn.Module, batch: Batch) -> dict[str, Any]:
    made = condition(conditioning, batch)
    return {"s_inputs": batch.s_inputs, "s_trunk": batch.s_trunk, "feats": batch.feats, "diffusion_conditioning": made}


def _training(problem: Problem, inputs: Inputs) -> Solve:
    structure, conditioning = inputs.structure.train(), inputs.conditioning.train()

    def step(sigma: float) -> Tensor:
        with torch.enable_grad():
            out = structure(**_arguments(conditioning, inputs.batch), multiplicity=problem.samples)
            loss = structure.compute_loss(inputs.batch.feats, out, multiplicity=problem.samples)["loss"]
            loss.backward()
        for module in (structure, conditioning):
            module.zero_grad(set_to_none=True)
        return loss.detach()

    return step
