"""What the adapter promises beside parity: its contract with Boltz-2's code, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

pytest.importorskip("boltz")

from oracle import SMALL, condition, random_batch, reference_modules
from test_parity import inputs

from frazil.boltz import convert
from frazil.errors import InputError


def test_conditioning_runs_under_reentrant_checkpointing_and_gradients_reach_the_trunk() -> None:
    structure, conditioning = convert(*reference_modules(SMALL))
    batch = random_batch(SMALL, [9])
    gradients = []
    for recompute in (False, True):
        s, z = batch.s_trunk.clone().requires_grad_(), batch.z.clone().requires_grad_()
        run = (lambda *a: checkpoint(conditioning, *a, use_reentrant=True)) if recompute else conditioning
        made = run(s, z, batch.relative_positions, batch.feats)
        names = ("q", "c", "to_keys", "atom_enc_bias", "atom_dec_bias", "token_trans_bias")
        kwargs = inputs(batch, conditioning, 2) | {"diffusion_conditioning": dict(zip(names, made, strict=True))}
        coords = torch.ones(2, batch.feats["ref_pos"].shape[1], 3)
        structure.preconditioned_network_forward(coords, 4.0, kwargs).square().sum().backward()
        gradients.append((s.grad, z.grad))
    for plain, recomputed in zip(*gradients, strict=True):
        assert plain.abs().max() > 0
        # the first pass is without gradients, and so by other float32 products than the second: equal but for rounding
        assert (recomputed - plain).norm() < 1e-3 * plain.norm()


def test_only_tensors_carry_gradients_out_of_the_conditioning() -> None:
    _, conditioning = convert(*reference_modules(SMALL))
    made = condition(conditioning, random_batch(SMALL, [9]))
    assert not any(isinstance(value, torch.Tensor) for value in vars(made["to_keys"]).values())
    assert all(isinstance(made[name], torch.Tensor) for name in made if name != "to_keys")


def test_scalings_schedule_and_laws_are_the_references() -> None:
    theirs, conditioning = reference_modules(SMALL, sigma_min=1e-4, rho=8, P_mean=-1.0)
    ours, _ = convert(theirs, conditioning)
    sigma = torch.logspace(-3, 3, 50)
    for name in ("c_skip", "c_out", "c_in", "c_noise", "loss_weight"):
        assert torch.equal(getattr(ours, name)(sigma), getattr(theirs, name)(sigma)), name
    assert torch.equal(ours.sample_schedule(20), theirs.sample_schedule(20))
    assert torch.equal(ours.sample_schedule(), theirs.sample_schedule())
    torch.manual_seed(0)
    expected = theirs.noise_distribution(7)
    torch.manual_seed(0)
    assert torch.equal(ours.noise_distribution(7), expected)


def test_without_parity_padding_and_number_of_samples_do_not_change_a_sample() -> None:
    structure, conditioning = convert(*reference_modules(SMALL), parity=False)
    short, long = (random_batch(SMALL, [18], padded=padded, seed=2) for padded in (False, True))
    coords = []
    for batch, samples in ((short, 4), (short, 2)):
        torch.manual_seed(9)
        with torch.no_grad():
            kwargs = inputs(batch, conditioning, samples)
            torch.manual_seed(9)
            out = structure.sample(batch.feats["atom_pad_mask"], num_sampling_steps=5, **kwargs)
        coords.append(out["sample_atom_coords"])
    assert torch.equal(coords[0][:2], coords[1])
    assert long.feats["atom_pad_mask"].shape[1] > short.feats["atom_pad_mask"].shape[1]


def test_unknown_steering_arguments_are_named() -> None:
    structure, conditioning = convert(*reference_modules(SMALL))
    batch = random_batch(SMALL, [9])
    with torch.no_grad(), pytest.raises(ValueError, match="fk_lamda"):
        structure.sample(batch.feats["atom_pad_mask"], steering_args={"fk_lamda": 1}, **inputs(batch, conditioning, 1))


def test_an_unknown_precision_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="float16"):
        convert(*reference_modules(SMALL), precision="float16")


def test_foreign_modules_are_refused_by_name() -> None:
    theirs, conditioning = reference_modules(SMALL)
    with pytest.raises(InputError, match="Linear"):
        convert(nn.Linear(2, 2), conditioning)
    with pytest.raises(InputError, match="Linear"):
        convert(theirs, nn.Linear(2, 2))


def test_the_reference_keeps_its_weights_and_the_copy_is_independent() -> None:
    theirs, conditioning = reference_modules(SMALL)
    ours, _ = convert(theirs, conditioning)
    before = theirs.score_model.a_norm.weight.clone()
    with torch.no_grad():
        ours.score_model.token_norm.weight.zero_()
    assert torch.equal(theirs.score_model.a_norm.weight, before)
