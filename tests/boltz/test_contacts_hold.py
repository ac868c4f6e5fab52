"""Ten contacts inside Boltz-2's module: `steering ours` keeps at least as many of them as the reference's own.

In place of the network stands a denoiser in closed form: atoms at N(mean, std^2) about a fold that may be turned, so
that how many contacts hold is a matter of steering alone. `pytest tests/boltz/test_contacts_hold.py -s` prints figures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("boltz")

from oracle import SMALL, Batch, reference_modules, uniform_batch

from frazil.boltz import convert
from frazil.boltz.features import restrained_features
from frazil.boltz.sampling import SamplingSettings
from frazil.geometry import rigid_align
from frazil.steering.judge import judge

TOKENS, ATOMS = 32, 64
SAMPLES = 4
OFF = {
    "fk_steering": False, "num_particles": 3, "fk_lambda": 4.0, "fk_resampling_interval": 3,
    "physical_guidance_update": False, "contact_guidance_update": False, "num_gd_steps": 20,
}  # fmt: skip
SETTINGS = {
    "default": OFF | {"contact_guidance_update": True},
    "use_potentials": OFF | {"contact_guidance_update": True, "fk_steering": True, "physical_guidance_update": True},
}
"""What `boltz predict` asks for, without and with `--use_potentials`."""


@dataclass(frozen=True, eq=False)
class Fold:
    """Atoms at N(mean, std^2), mean [A, 3] laid onto the noisy coordinates."""

    mean: Tensor
    std: float

    def __call__(self, coords: Tensor, sigma: Tensor) -> Tensor:
        level = sigma[..., None, None] ** 2
        mean = rigid_align(self.mean.expand_as(coords), coords, torch.ones(coords.shape[:-1]))
        return (coords * self.std**2 + mean * level) / (level + self.std**2)

    def select(self, rows: slice) -> Fold:
        return self


def fold(length: float, seed: int) -> Tensor:
    """[A, 3] of a coil, the root mean square distance of its atoms from their centre `length`."""
    coil = torch.randn(ATOMS, 3, generator=torch.Generator().manual_seed(seed)).cumsum(dim=0)
    coil = coil - coil.mean(dim=0)
    return coil * length / coil.square().sum(dim=-1).mean().sqrt()


def ten_contacts(mean: Tensor, pairs: int) -> dict[str, Tensor]:
    """Boltz-2's features of ten contacts of as many alternative pairs each, spread over all distances, at most 8 A."""
    apart = torch.cdist(mean, mean).triu(diagonal=1).flatten()
    order = apart.argsort()[int((apart < 10).sum()) :]
    count = 10 * pairs
    pair = order[torch.linspace(0, len(order) - 1, count).long()]
    made = {
        "contact_pair_index": torch.stack([pair // ATOMS, pair % ATOMS]),
        "contact_union_index": torch.arange(count) % 10,
        "contact_negation_mask": torch.ones(count, dtype=torch.bool),
        "contact_thresholds": torch.full((count,), 8.0),
    }
    return {name: value[None] for name, value in made.items()}


def problem(mean: Tensor, pairs: int) -> Batch:
    """One chain without constraints but the contacts."""
    batch = uniform_batch(SMALL, TOKENS, ATOMS // TOKENS)
    bools = (
        "rdkit_bounds_bond_mask",
        "rdkit_bounds_angle_mask",
        "chiral_atom_orientations",
        "stereo_bond_orientations",
    )
    none = {"connected_atom_index": 2, "connected_chain_index": 2, "symmetric_chain_index": 2, "rdkit_bounds_index": 2}
    none |= {"chiral_atom_index": 4, "stereo_bond_index": 4, "planar_bond_index": 6}
    index = torch.arange(TOKENS)[None]
    batch.feats |= {name: torch.zeros(1, size, 0, dtype=torch.int64) for name, size in none.items()}
    batch.feats |= {name: torch.zeros(1, 0, dtype=torch.bool) for name in bools}
    batch.feats |= {name: torch.zeros(1, 0) for name in ("rdkit_lower_bounds", "rdkit_upper_bounds")}
    batch.feats |= {"asym_id": index * 0, "entity_id": index * 0, "token_index": index, "residue_index": index}
    batch.feats |= {
        "template_mask_cb": torch.zeros(1, 1, TOKENS),
        "template_cb": torch.zeros(1, 1, TOKENS, 3),
        "template_force": torch.zeros(1, 1, dtype=torch.bool),
        "template_force_threshold": torch.ones(1, 1),
        "token_to_rep_atom": batch.feats["atom_to_token"].transpose(1, 2) / (ATOMS // TOKENS),
    }
    batch.feats |= ten_contacts(mean, pairs)
    return batch


Made = Callable[[Fold], nn.Module]


def theirs(law: Fold) -> nn.Module:
    """Boltz-2's AtomDiffusion around the closed form."""
    module, _ = reference_modules(SMALL, alignment_reverse_diff=True, sigma_min=1e-4)

    def forward(coords: Tensor, sigma: float, network_condition_kwargs: Mapping[str, Any]) -> Tensor:
        return law(coords[None], torch.full((1, len(coords)), sigma))[0]

    module.preconditioned_network_forward = forward
    return module


def ours(law: Fold, *, parity: bool) -> nn.Module:
    """Our module around it, with our steering; with parity on the reference's random numbers."""
    module, _ = convert(*reference_modules(SMALL, alignment_reverse_diff=True, sigma_min=1e-4))
    module.sampling = SamplingSettings(parity, steering="ours")
    module._denoise = lambda conditioning: law
    module._conditioning = lambda condition: None
    return module


@torch.no_grad()
def kept(made: Made, law: Fold, batch: Batch, steering: dict[str, Any], steps: int, seeds: int) -> float:
    """The share of the contacts that hold in the samples of some seeds."""
    module, shares = made(law), []
    for seed in range(seeds):
        torch.manual_seed(seed)
        given = {"multiplicity": SAMPLES, "steering_args": steering, "feats": batch.feats}
        coords = module.sample(batch.feats["atom_pad_mask"], num_sampling_steps=steps, **given)["sample_atom_coords"]
        assert coords.shape == (SAMPLES, ATOMS, 3) and bool(coords.isfinite().all())
        [contacts] = judge(restrained_features(batch.feats).restraints, coords)
        assert contacts.kind == "contacts" and len(contacts.labels) == 10
        shares.append(float(contacts.satisfied.float().mean()))
    return sum(shares) / seeds


def assert_ours_keeps_as_many(setting: str, pairs: int, length: float, std: float, steps: int, seeds: int) -> None:
    law, steering = Fold(fold(length, seed=0), std), SETTINGS[setting]
    batch = problem(law.mean, pairs)
    free = kept(theirs, law, batch, OFF, steps, seeds)
    reference = kept(theirs, law, batch, steering, steps, seeds)
    same, own = (kept(partial(ours, parity=parity), law, batch, steering, steps, seeds) for parity in (True, False))
    print(
        f"{setting}, {pairs} pairs a contact, fold of {length:g} +- {std:g} A, {steps} steps: kept by the reference "
        f"{reference:.1%}, by ours {same:.1%} (without parity {own:.1%}), without steering {free:.1%}"
    )
    assert min(same, own) >= reference
    assert min(same, own) > free


@pytest.mark.parametrize("pairs", [1, 5])
@pytest.mark.parametrize("setting", SETTINGS)
def test_ours_keeps_at_least_as_many_contacts_as_the_reference(setting: str, pairs: int) -> None:
    assert_ours_keeps_as_many(setting, pairs, length=15, std=4, steps=40, seeds=1)


@pytest.mark.slow
@pytest.mark.parametrize("pairs", [1, 5])
@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize(("length", "std"), [(15, 1), (30, 10)])
def test_ours_keeps_at_least_as_many_in_two_hundred_steps(setting: str, pairs: int, length: float, std: float) -> None:
    assert_ours_keeps_as_many(setting, pairs, length, std, steps=200, seeds=1)
