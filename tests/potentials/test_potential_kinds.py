"""Every potential on lists of terms: gradients, invariances, closed forms, batches, bits, degenerate structures."""

from dataclasses import replace

import pytest
import torch
from restrained import FIXED_IN_SPACE, PRESETS, build, coords_for, restrained
from torch import Tensor

from frazil.errors import InputError
from frazil.features import Features
from frazil.geometry import RigidMotion, center
from frazil.potentials import Constant, Potential, SymmetricChains, Weighted, equal_weight
from frazil.potentials.base import Potential as Base
from frazil.restraints import PlaceTerms, Restraints, Terms

every_kind = pytest.mark.parametrize("name", PRESETS)
TIMES = (1.0, 0.37, 0.005)


def held(**kinds: Terms | PlaceTerms) -> Features:
    """A structure of one chain with these restraints alone."""
    features = restrained(terms=0)
    return replace(features, restraints=replace(Restraints.none(), **kinds))


def pair(distance: float) -> Tensor:
    """Two atoms [1, 1, 2, 3] on a slanted line."""
    return torch.stack([torch.zeros(3), torch.tensor([1.0, 2.0, 2.0]) * distance / 3])[None, None]


def numeric_gradient(potential: Potential, coords: Tensor, t: float, step: float = 1e-6) -> Tensor:
    """Central differences of the energy of one sample in float64, all of them in one batch of samples."""
    shifts = step * torch.eye(coords.numel(), dtype=torch.float64).view(-1, *coords.shape[2:])
    up, down = (potential.energy(coords.double() + sign * shifts[None], t)[0] for sign in (1, -1))
    return ((up - down) / (2 * step)).view(coords.shape)


@every_kind
@pytest.mark.parametrize("seed", range(3))
def test_gradients_equal_finite_differences(name, seed):
    features = restrained(seed=seed)
    potential, coords = build(name, features), coords_for(features, 1, seed=seed)
    for t in TIMES:
        gradient, numeric = potential.gradient(coords, t), numeric_gradient(potential, coords, t)
        assert gradient.dtype == torch.float32
        assert (gradient - numeric).abs().max() <= 1e-4 * numeric.abs().max().clamp(min=1)
        torch.testing.assert_close(potential.gradient(coords.double(), t), numeric, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "template"])  # no gradient through an alignment
def test_gradients_equal_automatic_ones(name):
    features = Features.stack([restrained(), restrained(6, seed=1)])
    potential, coords = build(name, features), coords_for(features)
    automatic = Base.gradient(potential, coords, 0.3)
    torch.testing.assert_close(potential.gradient(coords, 0.3), automatic, rtol=1e-4, atol=1e-4)
    assert automatic.abs().max() > 0.01


@every_kind
def test_energies_follow_rigid_motions(name):
    if name in FIXED_IN_SPACE:
        return
    features = restrained()
    potential, coords = build(name, features), coords_for(features)
    motion = RigidMotion.random((1, 3), torch.Generator().manual_seed(3), translation_scale=30.0)
    moved = motion.apply(coords)
    torch.testing.assert_close(potential.energy(moved, 0.3), potential.energy(coords, 0.3), rtol=1e-4, atol=1e-4)
    turned = motion.rotate(potential.gradient(coords, 0.3))
    torch.testing.assert_close(potential.gradient(moved, 0.3), turned, rtol=2e-3, atol=2e-3)


@every_kind
def test_an_aligned_or_internal_energy_exerts_no_force_and_no_torque(name):
    if name in FIXED_IN_SPACE:
        return
    features = restrained()
    coords = coords_for(features)
    gradient = build(name, features).gradient(coords, 0.3)
    assert gradient.sum(dim=2).abs().max() < 1e-3
    assert torch.linalg.cross(coords, gradient).sum(dim=2).abs().max() < 1e-2


@every_kind
def test_a_batch_of_unlike_structures_padding_and_samples_change_no_bit(name):
    parts = [restrained(9), restrained(5, seed=1, terms=1), restrained(12, seed=2, terms=0), restrained(7, seed=3)]
    batch = Features.stack(parts).pad(num_atoms=128)
    together, coords = build(name, batch), coords_for(batch, 5)
    energy, gradient = together.energy(coords, 0.3), together.gradient(coords, 0.3)
    assert (gradient[~batch.atom_mask[:, None].expand(gradient.shape[:-1])] == 0).all()
    for row, part in enumerate(parts):
        alone = build(name, part)
        for sample in (0, 4):
            own = coords[row : row + 1, sample : sample + 1, : part.num_atoms]
            assert torch.equal(alone.energy(own, 0.3)[0, 0], energy[row, sample])
            assert torch.equal(alone.gradient(own, 0.3)[0, 0], gradient[row, sample, : part.num_atoms])


