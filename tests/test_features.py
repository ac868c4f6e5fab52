from __future__ import annotations

import pytest
import torch

from frazil.features import Features, axes_of, tensor_fields
from random_features import random_features


def same(a: Features, b: Features) -> bool:
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in tensor_fields())


def test_axes_are_those_of_the_tensors() -> None:
    features = random_features()
    lengths = {"token": 9, "atom": features.num_atoms, "bond": 2, "model": 2}
    for name in tensor_fields():
        shape = getattr(features, name).shape
        assert tuple(shape[1 : 1 + len(axes_of(name))]) == tuple(lengths[a] for a in axes_of(name))


def test_padding_then_cropping_restores_the_structure() -> None:
    features = random_features()
    padded = features.pad(num_tokens=13, num_atoms=96, num_bonds=5)
    assert int(padded.atom_mask.sum()) == features.num_atoms
    assert bool((padded.token_bonds[:, 2:] == -1).all())
    assert same(padded.crop(torch.arange(9)), features)


def test_cropping_twice_is_cropping_once() -> None:
    features = random_features(12)
    first = torch.tensor([0, 1, 4, 5, 6, 9, 11])
    second = torch.tensor([0, 2, 3, 6])
    assert same(features.crop(first).crop(second), features.crop(first[second]))


def test_a_crop_keeps_what_belongs_to_its_tokens() -> None:
    features = random_features(12)
    kept = torch.tensor([2, 3, 10, 11])
    crop = features.crop(kept)
    atoms = torch.isin(features.atom_token_index[0], kept)
    assert torch.equal(crop.coords, features.coords[:, :, atoms])
    assert torch.equal(kept[crop.atom_token_index[0]], features.atom_token_index[0, atoms])
    assert crop.token_bonds.tolist() == [[[2, 3]]]
    assert crop.token_bond_type.tolist() == [[2]]
    assert torch.equal(
        crop.ref_pos[0, crop.representative_atom_index[0]],
        features.ref_pos[0, features.representative_atom_index[0, kept]],
    )


def test_stacking_unlike_structures_and_selecting_one_restores_it() -> None:
    structures = [random_features(n, seed=n, models=m) for n, m in ((9, 2), (4, 1), (14, 3))]
    batch = Features.stack(structures)
    assert batch.num_atoms % 32 == 0 and batch.num_tokens == 14 and batch.coords.shape[1] == 3
    for index, structure in enumerate(structures):
        back = batch.select(index).crop(torch.arange(structure.num_tokens))
        models = structure.coords.shape[1]
        assert torch.equal(back.coords[:, :models], structure.coords)
        assert torch.equal(back.token_bonds, structure.token_bonds)
        assert int(back.ensemble_size) == models


def test_lengths_that_do_not_fit_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="more than 3"):
        random_features().pad(num_tokens=3)
    with pytest.raises(ValueError, match="empty list"):
        Features.stack([])
    with pytest.raises(ValueError, match="one structure"):
        Features.stack([random_features(), random_features()]).crop(torch.arange(3))
