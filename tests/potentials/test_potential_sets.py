"""Sets of potentials with their weights; and contacts, which have to pull at every distance and time."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from restrained import restrained

from frazil.errors import InputError
from frazil.potentials import POTENTIAL_SETS, Constant, Contacts, PotentialWeights, default_potentials
from frazil.restraints import Restraints, Terms

CONTACTS = POTENTIAL_SETS["contacts"]["contacts"].weights


def contacts(pairs, upper=8.0):
    features = restrained(terms=0)
    group = torch.zeros(len(pairs), dtype=torch.int64)
    none = Restraints.none()
    terms = Terms.of(torch.tensor(pairs), upper=upper, group=group)
    restraints = Restraints(**{**vars(none), "contacts": terms})
    return Contacts(type(features)(**{**vars(features), "restraints": restraints}))


@given(violation=st.floats(0.1, 500), t=st.floats(1e-4, 1), pairs=st.integers(1, 30), seed=st.integers(0, 99))
def test_a_violated_contact_pulls_inwards_at_any_distance_and_time(violation, t, pairs, seed):
    g = torch.Generator().manual_seed(seed)
    directions = torch.nn.functional.normalize(torch.randn(pairs, 3, generator=g), dim=-1)
    farther = 1 + torch.arange(pairs)[:, None] / 7
    coords = torch.cat([torch.zeros(1, 3), directions * (8.0 + violation * farther)])[None, None]
    potential = contacts([[0, index + 1] for index in range(pairs)])
    energy, gradient = potential.energy(coords, t), CONTACTS.guidance.at(t) * potential.gradient(coords, t)[0, 0]
    assert 0 < float(energy) < 3000
    inwards = (gradient[1:] * directions).sum(dim=-1)
    assert gradient.isfinite().all() and (inwards >= 0).all()
    assert float(inwards.max()) > 0.01 / pairs
    torch.testing.assert_close(gradient[1:], inwards[:, None] * directions, rtol=1e-3, atol=1e-6)


def test_a_contact_is_pulled_as_hard_from_far_as_from_near():
    for distance in (8.1, 40.0, 508.0):
        coords = torch.tensor([[0.0, 0, 0], [distance, 0, 0]])[None, None]
        for t in (1.0, 0.3, 0.005):
            assert contacts([[0, 1]]).gradient(coords, t)[0, 0, :, 0].tolist() == [-1.0, 1.0]


def test_a_kept_contact_has_no_energy_whatever_its_alternatives():
    coords = torch.tensor([[0.0, 0, 0], [7, 0, 0], [0, 500, 0]])[None, None]
    assert float(contacts([[0, 1]]).energy(coords, 0.005)) == 0
    late = contacts([[0, 1], [0, 2]])
    assert float(late.energy(coords, 0.005)) < 0.1 and late.gradient(coords, 0.005).abs().max() < 1e-6


def test_no_usual_guidance_of_a_request_ever_stops():
    for preset in POTENTIAL_SETS["contacts"].values():
        assert all(preset.weights.guidance.at(step / 200) > 0 for step in range(1, 201))


def test_names_are_those_of_the_sets():
    features = restrained()
    for presets in POTENTIAL_SETS.values():
        for name, preset in presets.items():
            assert preset.build(features).name == name


def test_only_potentials_with_terms_are_run_and_sets_add_up():
    bare, full = restrained(terms=0), restrained()
    assert default_potentials(bare, ("contacts",)) == ()
    assert default_potentials(full, ()) == ()
    names = {w.potential.name for w in default_potentials(full, ("contacts", "physical", "contacts"))}
    known = {name for presets in POTENTIAL_SETS.values() for name in presets}
    assert names == known - {"van_der_waals"}  # a connection joins the two chains
    assert len(default_potentials(full, ("contacts", "contacts"))) == len(POTENTIAL_SETS["contacts"])


def test_weights_can_be_replaced_by_name():
    strong = PotentialWeights(Constant(3.0), Constant(2.0), interval=7)
    chosen = default_potentials(restrained(), ("contacts",), {"contacts": strong, "chirality": strong})
    by_name = {weighted.potential.name: weighted for weighted in chosen}
    assert (by_name["contacts"].guidance, by_name["contacts"].interval) == (Constant(3.0), 7)
    assert by_name["gyration"].interval == POTENTIAL_SETS["contacts"]["gyration"].weights.interval


def test_what_is_not_known_is_refused_by_name():
    with pytest.raises(InputError, match=r"'chiralty'.*chirality"):
        default_potentials(restrained(), ("physical",), {"chiralty": CONTACTS})
    with pytest.raises(InputError, match=r"'physics'.*physical, contacts"):
        default_potentials(restrained(), ("physics",))
    with pytest.raises(InputError, match="interval is 0"):
        PotentialWeights(Constant(1.0), Constant(1.0), interval=0)
