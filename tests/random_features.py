"""Random but well-formed `Features`, for tests that need no file."""

from __future__ import annotations

import torch

from frazil import chemistry
from frazil.features import Features


def random_features(num_tokens: int = 9, *, seed: int = 0, models: int = 2, chains: int = 2) -> Features:
    """One structure: tokens of 1-9 atoms in a few chains, some bonds, an ensemble with unresolved atoms."""
    g = torch.Generator().manual_seed(seed)

    def integers(high: int, *shape: int) -> torch.Tensor:
        return torch.randint(high, (1, *shape), generator=g)

    counts = torch.randint(1, 10, (num_tokens,), generator=g)
    token_of_atom = torch.arange(num_tokens).repeat_interleave(counts)
    atoms = len(token_of_atom)
    asym = torch.sort(torch.arange(num_tokens) % chains).values
    first_atom = torch.cumsum(counts, 0) - counts
    resolved = torch.rand((1, models, atoms), generator=g) < 0.9
    coords = 5 * torch.randn((1, models, atoms, 3), generator=g) * resolved[..., None]
    return Features(
        token_mask=torch.ones(1, num_tokens, dtype=torch.bool),
        token_index=torch.arange(num_tokens)[None],
        residue_index=torch.arange(num_tokens)[None] // 2,
        asym_id=asym[None],
        entity_id=(asym // 2)[None],
        sym_id=(asym % 2)[None],
        mol_type=integers(4, num_tokens),
        res_type=integers(len(chemistry.RESIDUE_TYPES), num_tokens),
        modified=integers(2, num_tokens).bool(),
        cyclic_period=torch.zeros(1, num_tokens, dtype=torch.int64),
        representative_atom_index=first_atom[None],
        token_bonds=torch.tensor([[[0, 1], [num_tokens - 2, num_tokens - 1]]]),
        token_bond_type=torch.tensor([[1, 2]]),
        atom_mask=torch.ones(1, atoms, dtype=torch.bool),
        atom_token_index=token_of_atom[None],
        ref_pos=torch.randn((1, atoms, 3), generator=g),
        ref_element=integers(30, atoms),
        ref_charge=integers(3, atoms).float() - 1,
        ref_atom_name_chars=integers(chemistry.NUM_NAME_CHARACTERS, atoms, 4),
        ref_space_uid=token_of_atom[None],
        ref_chirality=integers(chemistry.CHIRALITIES, atoms),
        backbone_index=integers(chemistry.BACKBONE_CLASSES, atoms),
        plddt=torch.full((1, atoms), 100.0),
        coords=coords,
        resolved_mask=resolved,
        ensemble_size=torch.tensor([models]),
    )
