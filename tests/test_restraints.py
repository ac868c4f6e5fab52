from __future__ import annotations

from dataclasses import fields, replace

import torch

from frazil.features import Features
from frazil.restraints import PlaceTerms, Restraints, Terms
from random_features import random_features


def restrained(num_tokens: int, seed: int) -> Features:
    """Random features with one term or more of two kinds and a set of places."""
    features = random_features(num_tokens, seed=seed)
    last = features.num_atoms - 1
    contacts = Terms.of(
        torch.tensor([[0, last], [1, last], [2, last - 1]]), upper=6.0, group=torch.tensor([0, 0, 1]),
        labels=(f"first {seed}", f"second {seed}"),
    )  # fmt: skip
    places = PlaceTerms(Terms.of(torch.tensor([[1], [last]]), upper=1.0), torch.ones(2, 3), torch.tensor([True, False]))
    chirality = Terms.of(torch.tensor([[0, 1, 2, 3]]), lower=0.5)
    restraints = replace(Restraints.none(), contacts=contacts, positions=places, chirality=chirality)
    return replace(features, restraints=restraints)


def same(a: Restraints, b: Restraints) -> bool:
    def equal(x: object, y: object) -> bool:
        if isinstance(x, torch.Tensor) and isinstance(y, torch.Tensor):
            return torch.equal(x, y)
        if isinstance(x, tuple):
            return x == y
        return all(equal(getattr(x, f.name), getattr(y, f.name)) for f in fields(x))

    return equal(a, b)


def test_selecting_undoes_stacking() -> None:
    parts = [restrained(9, 0), random_features(5, seed=1), restrained(7, 2)]
    batch = Features.stack(parts)
    assert len(batch.restraints) == len(parts[0].restraints) + len(parts[2].restraints)
    for index, part in enumerate(parts):
        assert same(batch.select(index).restraints, part.restraints)
    assert batch.restraints.contacts.group.tolist() == [0, 0, 1, 2, 2, 3]
    assert batch.restraints.contacts.group_structure.tolist() == [0, 0, 2, 2]


def test_padding_does_not_touch_restraints() -> None:
    features = restrained(9, 0)
    assert same(features.pad(num_tokens=20, num_atoms=200).restraints, features.restraints)


def test_a_crop_keeps_the_terms_whose_atoms_it_keeps() -> None:
    features = restrained(9, 0)
    everything = features.crop(torch.arange(9))
    assert same(everything.restraints, features.restraints)
    tail = features.crop(torch.arange(4, 9)).restraints
    assert len(tail.contacts) == len(tail.chirality) == 0
    assert tail.positions.places.shape == (1, 3)
    assert tail.positions.aligned.tolist() == [False]
    cropped = features.crop(torch.arange(4, 9))
    atom = int(tail.positions.terms.atoms)
    assert torch.equal(cropped.ref_pos[0, atom], features.ref_pos[0, -1])


def test_a_group_that_lost_all_its_terms_is_gone_with_its_label() -> None:
    terms = Terms.of(torch.arange(4)[:, None], upper=1.0, group=torch.tensor([0, 1, 1, 2]), labels=("a", "b", "c"))
    kept = terms.keep(torch.tensor([True, False, False, True]))
    assert kept.group.tolist() == [0, 1]
    assert kept.labels == ("a", "c")


def test_lists_of_the_same_structure_join_with_groups_apart() -> None:
    named = Terms.of(torch.tensor([[0, 1]]), upper=1.0, labels=("x",))
    bare = Terms.of(torch.tensor([[2, 3], [4, 5]]), lower=2.0, group=torch.tensor([0, 0]))
    joined = Terms.join([named, bare])
    assert joined.group.tolist() == [0, 1, 1]
    assert joined.labels == ("x", "")
    assert joined.lower.tolist() == [float("-inf"), 2.0, 2.0]
    assert joined.structure.tolist() == [0, 0, 0]


def test_no_restraints_are_none() -> None:
    assert len(Restraints.none()) == 0
    assert same(Restraints.join([Restraints.none()] * 3, [0, 1, 2]), Restraints.none())
