"""Random rigid motion of the reference conformers."""

import pytest
import torch
from pdb_text import ASSETS, FILES

from frazil.data import featurize, randomize_reference, read, spatial_crop
from frazil.features import Features


@pytest.fixture(scope="module")
def features():
    return featurize(read(ASSETS / "1as5.cif.gz"))


def generator(seed):
    return torch.Generator().manual_seed(seed)


def spaces(features):
    for space in features.ref_space_uid[0].unique().tolist():
        yield (features.ref_space_uid[0] == space) & features.atom_mask[0]


def volume(points):
    """Signed volumes of consecutive quadruples: they tell hands apart."""
    edges = points[1:] - points[:-1]
    return (
        torch.linalg.det(torch.stack([edges[:-2], edges[1:-1], edges[2:]], dim=1))
        if len(points) > 3
        else edges.new_zeros(0)
    )


def test_shape_and_hand_of_every_conformer_stay(features):
    moved = randomize_reference(features, generator(0))
    for atoms in spaces(features):
        before, after = features.ref_pos[0, atoms], moved.ref_pos[0, atoms]
        assert torch.allclose(torch.cdist(before, before), torch.cdist(after, after), atol=1e-4)
        assert torch.allclose(volume(before), volume(after), atol=1e-3)


def test_nothing_else_changes(features):
    moved = randomize_reference(features, generator(0))
    for name in features.__dataclass_fields__:
        if name != "ref_pos":
            assert getattr(moved, name) is getattr(features, name)


def test_residues_move_apart_from_each_other(features):
    moved = randomize_reference(features, generator(1))
    shifts = torch.stack([moved.ref_pos[0, atoms].mean(dim=0) for atoms in spaces(features)])
    assert len(shifts.unique(dim=0)) == len(shifts)
    assert shifts.abs().max() < 6


def test_translations_are_standard_normal(features):
    one = features.crop(torch.tensor([0]))
    centres = torch.cat([randomize_reference(one, generator(k)).ref_pos.mean(dim=1) for k in range(600)])
    assert centres.mean(dim=0).abs().max() < 0.15
    assert (centres.std(dim=0) - 1).abs().max() < 0.1


def test_orientations_are_uniform(features):
    one = features.crop(torch.tensor([0]))
    ends = []
    for seed in range(600):
        points = randomize_reference(one, generator(seed)).ref_pos[0]
        ends.append(torch.nn.functional.normalize(points[1] - points[0], dim=0))
    assert torch.stack(ends).mean(dim=0).norm() < 0.12


def test_where_the_conformers_were_before_does_not_matter(features):
    shifted = features.map(lambda tensor: tensor)
    shifted = type(features)(**{**vars(features), "ref_pos": features.ref_pos + torch.tensor([50.0, -7, 3])})
    first, second = (randomize_reference(f, generator(4)).ref_pos for f in (features, shifted))
    assert torch.allclose(first, second, atol=1e-4)


def test_the_generator_alone_decides(features):
    state = torch.get_rng_state()
    first = randomize_reference(features, generator(9)).ref_pos
    assert torch.equal(first, randomize_reference(features, generator(9)).ref_pos)
    assert not torch.allclose(first, randomize_reference(features, generator(10)).ref_pos)
    assert torch.equal(state, torch.get_rng_state())


def test_padding_does_not_shift_the_draws_and_stays_zero(features):
    padded = features.pad(num_atoms=features.num_atoms + 40)
    first, second = (randomize_reference(f, generator(5)).ref_pos for f in (features, padded))
    assert torch.equal(first[0], second[0, : features.num_atoms])
    assert (second[0, features.num_atoms :] == 0).all()


def test_crops_and_ions():
    features = featurize(read(FILES / "1lcd.cif.gz"))
    part = randomize_reference(spatial_crop(features, 10, generator(0)), generator(0))
    assert torch.isfinite(part.ref_pos).all()
    ion = featurize(read("[Na+]"))
    assert torch.isfinite(randomize_reference(ion, generator(0)).ref_pos).all()


def test_batches_are_refused(features):
    with pytest.raises(ValueError, match="one structure"):
        randomize_reference(Features.stack([features, features]), generator(0))
