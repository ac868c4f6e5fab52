"""`sample(steering_args=...)` against boltz-community: same weights, same constraints, same global seed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("boltz")

from constrained import constrain, stack
from oracle import SMALL, Batch, random_batch, reference_modules
from test_parity import inputs, worst

from frazil.boltz import convert
from frazil.boltz.features import restrained_features
from frazil.errors import InputError
from frazil.potentials import Constant, Contacts

PHYSICAL, CONTACTS = {"physical_guidance_update": True}, {"contact_guidance_update": True}
PARTICLES = {"fk_steering": True, "num_particles": 3, "fk_lambda": 4.0, "fk_resampling_interval": 3}
MOVES, FEW_MOVES = {"num_gd_steps": 20}, {"num_gd_steps": 6}
RUNS: dict[str, dict[str, Any]] = {
    "physical": PHYSICAL | MOVES,
    "contacts": CONTACTS | MOVES,
    "guidance": PHYSICAL | CONTACTS | FEW_MOVES,
    "one_move": PHYSICAL | CONTACTS,
    "no_move": PHYSICAL | {"num_gd_steps": 0},
    "particles": PARTICLES,
    "particles_and_contacts": PARTICLES | CONTACTS | FEW_MOVES,
    "everything": PARTICLES | PHYSICAL | CONTACTS | MOVES,
    "every_step": PARTICLES | PHYSICAL | CONTACTS | FEW_MOVES | {"fk_resampling_interval": 1},
    "one_particle": PARTICLES | PHYSICAL | FEW_MOVES | {"num_particles": 1},
    "without_strength": PARTICLES | CONTACTS | FEW_MOVES | {"fk_lambda": 0.0},
}
TERMS = re.compile(r"(rdkit|chiral|stereo|planar|contact|connected)_|symmetric_chain_index")
Draws = list[tuple[Tensor, Tensor]]


@contextmanager
def recorded_draws() -> Iterator[Draws]:
    """Weights and choices of every call of torch.multinomial."""
    draws: Draws = []
    original = torch.multinomial

    def recording(weights: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        picked = original(weights, *args, **kwargs)
        draws.append((weights.clone(), picked.clone()))
        return picked

    torch.multinomial = recording
    try:
        yield draws
    finally:
        torch.multinomial = original


def restrained_batch(tokens: int = 14, *, seed: int = 0, padded: bool = True, templates: int = 1) -> Batch:
    batch = random_batch(SMALL, [tokens], padded=padded, seed=seed)
    batch.feats = constrain(batch.feats, seed, templates=templates, terms=2)
    return batch


def sample_with(module: nn.Module, conditioning: nn.Module, batch: Batch, **arguments: Any) -> tuple[Tensor, Draws]:
    options = {"num_sampling_steps": 20, "samples": 2} | arguments
    with torch.no_grad(), recorded_draws() as draws:
        kwargs = inputs(batch, conditioning, options.pop("samples"))
        torch.manual_seed(3)
        out = module.sample(batch.feats["atom_pad_mask"], **kwargs, **options)
    return out["sample_atom_coords"], draws


def deviation(batch: Batch, modules: tuple[nn.Module, nn.Module], **arguments: Any) -> float:
    """Largest deviation from the reference, angstrom; infinite, with a line that says why, where a choice differs."""
    expected, their_draws = sample_with(*modules, batch, **arguments)
    ours = convert(*modules)
    given, _ = sample_with(*ours, batch, **arguments)
    assert expected.isfinite().all()
    assert len(their_draws) == len(ours[0].last_sampling.draws)
    for (weights, picked), draw in zip(their_draws, ours[0].last_sampling.draws, strict=True):
        near = torch.allclose(draw.weights.flatten(0, 1), weights, rtol=1e-3, atol=1e-3)
        if not near or not torch.equal(picked, draw.picked.flatten(0, 1)):
            print(f"theirs: weights {weights.tolist()}, drawn {picked.tolist()}; ours: {draw}")
            return float("inf")
    return worst(expected, given, batch)


def assert_same_samples(modules: tuple[nn.Module, nn.Module], padded: bool = True, **arguments: Any) -> None:
    """The reference's samples in one of four structures.

    Not in each: at its bounds a flat-bottom force jumps, and now and then rounding decides on which side 20 moves end.
    The reference itself then moves as far when its noise is changed by 2e-7 of its size.
    """
    found = (deviation(restrained_batch(seed=seed, padded=padded), modules, **arguments) for seed in range(4))
    assert any(value < 2e-3 for value in found)


@pytest.mark.parametrize("name", RUNS)
def test_twenty_steered_steps_give_the_references_sample(name: str) -> None:
    assert_same_samples(reference_modules(SMALL), steering_args=RUNS[name])


@pytest.mark.parametrize("align", [True, False], ids=["aligned", "free"])
@pytest.mark.parametrize("padded", [True, False], ids=["padded", "unpadded"])
def test_alignment_and_padding_act_with_steering_as_in_the_reference(padded: bool, align: bool) -> None:
    modules = reference_modules(SMALL, alignment_reverse_diff=align)
    assert_same_samples(modules, padded, steering_args=RUNS["everything"])


@pytest.mark.parametrize("max_parallel_samples", [1, 4])
def test_bounded_memory_gives_the_references_sample(max_parallel_samples: int) -> None:
    arguments = {"steering_args": RUNS["everything"], "max_parallel_samples": max_parallel_samples}
    assert_same_samples(reference_modules(SMALL), **arguments)


def test_the_proposal_has_the_settings_step_scale_where_the_steps_is_random() -> None:
    modules = reference_modules(SMALL, step_scale_random=[1.0, 1.25, 1.75])
    batch, results = restrained_batch(), []
    for module, conditioning in (modules, convert(*modules)):
        module.train()
        np.random.seed(4)  # noqa: NPY002
        results.append(sample_with(module, conditioning, batch, steering_args=RUNS["every_step"])[0])
    assert worst(*results, batch) < 2e-3


@pytest.mark.parametrize("name", RUNS)
def test_a_structure_without_constraints_runs_as_in_the_reference(name: str) -> None:
    batch, modules = restrained_batch(), reference_modules(SMALL)
    empty = {name: value[..., :0] for name, value in batch.feats.items() if TERMS.match(name)}
    batch.feats |= empty | {
        "template_force": torch.zeros(1, 1, dtype=torch.bool),
        "asym_id": batch.feats["asym_id"] * 0,
    }
    arguments = {"steering_args": RUNS[name], "num_sampling_steps": 5}
    assert deviation(batch, modules, **arguments) < 2e-3


def test_the_last_call_is_on_record() -> None:
    batch, ours = restrained_batch(), convert(*reference_modules(SMALL))
    sample_with(*ours, batch, steering_args=RUNS["everything"], num_sampling_steps=7)
    report, draws = ours[0].last_sampling.steering, ours[0].last_sampling.draws
    assert [step for step, _ in report.effective_sizes] == [0, 3, 6]
    assert [tuple(draw.picked.shape) for draw in draws] == [(1, 2, 3), (1, 2, 3), (1, 2, 1)]
    assert report.guided_steps == 6
    sample_with(*ours, batch, num_sampling_steps=2)
    assert ours[0].last_sampling.steering is None
    assert ours[0].last_sampling.draws == ()


def contact_energy(batch: Batch, coords: Tensor) -> Tensor:
    """[S] of the last step's, on the hard minimum of each group."""
    return Contacts(restrained_features(batch.feats), Constant(1e6)).energy(coords[None], 0.0)[0]