@every_kind
def test_no_term_is_no_energy(name):
    features = Features.stack([restrained(terms=0), restrained(4, terms=0)])
    potential, coords = build(name, features), coords_for(features)
    assert potential.num_terms == 0 and potential.values(coords).shape[0] == 0
    assert torch.equal(potential.energy(coords, 0.5), torch.zeros(2, 3))
    assert torch.equal(potential.gradient(coords, 0.5), torch.zeros_like(coords))


@every_kind
def test_terms_of_weight_zero_do_not_steer(name):
    features = restrained()
    idle = {}
    for field in ("connections", "distance_bounds", "chirality", "stereo_bonds", "planar_bonds", "contacts",
                  "distances", "dihedrals", "gyration"):  # fmt: skip
        terms = getattr(features.restraints, field)
        idle[field] = replace(terms, weight=terms.weight * 0)
    for field in ("positions", "templates"):
        places = getattr(features.restraints, field)
        idle[field] = replace(places, terms=replace(places.terms, weight=places.terms.weight * 0))
    features = replace(features, restraints=replace(features.restraints, **idle))
    assert build(name, features).num_terms == (1 if name == "symmetric_chains" else 0)


@every_kind
def test_half_precision_is_computed_in_float32(name):
    features = restrained()
    potential, coords = build(name, features), coords_for(features).bfloat16()
    assert torch.equal(potential.energy(coords, 0.3), potential.energy(coords.float(), 0.3))
    assert torch.equal(potential.gradient(coords, 0.3), potential.gradient(coords.float(), 0.3))


@every_kind
@pytest.mark.parametrize("scale", [0.0, 1e-20, 1e-7, 1e6, 1e12, 1e25])
def test_degenerate_structures_have_finite_energies_and_gradients(name, scale):
    features = restrained()
    potential, coords = build(name, features), coords_for(features, scale=scale)
    line = coords * torch.tensor([1.0, 0.0, 0.0])
    for structure in (coords, line):
        for t in TIMES:
            assert potential.energy(structure, t).isfinite().all()
            assert potential.gradient(structure, t).isfinite().all()


@every_kind
def test_a_broken_sample_harms_no_other(name):
    features = restrained()
    potential, coords = build(name, features), coords_for(features)
    energy, gradient = potential.energy(coords, 0.3), potential.gradient(coords, 0.3)
    broken = coords.clone()
    broken[0, 1] = float("nan")
    assert potential.energy(broken, 0.3)[0, 1].isnan()
    for sample in (0, 2):
        assert torch.equal(potential.energy(broken, 0.3)[0, sample], energy[0, sample])
        assert torch.equal(potential.gradient(broken, 0.3)[0, sample], gradient[0, sample])


def test_distances_have_their_closed_form():
    terms = Terms.of(torch.tensor([[0, 1]]), 4.0, 6.0, weight=2.0)
    for kind, name in (("distances", "distances"), ("distance_bounds", "bonded_bounds"), ("connections",) * 2):
        potential = build(name, held(**{kind: terms}))
        for distance, energy, pull in ((3.0, 2.0, -2.0), (5.0, 0.0, 0.0), (9.0, 6.0, 2.0)):
            coords = pair(distance)
            assert float(potential.energy(coords, 0.5)) == pytest.approx(energy, abs=1e-5)
            expected = pull * torch.tensor([1.0, 2.0, 2.0]) / 3
            torch.testing.assert_close(potential.gradient(coords, 0.5)[0, 0], torch.stack([-expected, expected]))
            assert float(potential.values(coords)) == pytest.approx(distance)


def test_terms_inside_their_bounds_are_left_alone():
    features = restrained()
    coords = coords_for(features, 1)
    loose = {}
    for name, field in (("chirality",) * 2, ("stereo_bonds",) * 2, ("planar_bonds",) * 2, ("dihedrals",) * 2,
                        ("contacts",) * 2, ("distances",) * 2, ("gyration",) * 2):  # fmt: skip
        values = build(name, features).values(coords)[:, 0]
        terms = getattr(features.restraints, field)
        values = values[terms.group] if name == "gyration" else values
        loose[field] = replace(terms, lower=values - 0.01, upper=values + 0.01)
    features = replace(features, restraints=replace(features.restraints, **loose))
    for name in loose:
        potential = build(name, features)
        assert torch.equal(potential.energy(coords, 0.3), torch.zeros(1, 1)), name
        assert torch.equal(potential.gradient(coords, 0.3), torch.zeros_like(coords)), name


