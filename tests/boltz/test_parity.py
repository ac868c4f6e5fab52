"""Ours against boltz-community: same weights, same inputs, same global seed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("boltz")

from oracle import FULL, SMALL, Batch, condition, random_batch, reference_modules

from frazil.boltz import CONDITIONING_NAMES, SCORE_NAMES, convert, reference_name

OPTIONS = {
    "plain": {},
    "post_ln": {"transformer_post_ln": True},
    "checkpointing": {"activation_checkpointing": True},
    "no_atom_char": {"use_no_atom_char": True},
    "backbone": {"use_atom_backbone_feat": True},
    "residue": {"use_residue_feats_atoms": True},
    "windows": {"atoms_per_window_queries": 16, "atoms_per_window_keys": 64},
    "transitions": {"conditioning_transition_layers": 3},
}
COORDS_RMS = 15.0


def worst(theirs: Tensor, ours: Tensor, batch: Batch) -> float:
    """Largest deviation of an existing atom, angstrom, of [B * S, A, 3].

    Absent atoms in a window of absent atoms are left out: their softmax runs over logits rounded at -1e6, to 0.06.
    """
    present = batch.feats["atom_pad_mask"].bool().repeat_interleave(len(ours) // len(batch.s_trunk), 0)
    return float((theirs - ours).abs()[present].max())


def denoise_both(
    sizes: dict[str, Any], tokens: list[int], samples: int, padded: bool, options: dict[str, Any]
) -> float:
    """Largest deviation of denoised coordinates between the reference and ours, angstrom."""
    theirs, their_conditioning = reference_modules(sizes, **options)
    ours, our_conditioning = convert(theirs, their_conditioning)
    batch = random_batch(sizes, tokens, padded=padded, window=options.get("atoms_per_window_queries", 32))
    coords = noisy_coords(batch, samples)
    sigma = torch.logspace(-1, 2.5, len(coords))
    results = []
    with torch.no_grad():
        for module, conditioning in ((theirs, their_conditioning), (ours, our_conditioning)):
            results.append(module.preconditioned_network_forward(coords, sigma, inputs(batch, conditioning, samples)))
    return worst(*results, batch)


def noisy_coords(batch: Batch, samples: int) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    B, A = batch.feats["atom_pad_mask"].shape
    return COORDS_RMS / 3**0.5 * torch.randn(B * samples, A, 3, generator=generator)


def inputs(batch: Batch, conditioning: nn.Module, samples: int) -> dict[str, Any]:
    return {
        "s_inputs": batch.s_inputs,
        "s_trunk": batch.s_trunk,
        "feats": batch.feats,
        "multiplicity": samples,
        "diffusion_conditioning": condition(conditioning, batch),
    }


@pytest.mark.parametrize("padded", [True, False], ids=["padded", "unpadded"])
@pytest.mark.parametrize(("tokens", "samples"), [([9], 1), ([14, 9], 3), ([7, 16, 11], 5)], ids=["1x1", "2x3", "3x5"])
def test_denoised_coordinates_are_the_references(tokens: list[int], samples: int, padded: bool) -> None:
    assert denoise_both(SMALL, tokens, samples, padded, {}) < 2e-4


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_of_the_network_is_the_references(name: str) -> None:
    assert denoise_both(SMALL, [14, 9], 2, True, OPTIONS[name]) < 2e-4


@pytest.mark.slow
@pytest.mark.parametrize(("tokens", "samples", "padded"), [([40], 5, False), ([24, 40, 31], 2, True)])
def test_full_size_denoised_coordinates_are_the_references(tokens: list[int], samples: int, padded: bool) -> None:
    assert denoise_both(FULL, tokens, samples, padded, {}) < 2e-4


def test_conditioning_gives_the_references_six_values() -> None:
    theirs, their_conditioning = reference_modules(SMALL)
    _, our_conditioning = convert(theirs, their_conditioning)
    batch = random_batch(SMALL, [14, 9])
    with torch.no_grad():
        expected, given = condition(their_conditioning, batch), condition(our_conditioning, batch)
    for name in ("q", "c", "atom_enc_bias", "atom_dec_bias", "token_trans_bias"):
        torch.testing.assert_close(given[name], expected[name], atol=2e-5, rtol=1e-5)
    rows = torch.randn(2, batch.feats["ref_pos"].shape[1], 5)
    torch.testing.assert_close(given["to_keys"](rows), expected["to_keys"](rows).view(given["to_keys"](rows).shape))


def training_step(
    modules: tuple[nn.Module, nn.Module], batch: Batch, samples: int, **loss_options: Any
) -> dict[str, Any]:
    """Loss terms and gradients (by the reference's parameter names, and of the trunk's outputs)."""
    module, conditioning = (m.train() for m in modules)
    trunk = [x.clone().requires_grad_() for x in (batch.s_trunk, batch.s_inputs, batch.z, batch.relative_positions)]
    live = Batch(dict(batch.feats), *trunk)
    live.feats["coords"] = batch.feats["coords"].repeat_interleave(samples, 0)
    torch.manual_seed(11)
    out = module(**inputs(live, conditioning, samples))
    loss = module.compute_loss(live.feats, out, multiplicity=samples, **loss_options)
    loss["loss"].backward()
    return {
        "terms": {"loss": loss["loss"], **loss["loss_breakdown"]},
        "gradients": named_gradients(module, conditioning)
        | {f"trunk{i}": x.grad for i, x in enumerate(trunk) if x.grad is not None},
        "out": out,
    }


def named_gradients(module: nn.Module, conditioning: nn.Module) -> dict[str, Tensor]:
    ours = hasattr(conditioning, "network")
    score = {reference_name(n, SCORE_NAMES) if ours else n: p.grad for n, p in module.score_model.named_parameters()}
    parts = conditioning.network if ours else conditioning
    pairs = {reference_name(n, CONDITIONING_NAMES) if ours else n: p.grad for n, p in parts.named_parameters()}
    return {n: g for n, g in (score | pairs).items() if g is not None}


def assert_same_step(theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    for name, term in theirs["terms"].items():
        torch.testing.assert_close(ours["terms"][name], term, rtol=1e-5, atol=0, msg=name)
    assert theirs["gradients"].keys() == ours["gradients"].keys()
    largest = max(float(g.norm()) for g in theirs["gradients"].values())
    for name, gradient in theirs["gradients"].items():
        size = float(gradient.norm())
        difference = float((ours["gradients"][name] - gradient).norm())
        assert difference < 1e-4 * (size if size > 1e-6 * largest else 1.0), name


LOSSES = {
    "default": ({}, {}),
    "plddt": ({}, {"filter_by_plddt": 0.3}),
    "no_lddt": ({}, {"add_smooth_lddt_loss": False}),
    "weights": ({}, {"nucleotide_loss_weight": 2.0, "ligand_loss_weight": 0.5}),
    "synchronised": ({"synchronize_sigmas": True}, {}),
    "unaugmented": ({"coordinate_augmentation": False}, {}),
    "checkpointing": ({"activation_checkpointing": True}, {}),
}


@pytest.mark.parametrize("name", LOSSES)
def test_training_step_has_the_references_loss_and_gradients(name: str) -> None:
    options, loss_options = LOSSES[name]
    theirs = reference_modules(SMALL, **options)
    ours = convert(*theirs)
    batch = random_batch(SMALL, [14, 9])
    assert_same_step(training_step(theirs, batch, 3, **loss_options), training_step(ours, batch, 3, **loss_options))


@pytest.mark.slow
def test_full_size_training_step_has_the_references_loss_and_gradients() -> None:
    theirs = reference_modules(FULL)
    ours = convert(*theirs)
    batch = random_batch(FULL, [16, 11])
    assert_same_step(training_step(theirs, batch, 2), training_step(ours, batch, 2))


def sample_both(
    sizes: dict[str, Any], batch: Batch, steps: int, samples: int, options: dict[str, Any], **arguments: Any
) -> tuple[Tensor, Tensor]:
    theirs = reference_modules(sizes, **options)
    results = []
    for module, conditioning in (theirs, convert(*theirs)):
        with torch.no_grad():
            kwargs = inputs(batch, conditioning, samples)
            torch.manual_seed(3)
            out = module.sample(batch.feats["atom_pad_mask"], num_sampling_steps=steps, **kwargs, **arguments)
        results.append(out["sample_atom_coords"])
    return results[0], results[1]


@pytest.mark.parametrize("align", [True, False], ids=["aligned", "free"])
@pytest.mark.parametrize("padded", [True, False], ids=["padded", "unpadded"])
def test_twenty_steps_give_the_references_sample(padded: bool, align: bool) -> None:
    batch = random_batch(SMALL, [14, 9], padded=padded)
    theirs, ours = sample_both(SMALL, batch, 20, 3, {"alignment_reverse_diff": align})
    assert worst(theirs, ours, batch) < 2e-3


def test_contact_guidance_without_contacts_has_no_effect() -> None:
    batch = random_batch(SMALL, [9])
    shapes = {"contact_pair_index": (1, 2, 0), "contact_union_index": (1, 0), "contact_thresholds": (1, 0)}
    for name, shape in shapes.items():
        batch.feats[name] = torch.zeros(shape, dtype=torch.float32 if name.endswith("s") else torch.int64)
    batch.feats["contact_negation_mask"] = torch.zeros(1, 0, dtype=torch.bool)
    guided = sample_both(SMALL, batch, 5, 2, {}, steering_args={"contact_guidance_update": True})
    plain = sample_both(SMALL, batch, 5, 2, {}, steering_args=None)
    assert worst(*guided, batch) < 2e-3
    assert torch.equal(guided[1], plain[1])


@pytest.mark.slow
@pytest.mark.parametrize("max_parallel_samples", [None, 2])
def test_two_hundred_steps_give_the_references_sample(max_parallel_samples: int | None) -> None:
    batch = random_batch(SMALL, [14, 9])
    options = {"alignment_reverse_diff": True, "sigma_min": 1e-4}
    theirs, ours = sample_both(SMALL, batch, 200, 3, options, max_parallel_samples=max_parallel_samples)
    assert worst(theirs, ours, batch) < 1e-2


@pytest.mark.slow
def test_full_size_sample_is_the_references() -> None:
    batch = random_batch(FULL, [16], padded=False)
    theirs, ours = sample_both(FULL, batch, 20, 2, {"alignment_reverse_diff": True})
    assert worst(theirs, ours, batch) < 2e-3


def test_random_step_scale_is_drawn_as_the_reference_draws_it() -> None:
    import numpy as np

    batch = random_batch(SMALL, [9])
    theirs = reference_modules(SMALL, step_scale_random=[1.0, 1.25, 1.5])
    results = []
    for module, conditioning in (theirs, convert(*theirs)):
        module.train()
        np.random.seed(4)  # noqa: NPY002
        torch.manual_seed(3)
        with torch.no_grad():
            kwargs = inputs(batch, conditioning, 2)
            torch.manual_seed(3)
            results.append(module.sample(batch.feats["atom_pad_mask"], num_sampling_steps=5, **kwargs))
    assert worst(results[0]["sample_atom_coords"], results[1]["sample_atom_coords"], batch) < 2e-3
