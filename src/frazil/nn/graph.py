"""Pairs of atoms in a molecule: the covalent graph, its handedness, and distances in the reference conformer."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frazil.features import Features
from frazil.nn.linear import Float32Linear

FARTHEST: Final = 8
"""Bonds between two tokens that are told apart; beyond, they are one class."""
LARGEST_RING: Final = 8
"""Atoms of a ring that is told from a chain."""
REFERENCE_REACH: Final = 16.0
"""Angstrom, the last centre of the radial basis."""
REFERENCE_CENTRES: Final = 32


class MoleculeGraphEmbedding(nn.Module):
    """Pair features for molecules whose tokens are atoms, as sums of looked-up rows.

    Four parts: the number of bonds between two tokens; the smallest ring that a bond is in; for two neighbours of a
    stereocentre, which way round they are; Gaussians of their distance in the reference conformer (32 from 0 to 16 A),
    where they share one. None of them depends on the conformer's frame, nor on the order of the atoms but for one
    choice: of a stereocentre with four neighbours the three of lowest index count. Tokens that are whole residues have
    no bonds among themselves here (`Features.token_bonds`) and get the classes for none.

    Parameters
    ----------
    dim : int
        Width of the pair representation.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.separation = nn.Embedding(FARTHEST + 2, dim)
        self.ring = nn.Embedding(LARGEST_RING + 1, dim)
        self.orientation = Float32Linear(1, dim, bias=False)
        self.distance = Float32Linear(REFERENCE_CENTRES, dim, bias=False)
        for table in (self.separation, self.ring):
            nn.init.normal_(table.weight, std=0.5)

    def forward(self, features: Features) -> Tensor:
        """[B, N, N, dim]."""
        with torch.no_grad():
            adjacency = bonded_pairs(features)
            classes = separations(adjacency), smallest_rings(adjacency, features.token_bonds)
            turned = orientations(adjacency, features)
            basis = reference_distances(features)
        return (
            self.separation(classes[0]) + self.ring(classes[1]) + self.orientation(turned[..., None])
            + self.distance(basis)
        )  # fmt: skip


def bonded_pairs(features: Features) -> Tensor:
    """[B, N, N] float32, 1 for tokens joined by a bond."""
    B, N = features.token_mask.shape
    known = (features.token_bonds[..., 0] >= 0).float()
    i, j = features.token_bonds.clamp(min=0).unbind(dim=-1)
    flat = torch.zeros(B, N * N, device=known.device)
    flat = flat.scatter_reduce(1, i * N + j, known, "amax").scatter_reduce(1, j * N + i, known, "amax")
    return flat.view(B, N, N)


def separations(adjacency: Tensor) -> Tensor:
    """[B, N, N] int64: bonds on the shortest way between two tokens, `FARTHEST` + 1 for more or no way.

    >>> separations(torch.tensor([[[0.0, 1, 0], [1, 0, 1], [0, 1, 0]]]))[0, 0].tolist()
    [0, 1, 2]
    """
    tokens = adjacency.shape[-1]
    reached = torch.eye(tokens, device=adjacency.device).expand_as(adjacency)
    found = torch.where(reached > 0, 0, FARTHEST + 1)
    for bonds in range(1, FARTHEST + 1):
        reached = ((reached @ adjacency + reached) > 0).float()
        found = torch.where((reached > 0) & (found > FARTHEST), bonds, found)
    return found


def smallest_rings(adjacency: Tensor, bonds: Tensor) -> Tensor:
    """[B, N, N] int64: atoms of the smallest ring through each bond, up to `LARGEST_RING`; 0 for other pairs.

    A bond of a ring is one whose ends are joined by another way, too.
    """
    B, N, _ = adjacency.shape
    i, j = bonds.clamp(min=0).unbind(dim=-1)
    first, last = F.one_hot(i, N).float(), F.one_hot(j, N).float()
    reached, sizes = first, torch.zeros_like(i)
    for size in range(2, LARGEST_RING + 1):
        at_first, at_last = (reached * first).sum(-1, keepdim=True), (reached * last).sum(-1, keepdim=True)
        # one step along every bond but the one that is asked about
        steps = reached @ adjacency - at_first * last - at_last * first
        reached = ((reached + steps) > 0).float()
        back = ((reached * last).sum(-1) > 0) & (sizes == 0) & (bonds[..., 0] >= 0)
        sizes = torch.where(back, size, sizes)
    flat = torch.zeros(B, N * N, dtype=torch.int64, device=bonds.device)
    flat = flat.scatter_reduce(1, i * N + j, sizes, "amax").scatter_reduce(1, j * N + i, sizes, "amax")
    return flat.view(B, N, N)


def orientations(adjacency: Tensor, features: Features) -> Tensor:
    """[B, N, N] float32: +1 from a neighbour of a stereocentre to the next one anticlockwise, -1 to the one before.

    Of each centre the first three neighbours count, as in `Features.ref_chirality`; pairs of two centres are sums.
    """
    B, N, _ = adjacency.shape
    chirality = features.ref_chirality.gather(1, features.representative_atom_index) * features.token_mask
    sign = torch.where(chirality == 1, 1.0, torch.where(chirality == 2, -1.0, 0.0))
    sign = sign * (adjacency.sum(dim=-1) >= 3)
    # the three bonded tokens of lowest index: scores fall along the row, and absent bonds come last
    order = torch.arange(N, 0, -1, device=adjacency.device)
    around = (adjacency * order).topk(min(3, N), dim=-1).indices
    if N < 3:
        return torch.zeros_like(adjacency)
    flat = adjacency.new_zeros(B, N * N)
    for k in range(3):
        one, next_one = around[..., k], around[..., (k + 1) % 3]
        flat = flat.scatter_add(1, one * N + next_one, sign).scatter_add(1, next_one * N + one, -sign)
    return flat.view(B, N, N)


def reference_distances(features: Features) -> Tensor:
    """[B, N, N, `REFERENCE_CENTRES`] float32: a radial basis of distances in the reference conformer.

    Zero for tokens of unlike conformers, for tokens of several atoms, and for padding.
    """
    atom = features.representative_atom_index
    place = features.ref_pos.gather(1, atom[..., None].expand(-1, -1, 3))
    space = features.ref_space_uid.gather(1, atom)
    counts = torch.zeros_like(atom).scatter_add(1, features.atom_token_index, features.atom_mask.long())
    alone = features.token_mask & (counts == 1)
    shared = (space[:, :, None] == space[:, None, :]) & alone[:, :, None] & alone[:, None, :]
    centres = torch.linspace(0, REFERENCE_REACH, REFERENCE_CENTRES, device=place.device)
    width = REFERENCE_REACH / (REFERENCE_CENTRES - 1)
    distances = (place[:, :, None] - place[:, None]).norm(dim=-1)
    return torch.exp(-0.5 * ((distances[..., None] - centres) / width).square()) * shared[..., None]
