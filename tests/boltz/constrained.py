"""Random constraints in the layout of Boltz-2's featurizer, for the random batches of `oracle`."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Generator, Tensor

CHAINS = 4
"""0 and 1 are copies, 2 is alone, 3 is a single atom where the structure has one."""


def constrain(feats: dict[str, Tensor], seed: int = 0, *, templates: int = 1, terms: int = 12) -> dict[str, Tensor]:
    """The features with chains and every kind of constraint; bounds such that about half of them are violated.

    Of each kind of stereo there are `terms`, and twice as many bounds of distance.
    """
    assert len(feats["atom_pad_mask"]) == 1
    g = torch.Generator().manual_seed(seed)
    made = dict(feats) | _chains(feats)
    atoms = int(feats["atom_pad_mask"].sum())
    parts = (_connections(made, atoms), _bounds(2 * terms, atoms, g), _stereo(terms, atoms, g), _contacts(atoms, g))
    for part in parts:
        made |= {name: value[None] for name, value in part.items()}
    return made | _templates(made, templates, g)


def stack(batch: list[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Features of several structures padded with zeros, as Boltz-2's collate does."""
    stacked = {}
    for name, first in batch[0].items():
        size = [max(feats[name].shape[dim] for feats in batch) for dim in range(1, first.dim())]
        rows = first.new_zeros(len(batch), *size)
        for row, feats in zip(rows, batch, strict=True):
            row[tuple(slice(n) for n in feats[name].shape[1:])] = feats[name][0]
        stacked[name] = rows
    return stacked


def _chains(feats: Mapping[str, Tensor]) -> dict[str, Tensor]:
    tokens = int(feats["token_pad_mask"].sum())
    present = feats["token_pad_mask"].long()
    index = torch.arange(present.shape[1])[None] * present
    asym = (index * (CHAINS - 1) // (tokens - 1)).clamp(max=CHAINS - 1) * present
    entity = torch.tensor([0, 0, 1, 2])[asym] * present
    first_atom = feats["atom_to_token"].argmax(dim=1)
    return {
        "token_index": index,
        "residue_index": index,
        "asym_id": asym,
        "entity_id": entity,
        "sym_id": (asym == 1).long(),
        "token_to_rep_atom": torch.nn.functional.one_hot(first_atom, feats["ref_pos"].shape[1]).float()
        * present[..., None],
        "symmetric_chain_index": torch.tensor([[[0], [1]]]),
    }


def _draw(atoms: int, k: int, count: int, g: Generator) -> Tensor:
    """[k, count] distinct atoms in each column."""
    return torch.stack([torch.randperm(atoms, generator=g)[:k] for _ in range(count)], dim=1)


def _connections(feats: Mapping[str, Tensor], atoms: int) -> dict[str, Tensor]:
    chain = feats["asym_id"][0][feats["atom_to_token"][0, :atoms].argmax(dim=-1)]
    first, second = torch.nonzero(chain == 0)[:2, 0], torch.nonzero(chain == 2)[:2, 0]
    pairs = torch.stack([first, second])
    return {"connected_atom_index": pairs, "connected_chain_index": chain[pairs]}


def _bounds(count: int, atoms: int, g: Generator) -> dict[str, Tensor]:
    bond = torch.rand(count, generator=g) < 0.5
    lower = 1 + torch.rand(count, generator=g) * torch.where(bond, 0.1, 10.0)
    return {
        "rdkit_bounds_index": _draw(atoms, 2, count, g),
        "rdkit_bounds_bond_mask": bond,
        "rdkit_bounds_angle_mask": torch.rand(count, generator=g) < 0.5,
        "rdkit_lower_bounds": lower,
        "rdkit_upper_bounds": lower + torch.rand(count, generator=g),
    }


def _stereo(count: int, atoms: int, g: Generator) -> dict[str, Tensor]:
    return {
        "chiral_atom_index": _draw(atoms, 4, count, g),
        "chiral_atom_orientations": torch.rand(count, generator=g) < 0.5,
        "stereo_bond_index": _draw(atoms, 4, count, g),
        "stereo_bond_orientations": torch.rand(count, generator=g) < 0.5,
        "planar_bond_index": _draw(atoms, 6, count, g),
    }


def _contacts(atoms: int, g: Generator) -> dict[str, Tensor]:
    close = torch.rand(20, generator=g) < 0.7
    return {
        "contact_pair_index": _draw(atoms, 2, 20, g),
        "contact_union_index": torch.cat([torch.arange(5), torch.randint(5, (15,), generator=g)]),
        "contact_negation_mask": close,
        "contact_thresholds": torch.where(close, 8.0, 30.0),
    }


def _templates(feats: Mapping[str, Tensor], count: int, g: Generator) -> dict[str, Tensor]:
    tokens = feats["token_pad_mask"].shape[1]
    placed = (torch.rand(1, count, tokens, generator=g) < 0.7) * feats["token_pad_mask"][:, None]
    force = torch.ones(1, count, dtype=torch.bool)
    force[:, -1] = count == 1
    return {
        "template_cb": 8 * torch.randn(1, count, tokens, 3, generator=g) * placed[..., None],
        "template_mask_cb": placed,
        "template_force": force,
        "template_force_threshold": 3 + torch.rand(1, count, generator=g),
    }
