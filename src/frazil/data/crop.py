"""Crops to train on (AlphaFold 3 supplement, section 2.7, after AlphaFold-Multimer, algorithms 1 and 2)."""

from __future__ import annotations

import torch
from torch import Tensor

from frazil.features import Features


def contiguous_crop(features: Features, num_tokens: int, generator: torch.Generator) -> Features:
    """Runs of neighbouring tokens from randomly ordered chains, `num_tokens` in all (AlphaFold-Multimer, algorithm 1).

    Parameters
    ----------
    features : Features
        One structure, B = 1.
    num_tokens : int
        Tokens to keep; a structure with fewer is returned as it is.
    generator : torch.Generator
        On the CPU.

    Raises
    ------
    ValueError
        If `num_tokens` is below 1 or the batch holds more than one structure.
    """
    if _fits(features, num_tokens):
        return features
    chain = features.asym_id[0].cpu()
    chain = torch.where(features.token_mask[0].cpu(), chain, -1)  # padding belongs to no chain
    chains, sizes = torch.unique(chain[chain >= 0], return_counts=True)
    order = torch.randperm(len(chains), generator=generator)
    missing, remaining = num_tokens, int(sizes.sum())
    kept = []
    for which in order.tolist():
        size = int(sizes[which])
        remaining -= size
        longest = min(missing, size)
        # the chains still to come must be able to fill what this one leaves
        shortest = min(size, max(0, missing - remaining))
        length = _integer(shortest, longest, generator)
        start = _integer(0, size - length, generator)
        kept.append(torch.nonzero(chain == chains[which]).squeeze(1)[start : start + length])
        missing -= length
    return features.crop(torch.cat(kept).sort().values.to(features.device))


def spatial_crop(features: Features, num_tokens: int, generator: torch.Generator) -> Features:
    """The tokens nearest to a random resolved one, by representative atoms (AlphaFold-Multimer, algorithm 2).

    A model of the ensemble is drawn first, then a token whose representative atom is resolved in it. Tokens that are
    not resolved come last; without any resolved token the crop is contiguous.

    Parameters
    ----------
    features : Features
        One structure, B = 1.
    num_tokens : int
        Tokens to keep; a structure with fewer is returned as it is.
    generator : torch.Generator
        On the CPU.

    Raises
    ------
    ValueError
        If `num_tokens` is below 1 or the batch holds more than one structure.
    """
    if _fits(features, num_tokens):
        return features
    model = _integer(0, int(features.ensemble_size[0]) - 1, generator)
    atom = features.representative_atom_index[0]
    position = features.coords[0, model, atom].cpu()
    resolved = (features.resolved_mask[0, model, atom] & features.token_mask[0]).cpu()
    candidates = torch.nonzero(resolved).squeeze(1)
    if len(candidates) == 0:
        return contiguous_crop(features, num_tokens, generator)
    middle = candidates[_integer(0, len(candidates) - 1, generator)]
    distance = (position - position[middle]).norm(dim=-1)
    distance = torch.where(resolved, distance, torch.inf)
    # equal distances (lattices, overlapping copies) are settled by the order of tokens
    nearest = torch.argsort(distance, stable=True)[:num_tokens]
    return features.crop(nearest.sort().values.to(features.device))


def _fits(features: Features, num_tokens: int) -> bool:
    if num_tokens < 1:
        raise ValueError(f"a crop needs at least one token, not {num_tokens}")
    features.refuse_several("a crop")
    return int(features.token_mask.sum()) <= num_tokens


def _integer(low: int, high: int, generator: torch.Generator) -> int:
    """A random integer, both ends included."""
    drawn: Tensor = torch.randint(low, high + 1, (), generator=generator)
    return int(drawn)