def test_places_measure_the_distance_and_aligned_ones_the_shape_alone():
    places = torch.tensor([[0.0, 0, 0], [4, 0, 0], [0, 3, 0], [0, 0, 5]])
    terms = Terms.of(torch.arange(4)[:, None], upper=1.0, group=torch.zeros(4, dtype=torch.int64))
    shifted = (places + torch.tensor([0.0, 3.0, 0.0]))[None, None]
    fixed = build("positions", held(positions=PlaceTerms(terms, places, torch.tensor([False]))))
    assert fixed.values(shifted)[:, 0].tolist() == [3.0] * 4
    assert float(fixed.energy(shifted, 0.5)) == 8
    assert torch.equal(fixed.gradient(shifted, 0.5)[0, 0], torch.tensor([0.0, 1, 0]).expand(4, 3))
    shape = build("template", held(templates=PlaceTerms(terms, places, torch.tensor([True]))))
    motion = RigidMotion.random((1, 1), torch.Generator().manual_seed(0), translation_scale=50.0)
    assert shape.values(motion.apply(shifted)).max() < 1e-4
    mirrored = shape.gradient(shifted * torch.tensor([3.0, 1.0, -1.0]), 0.5)
    assert mirrored.abs().max() > 0.1 and mirrored.sum(dim=2).abs().max() < 1e-5


def test_aligned_sets_of_unlike_sizes_do_not_see_each_other():
    g = torch.Generator().manual_seed(0)
    atoms, places = torch.randperm(20, generator=g)[:, None], torch.randn(20, 3, generator=g) * 5
    group = torch.tensor([0] * 3 + [1] * 12 + [2] * 5)
    aligned = torch.tensor([True, False, True])
    all_sets = PlaceTerms(Terms.of(atoms, upper=0.5, group=group), places, aligned)
    coords = torch.randn(1, 2, 20, 3, generator=g) * 5
    together = build("template", held(templates=all_sets))
    parts = [build("template", held(templates=all_sets.keep(group == number))) for number in range(3)]
    assert torch.equal(together.values(coords), torch.cat([part.values(coords) for part in parts]))
    assert torch.equal(together.gradient(coords, 0.5), sum(part.gradient(coords, 0.5) for part in parts))


def test_the_radius_of_gyration_is_that_of_a_ring_and_moves_towards_its_bounds():
    angle = torch.arange(8) * torch.pi / 4
    ring = 7 * torch.stack([angle.cos(), angle.sin(), angle * 0], dim=-1)[None, None] + 3
    group = torch.zeros(8, dtype=torch.int64)
    potential = build("gyration", held(gyration=Terms.of(torch.arange(8)[:, None], upper=5.0, group=group)))
    assert float(potential.values(ring)) == pytest.approx(7)
    assert float(potential.energy(ring, 0.5)) == pytest.approx(8 * 2)
    torch.testing.assert_close(potential.gradient(ring, 0.5), (ring - 3) / 7)


def test_copies_of_a_chain_are_pushed_apart_by_their_centres():
    features = restrained()
    chain = features.asym_id[0, features.atom_token_index[0]]
    coords = center(coords_for(features, 1), torch.ones(features.num_atoms))
    middles = torch.stack([coords[0, 0, chain == c].mean(dim=0) for c in (0, 1)])
    distance = float((middles[0] - middles[1]).norm())
    potential = SymmetricChains(features, Constant(distance + 1.5), equal_weight)
    assert float(potential.energy(coords, 0.5)) == pytest.approx(1.5, rel=1e-4)
    gradient = potential.gradient(coords, 0.5)[0, 0]
    for c, sign in ((0, -1), (1, 1)):
        count = int((chain == c).sum())
        expected = sign * (middles[0] - middles[1]) / distance / count
        torch.testing.assert_close(gradient[chain == c], expected.expand(count, 3), rtol=1e-3, atol=1e-6)
    assert float(SymmetricChains(features, Constant(distance - 0.1)).energy(coords, 0.5)) == 0


def test_chains_of_one_atom_and_of_unlike_entities_are_not_symmetric():
    features = restrained(2, seed=5)
    unlike = replace(features, entity_id=features.asym_id)
    assert SymmetricChains(unlike).num_terms == 0
    single = features.atom_mask.clone()
    single[0, features.atom_token_index[0] == 1] = False
    single[0, -1] = True
    assert SymmetricChains(replace(features, atom_mask=single)).num_terms == 0
    assert SymmetricChains(features).num_terms == 1


def test_contradictory_bounds_pull_to_one_side():
    potential = build("distances", held(distances=Terms.of(torch.tensor([[0, 1]]), 9.0, 4.0)))
    assert float(potential.energy(pair(5.0), 0.5)) == 4 and potential.gradient(pair(5.0), 0.5).abs().max() > 0
    assert isinstance(Weighted(potential, Constant(1.0), Constant(1.0)).potential, Potential)


def test_terms_have_to_fit_their_variable():
    with pytest.raises(InputError, match="Distances: its terms have 4 atoms each, but Distance takes 2"):
        build("distances", held(distances=Terms.of(torch.tensor([[0, 1, 2, 3]]))))
