"""Truths about overlaps: those of all pairs, of the reference and of the metric; bits that no neighbour changes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from frazil import chemistry
from frazil.data.topology import contact_radii
from frazil.features import Features
from frazil.metrics import clashes
from frazil.potentials.overlap import CLASH_FRACTION, VDW_BUFFER, Clashes, VDWOverlap
from frazil.restraints import Terms
from random_features import random_features

KINDS = (VDWOverlap, Clashes)


def bonded(features, connections=()):
    """A bond between atoms of consecutive numbers in a chain, and some connections, both also of the same chain."""
    chain = features.asym_id[0][features.atom_token_index[0]]
    i = torch.nonzero(chain[1:] == chain[:-1]).squeeze(1)
    links = torch.tensor(connections, dtype=torch.int64).reshape(-1, 2)
    bonds = torch.cat([torch.stack([i, i + 1], dim=-1), links])
    restraints = replace(features.restraints, bonds=Terms.of(bonds), connections=Terms.of(links, upper=2.0))
    return replace(features, restraints=restraints)


def structure(num_tokens=12, *, seed=0, chains=3, connections=()):
    return bonded(random_features(num_tokens, seed=seed, chains=chains), connections)


def coords_of(features, samples=2, spread=4.0, seed=0):
    shape = (features.batch_size, samples, features.num_atoms, 3)
    return spread * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def bounds(kind, features, row=0):
    """[A, A] least distances by the definition, atom by atom, in float64; 0 where a pair does not count."""
    mask, element = features.atom_mask[row], features.ref_element[row]
    chain = features.asym_id[row][features.atom_token_index[row]]
    table = torch.tensor(chemistry.VDW_RADII if kind is VDWOverlap else chemistry.CONTACT_RADII, dtype=torch.float64)
    least = table[element][:, None] + table[element]
    counted = (mask[:, None] & mask).triu(1)
    if kind is VDWOverlap:
        ends = features.restraints.connections.select(range(row, row + 1)).atoms
        joined = {frozenset(pair) for pair in chain[ends].tolist()}
        many = torch.tensor([int((chain[mask] == c).sum()) > 1 for c in chain.tolist()])
        apart = [[a != b and frozenset((a, b)) not in joined for b in chain.tolist()] for a in chain.tolist()]
        return least * (1 - VDW_BUFFER) * (counted & many[:, None] & many & torch.tensor(apart))
    step = torch.eye(features.num_atoms)
    ends = features.restraints.bonds.select(range(row, row + 1)).atoms
    step[ends[:, 0], ends[:, 1]] = step[ends[:, 1], ends[:, 0]] = 1
    return least * CLASH_FRACTION * (counted & (torch.matrix_power(step, 3) == 0))


def plain_energy(kind, features, coords):
    """[S] energies of the first structure over all pairs, by autograd's means."""
    least = bounds(kind, features)
    i, j = (least > 0).nonzero().unbind(-1)
    return (least[i, j] - (coords[0, :, i] - coords[0, :, j]).norm(dim=-1)).clamp(min=0).sum(dim=-1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("connections", [(), [(0, 45)], [(0, 45), (1, 2)]])
def test_energy_and_gradient_are_those_of_all_pairs(kind, connections):
    features = structure(connections=connections)
    coords = coords_of(features, spread=2.5).double().requires_grad_()
    expected = plain_energy(kind, features, coords)
    (gradient,) = torch.autograd.grad(expected.sum(), coords)
    potential = kind(features)
    assert (expected > 1).all()
    torch.testing.assert_close(potential.energy(coords.detach().float(), 0.3)[0].double(), expected, rtol=1e-5, atol=0)
    found = potential.gradient(coords.detach().float(), 0.3)
    torch.testing.assert_close(found.double(), gradient, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.sum(dim=2), torch.zeros(1, 2, 3), rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_terms_are_the_pairs_that_could_overlap(kind):
    features = structure(connections=[(0, 45)])
    features = replace(features, atom_mask=features.atom_mask.index_fill(1, torch.tensor([3, 7]), False))
    batch = Features.stack([features, structure(5, seed=4, chains=2)])
    features = replace(features, ref_element=features.ref_element.clamp(min=1))
    expected = int((bounds(kind, features) > 0).sum())
    assert kind(features).num_terms == expected
    assert kind(batch).num_terms == expected + kind(structure(5, seed=4, chains=2)).num_terms


def test_van_der_waals_is_the_references():
    reference = pytest.importorskip("boltz.model.potentials.potentials")
    features = structure(14, seed=3, chains=4, connections=[(0, 45)])
    # an ion: a chain of one atom
    first = features.atom_token_index[0] == 13
    features = replace(features, atom_mask=features.atom_mask & ~(first & (first.cumsum(0) > 1)))
    features = replace(features, asym_id=features.asym_id.index_fill(1, torch.tensor([13]), 4))
    chain = features.asym_id[0][features.atom_token_index[0]]
    feats = {
        "atom_to_token": torch.nn.functional.one_hot(features.atom_token_index, 14).float(),
        "asym_id": features.asym_id,
        "atom_pad_mask": features.atom_mask.float(),
        "ref_element": torch.nn.functional.one_hot(features.ref_element, 128).float(),
        "connected_chain_index": chain[torch.tensor([[0, 45]])].mT[None],
    }
    parameters = {"buffer": VDW_BUFFER}
    theirs, ours = reference.VDWOverlapPotential(parameters), VDWOverlap(features)
    coords = coords_of(features, samples=3, spread=2.5)
    energy = theirs.compute(coords[0], feats, parameters)
    assert (energy > 1).all()
    torch.testing.assert_close(ours.energy(coords, 0.3)[0], energy, rtol=1e-5, atol=0)
    torch.testing.assert_close(
        ours.gradient(coords, 0.3)[0], theirs.compute_gradient(coords[0], feats, parameters), rtol=1e-5, atol=1e-5
    )


def test_radii_are_the_references_and_those_of_the_metric():
    const = pytest.importorskip("boltz.data.const")
    assert list(chemistry.VDW_RADII[1:]) == const.vdw_radii
    assert contact_radii(np.array(chemistry.ELEMENTS[1:])).tolist() == list(chemistry.CONTACT_RADII[1:])


@pytest.mark.parametrize("spread", [1.0, 4.0, 30.0, 300.0])
def test_clashes_are_those_of_the_metric(spread):
    features = structure(10, seed=7)
    features = replace(features, ref_element=features.ref_element.clamp(min=1))
    radii = contact_radii(np.array(chemistry.ELEMENTS)[features.ref_element[0].numpy()])
    for seed in range(4):
        coords = coords_of(features, samples=1, spread=spread, seed=seed)
        pairs = clashes(coords[0, 0].numpy(), radii, features.restraints.bonds.atoms.numpy())
        i, j = torch.from_numpy(pairs).unbind(-1)
        depth = CLASH_FRACTION * torch.from_numpy(radii)[pairs].sum(-1) - (coords[0, 0, i] - coords[0, 0, j]).norm(
            dim=-1
        )
        energy = float(Clashes(features).energy(coords, 0.3))
        assert (energy == 0) == (len(pairs) == 0)
        assert energy == pytest.approx(float(depth.sum()), rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("threads", [1, 2])
def test_a_sample_has_the_same_bits_whatever_is_beside_it(kind, threads):
    one, two = structure(60, connections=[(0, 250)]), structure(90, seed=5, chains=2)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        samples = 9
        batch = Features.stack([one, two]).pad(num_atoms=700)
        # dense enough for several blocks of pairs
        coords = torch.zeros(2, samples, 700, 3)
        coords[0, :, : one.num_atoms] = coords_of(one, samples, spread=5.0)[0]
        coords[1, :, : two.num_atoms] = coords_of(two, samples, spread=5.0)[0]
        energies, gradients = (getattr(kind(batch), what)(coords, 0.3) for what in ("energy", "gradient"))
    finally:
        torch.set_num_threads(before)
    for row, features in enumerate((one, two)):
        alone = kind(features)
        for sample in range(samples):
            own = coords[row : row + 1, sample : sample + 1, : features.num_atoms]
            assert torch.equal(alone.energy(own, 0.3)[0, 0], energies[row, sample])
            assert torch.equal(alone.gradient(own, 0.3)[0, 0], gradients[row, sample, : features.num_atoms])
        assert not gradients[row, :, features.num_atoms :].any()


@pytest.mark.parametrize("kind", KINDS)
def test_coincident_atoms_are_driven_apart(kind):
    features = structure(6, chains=2)
    potential = kind(features)
    coords = torch.zeros(1, 1, features.num_atoms, 3)
    gradient = potential.gradient(coords, 0.3)
    assert gradient.isfinite().all()
    assert gradient.any()
    assert potential.energy(coords - 1e-3 * gradient, 0.3) < potential.energy(coords, 0.3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 3e38])
def test_hopeless_samples_harm_no_other(kind, bad):
    features = structure(8, chains=2)
    potential = kind(features)
    coords = coords_of(features, samples=3, spread=2.0)
    good = coords[:, [0, 2]]
    coords[0, 1, ::2] = bad
    coords[0, 1, 1] = -coords[0, 1, 0]
    assert torch.equal(potential.gradient(coords, 0.3)[:, [0, 2]], potential.gradient(good, 0.3))
    assert torch.equal(potential.energy(coords, 0.3)[:, [0, 2]], potential.energy(good, 0.3))
    assert potential.gradient(coords, 0.3).isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_without_terms_nothing_happens(kind):
    features = structure(4)
    nothing = replace(features, atom_mask=torch.zeros_like(features.atom_mask))
    coords = torch.zeros(1, 2, features.num_atoms, 3)
    potential = kind(nothing)
    assert potential.num_terms == 0
    assert torch.equal(potential.energy(coords, 0.3), torch.zeros(1, 2))
    assert torch.equal(potential.gradient(coords, 0.3), torch.zeros_like(coords))


def test_a_single_chain_has_nothing_to_overlap_with():
    assert VDWOverlap(structure(4, chains=1)).num_terms == 0


@pytest.mark.parametrize("kind", KINDS)
def test_one_term_in_closed_form(kind):
    features = structure(2, chains=2, seed=1)
    atom = torch.arange(features.num_atoms)
    second = int((features.atom_token_index[0] == 1).nonzero()[0])
    features = replace(features, ref_element=torch.full_like(features.ref_element, chemistry.ATOMIC_NUMBER["C"]))
    # all atoms far from each other but one pair, 2 angstrom apart
    coords = (50.0 * atom)[None, None, :, None] * torch.tensor([0.0, 1.0, 0.0])
    coords[0, 0, second] = torch.tensor([0.0, 0.0, 2.0])
    least = 3.4 * (0.775 if kind is VDWOverlap else 0.75)
    assert float(kind(features).energy(coords, 0.0)) == pytest.approx(least - 2, rel=1e-5)
    expected = torch.zeros_like(coords)
    expected[0, 0, 0, 2], expected[0, 0, second, 2] = 1.0, -1.0
    torch.testing.assert_close(kind(features).gradient(coords, 0.0), expected)


def test_names():
    assert [kind(structure(3)).name for kind in KINDS] == ["van_der_waals", "clashes"]