def test_without_parity_contacts_hold() -> None:
    batch, ours = restrained_batch(), convert(*reference_modules(SMALL), parity=False)
    batch.feats["contact_negation_mask"] = torch.ones(1, 20, dtype=torch.bool)
    plain, _ = sample_with(*ours, batch, samples=4)
    steered, _ = sample_with(*ours, batch, samples=4, steering_args=CONTACTS | MOVES)
    assert contact_energy(batch, plain).min() > 1
    assert contact_energy(batch, steered).max() < 0.1
    assert ours[0].last_sampling.steering.guided_steps == 20


@pytest.mark.parametrize("name", ["guidance", "particles", "everything"])
def test_without_parity_the_number_of_samples_does_not_change_a_steered_sample(name: str) -> None:
    batch, ours = restrained_batch(), convert(*reference_modules(SMALL), parity=False)
    arguments = {"steering_args": RUNS[name] | {"num_gd_steps": 3}, "num_sampling_steps": 5}
    two, four = (sample_with(*ours, batch, samples=samples, **arguments)[0] for samples in (2, 4))
    assert torch.equal(four[:2], two)


def test_without_parity_nothing_to_steer_is_no_steering() -> None:
    batch, ours = random_batch(SMALL, [1]), convert(*reference_modules(SMALL), parity=False)
    plain, _ = sample_with(*ours, batch, num_sampling_steps=3)
    steered, _ = sample_with(*ours, batch, num_sampling_steps=3, steering_args=CONTACTS | MOVES)
    assert torch.equal(plain, steered)


@pytest.mark.parametrize("parity", [True, False])
def test_a_batch_is_steered_each_structure_by_its_own_terms(parity: bool) -> None:
    single = [restrained_batch(tokens, seed=seed) for tokens, seed in ((14, 0), (9, 1))]
    joined = random_batch(SMALL, [14, 9])
    joined.feats = stack([batch.feats for batch in single])
    for batch in single:
        batch.feats["contact_negation_mask"][:] = True
    ours = convert(*reference_modules(SMALL), parity=parity)
    coords, _ = sample_with(*ours, joined, samples=2, steering_args=PARTICLES | CONTACTS | MOVES)
    for batch, part in zip(single, coords.unflatten(0, (2, 2)), strict=True):
        assert part[:, : batch.feats["atom_pad_mask"].shape[1]].isfinite().all()


@pytest.mark.parametrize("parity", [True, False])
@pytest.mark.parametrize(("wrong", "value"), [("num_particles", 0), ("fk_lambda", -1.0), ("fk_resampling_interval", 0)])
def test_numbers_out_of_range_are_refused(wrong: str, value: float, parity: bool) -> None:
    ours = convert(*reference_modules(SMALL), parity=parity)
    with pytest.raises(InputError, match="particle"):
        sample_with(*ours, restrained_batch(), steering_args=PARTICLES | {wrong: value})
