"""Crops: sizes, neighbourhoods, and nothing but what was there."""

import pytest
import torch
from pdb_text import ASSETS, FILES

from frazil.data import contiguous_crop, featurize, read, spatial_crop
from frazil.features import Features

CROPS = [contiguous_crop, spatial_crop]


@pytest.fixture(scope="module")
def complex_features():
    return featurize(read(FILES / "1lcd.cif.gz"))


def generator(seed):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize("size", [1, 2, 17, 60, 73])
def test_size_order_and_content(complex_features, crop, size):
    for seed in range(5):
        part = crop(complex_features, size, generator(seed))
        kept = part.token_index[0]
        assert part.num_tokens == size and (kept.diff() > 0).all()
        assert torch.equal(part.res_type[0], complex_features.res_type[0, kept])
        atoms = torch.isin(complex_features.atom_token_index[0], kept)
        assert torch.equal(part.coords[0], complex_features.coords[0][:, atoms])
        names = complex_features.ref_atom_name_chars[0, complex_features.representative_atom_index[0, kept]]
        assert torch.equal(part.ref_atom_name_chars[0, part.representative_atom_index[0]], names)


@pytest.mark.parametrize("crop", CROPS)
def test_a_structure_that_fits_is_left_alone(complex_features, crop):
    assert crop(complex_features, complex_features.num_tokens, generator(0)) is complex_features
    assert crop(complex_features, 10_000, generator(0)) is complex_features


@pytest.mark.parametrize("crop", CROPS)
def test_the_generator_alone_decides(complex_features, crop):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = crop(complex_features, 20, generator(3))
    assert torch.equal(first.token_index, crop(complex_features, 20, generator(3)).token_index)
    assert torch.equal(state, torch.get_rng_state())
    drawn = {tuple(crop(complex_features, 20, generator(seed)).token_index[0].tolist()) for seed in range(20)}
    assert len(drawn) > 10


@pytest.mark.parametrize("crop", CROPS)
def test_refusals(complex_features, crop):
    with pytest.raises(ValueError, match="at least one token"):
        crop(complex_features, 0, generator(0))
    with pytest.raises(ValueError, match="one structure"):
        crop(Features.stack([complex_features, complex_features]), 5, generator(0))


def test_contiguous_crops_are_one_run_in_each_chain(complex_features):
    for seed in range(30):
        part = contiguous_crop(complex_features, 40, generator(seed))
        for chain in part.asym_id[0].unique():
            assert (part.token_index[0, part.asym_id[0] == chain].diff() == 1).all()


def test_every_token_is_drawn_sometime(complex_features):
    for crop in CROPS:
        seen = torch.cat([crop(complex_features, 12, generator(seed)).token_index[0] for seed in range(250)])
        assert len(seen.unique()) > 0.9 * complex_features.num_tokens


def test_spatial_crops_are_balls_around_one_of_their_tokens():
    features = featurize(read(FILES / "1ubi.pdb.gz"))
    points = features.coords[0, 0, features.representative_atom_index[0]]
    distances = torch.cdist(points, points)
    for seed in range(10):
        kept = spatial_crop(features, 15, generator(seed)).token_index[0]
        balls = [set(distances[centre].argsort()[:15].tolist()) for centre in kept.tolist()]
        assert set(kept.tolist()) in balls


def test_spatial_crops_prefer_resolved_tokens():
    features = featurize(read(FILES / "4cup.cif.gz"))
    atom = features.representative_atom_index[0]
    resolved = features.resolved_mask[0, 0, atom]
    assert not resolved.all()
    for seed in range(10):
        kept = spatial_crop(features, 100, generator(seed)).token_index[0]
        assert resolved[kept].all()


def test_without_coordinates_a_spatial_crop_is_contiguous(tmp_path):
    (tmp_path / "x.fasta").write_text(">A\nMKTAYIAKQR\n")
    features = featurize(read(tmp_path / "x.fasta"))
    kept = spatial_crop(features, 4, generator(0)).token_index[0]
    assert (kept.diff() == 1).all() and len(kept) == 4


def test_padding_is_never_cropped_in():
    features = featurize(read(ASSETS / "1as5.cif.gz"))
    padded = features.pad(num_tokens=features.num_tokens + 50, num_atoms=features.num_atoms + 64)
    for crop in CROPS:
        for seed in range(10):
            part = crop(padded, 20, generator(seed))
            assert part.token_mask.all() and part.atom_mask.all()


def test_bonds_inside_a_crop_are_kept(complex_features):
    features = featurize(read(ASSETS / "1as5.cif.gz"))
    whole = {tuple(pair) for pair in features.token_bonds[0].tolist()}
    part = contiguous_crop(features, 20, generator(2))
    kept = part.token_index[0]
    back = {tuple(kept[pair].tolist()) for pair in part.token_bonds[0]}
    inside = set(kept.tolist())
    assert back == {(a, b) for a, b in whole if a in inside and b in inside} and back
