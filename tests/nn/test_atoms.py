from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from frazil import chemistry
from frazil.features import Features
from frazil.nn.atoms import AtomFeatureEmbedding, gather_tokens, mean_over_atoms
from random_features import random_features


def batch() -> Features:
    return Features.stack([random_features(9), random_features(5, seed=1)])


def one_hot_atom_to_token(features: Features) -> torch.Tensor:
    return F.one_hot(features.atom_token_index, features.num_tokens) * features.atom_mask[..., None]


def test_gather_is_the_product_with_the_one_hot_matrix() -> None:
    features = batch()
    x = torch.randn(2, 3, features.num_tokens, 4)
    expected = torch.einsum("ban,bsnd->bsad", one_hot_atom_to_token(features).float(), x)
    torch.testing.assert_close(gather_tokens(x, features.atom_token_index, features.atom_mask), expected)


def test_mean_is_the_product_with_the_transposed_matrix_over_the_count() -> None:
    features = batch()
    x = torch.randn(2, 3, features.num_atoms, 4)
    matrix = one_hot_atom_to_token(features).float()
    expected = torch.einsum("ban,bsad->bsnd", matrix, x) / (matrix.sum(dim=1)[:, None, :, None] + 1e-6)
    given = mean_over_atoms(x, features.atom_token_index, features.atom_mask, features.num_tokens)
    torch.testing.assert_close(given, expected)
    assert torch.equal(given[1, :, 5:], torch.zeros(3, 4, 4))


def test_gathering_then_averaging_restores_the_tokens() -> None:
    features = random_features(9)
    x = torch.randn(1, 2, 9, 4)
    atoms = gather_tokens(x, features.atom_token_index, features.atom_mask)
    back = mean_over_atoms(atoms, features.atom_token_index, features.atom_mask, 9)
    torch.testing.assert_close(back, x, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("residue", [True, False])
@pytest.mark.parametrize("backbone", [True, False])
@pytest.mark.parametrize("name_characters", [True, False])
def test_looked_up_features_are_the_linear_layer_of_dense_ones(
    name_characters: bool, backbone: bool, residue: bool
) -> None:
    features = batch()
    embedding = AtomFeatureEmbedding(5, name_characters=name_characters, backbone=backbone, residue=residue)
    token = features.atom_token_index
    dense = [
        features.ref_pos,
        features.ref_charge[..., None],
        F.one_hot(features.ref_element, chemistry.NUM_ELEMENTS),
    ]
    if name_characters:
        dense.append(F.one_hot(features.ref_atom_name_chars, chemistry.NUM_NAME_CHARACTERS).flatten(-2))
    if backbone:
        dense.append(F.one_hot(features.backbone_index, chemistry.BACKBONE_CLASSES))
    if residue:
        dense.append(F.one_hot(features.res_type.gather(1, token), len(chemistry.RESIDUE_TYPES)))
        dense.append(features.modified.gather(1, token)[..., None])
        dense.append(F.one_hot(features.mol_type.gather(1, token), len(chemistry.MOLECULE_TYPES)))
    rows = torch.cat([d.float() for d in dense], dim=-1) * features.atom_mask[..., None]
    torch.testing.assert_close(embedding(features), embedding.linear(rows))


def test_width_of_the_features_is_boltz2s() -> None:
    assert AtomFeatureEmbedding(1).linear.in_features == 388
