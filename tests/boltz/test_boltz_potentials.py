"""Every potential against boltz-community's: energy and gradient of the same coordinates at the same time."""

from __future__ import annotations

from math import pi
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("boltz")

from boltz.model.potentials import potentials as reference
from constrained import constrain, stack
from oracle import SMALL, random_batch

from frazil.boltz.features import restrained_features
from frazil.boltz.potentials import SoftmaxMean, UnderflowingSoftmaxMean, installed_union
from frazil.boltz.steering import SteeringArguments, reference_potentials
from frazil.potentials import (
    Chirality,
    Contacts,
    FlatBottomPotential,
    PlanarBonds,
    StereoBonds,
    Template,
    Weighted,
)
from frazil.potentials.segments import Segments

ALL = {"fk_steering": True, "physical_guidance_update": True, "contact_guidance_update": True}
NAMES = {
    "ReferenceSymmetricChains": "SymmetricChainCOMPotential",
    "VDWOverlap": "VDWOverlapPotential",
    "Connections": "ConnectionsPotential",
    "DistanceBounds": "PoseBustersPotential",
    "ReferenceChirality": "ChiralAtomPotential",
    "ReferenceStereoBonds": "StereoBondPotential",
    "ReferencePlanarBonds": "PlanarBondPotential",
    "ReferenceContacts": "ContactPotentital",
    "ReferenceTemplate": "TemplateReferencePotential",
}
TIMES = (0.05, 0.25, 0.3, 0.4, 0.5, 0.6, 0.75, 0.8, 1.0)


def feats_of(tokens: int, *, seed: int = 0, padded: bool = True, **options: Any) -> dict[str, Tensor]:
    return constrain(random_batch(SMALL, [tokens], padded=padded, seed=seed).feats, seed, **options)


def coords_of(feats: dict[str, Tensor], samples: int, scale: float = 6.0) -> Tensor:
    B, A = feats["atom_pad_mask"].shape
    return scale * torch.randn(B, samples, A, 3, generator=torch.Generator().manual_seed(3))


def ours(feats: dict[str, Tensor], **arguments: Any) -> dict[str, Weighted]:
    made = reference_potentials(feats, restrained_features(feats), SteeringArguments(**{**ALL, **arguments}))
    return {type(weighted.potential).__name__: weighted for weighted in made}


def theirs(**arguments: Any) -> dict[str, Any]:
    return {type(p).__name__: p for p in reference.get_potentials({**ALL, **arguments}, boltz2=True)}


def assert_near(ours: Tensor, theirs: Tensor) -> None:
    assert theirs.isfinite().all()
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5 * float(theirs.abs().max()))


@pytest.mark.parametrize("padded", [True, False], ids=["padded", "unpadded"])
@pytest.mark.parametrize("name", NAMES)
def test_energy_and_gradient_are_the_references(name: str, padded: bool) -> None:
    feats = feats_of(14, padded=padded)
    coords, potential, oracle = coords_of(feats, 3), ours(feats)[name].potential, theirs()[NAMES[name]]
    for t in (0.05, 0.3, 0.7, 1.0):
        parameters = oracle.compute_parameters(t)
        energy = oracle.compute(coords[0], feats, parameters)
        assert t < 1 or (energy > 0).all()
        assert_near(potential.energy(coords, t)[0], energy)
        assert_near(potential.gradient(coords, t)[0], oracle.compute_gradient(coords[0], feats, parameters))


@pytest.mark.parametrize(
    "arguments", [{name: False} for name in ALL] + [dict.fromkeys(list(ALL)[i:], False) for i in (0, 1)]
)
def test_potentials_and_weights_at_every_time_are_the_references(arguments: dict[str, bool]) -> None:
    made, oracle = ours(feats_of(14), **arguments), theirs(**arguments)
    assert [NAMES[name] for name in made] == list(oracle)
    for name, weighted in made.items():
        assert weighted.interval == oracle[NAMES[name]].parameters["guidance_interval"]
        for t in TIMES:
            parameters = oracle[NAMES[name]].compute_parameters(t)
            assert weighted.guidance.at(t) == parameters["guidance_weight"]
            assert weighted.resampling.at(t) == parameters["resampling_weight"]


def test_several_templates_are_taken_as_the_reference_takes_them() -> None:
    feats = feats_of(14, templates=3)
    coords, potential = coords_of(feats, 2), ours(feats)["ReferenceTemplate"].potential
    oracle = theirs()["TemplateReferencePotential"]
    assert_near(potential.energy(coords, 0.5)[0], oracle.compute(coords[0], feats, {}))
    assert_near(potential.gradient(coords, 0.5)[0], oracle.compute_gradient(coords[0], feats, {}))


def test_distant_unions_have_the_references_energy_and_gradient() -> None:
    feats = feats_of(14)
    coords, potential = coords_of(feats, 2, 500.0), ours(feats)["ReferenceContacts"].potential
    oracle = theirs()["ContactPotentital"]
    for t in (0.02, 0.3):
        parameters = oracle.compute_parameters(t)
        assert_near(potential.energy(coords, t)[0], oracle.compute(coords[0], feats, parameters))
        assert_near(potential.gradient(coords, t)[0], oracle.compute_gradient(coords[0], feats, parameters))


RIGHT = {Chirality: "Chiral", StereoBonds: "StereoBond", PlanarBonds: "PlanarBond", Contacts: "Contact"}


@pytest.mark.parametrize("kind", RIGHT)
def test_our_own_potentials_are_the_references_where_it_is_right(kind: type[FlatBottomPotential]) -> None:
    feats = feats_of(14)
    feats["contact_union_index"] = torch.arange(20)[None]
    coords, potential = coords_of(feats, 3), kind(restrained_features(feats))
    (oracle,) = (p for name, p in theirs().items() if name.startswith(RIGHT[kind]))
    for t in (0.05, 0.3, 1.0):
        parameters = oracle.compute_parameters(t)
        assert_near(potential.energy(coords, t)[0], oracle.compute(coords[0], feats, parameters))
        assert_near(potential.gradient(coords, t)[0], oracle.compute_gradient(coords[0], feats, parameters))


def test_our_template_has_the_references_energy() -> None:
    feats = feats_of(14, templates=3)
    coords = coords_of(feats, 3)
    energy = Template(restrained_features(feats)).energy(coords, 0.5)[0]
    assert_near(energy, theirs()["TemplateReferencePotential"].compute(coords[0], feats, {}))


def test_each_structure_of_a_batch_has_its_own_terms() -> None:
    single = [feats_of(14), feats_of(9, seed=1)]
    batch = stack(single)
    coords = coords_of(batch, 2)
    for name, weighted in ours(batch).items():
        for row, feats in enumerate(single):
            alone, atoms = ours(feats)[name].potential, feats["atom_pad_mask"].shape[1]
            part = coords[row : row + 1, :, :atoms]
            assert_near(weighted.potential.energy(coords, 0.3)[row], alone.energy(part, 0.3)[0])
            assert_near(weighted.potential.gradient(coords, 0.3)[row, :, :atoms], alone.gradient(part, 0.3)[0])


def test_the_references_dihedral_is_zero_for_exact_trans() -> None:
    feats = feats_of(14)
    trans = torch.tensor([[1.0, 1, 0], [0, 1, 0], [0, 0, 0], [-1, 0, 0]])
    index = feats["stereo_bond_index"] = torch.arange(4)[None, :, None]
    feats["stereo_bond_orientations"] = torch.ones(1, 1, dtype=torch.bool)
    coords = coords_of(feats, 1)
    coords[0, 0, index[0, :, 0]] = trans
    oracle = theirs()["StereoBondPotential"]
    energy = ours(feats)["ReferenceStereoBonds"].potential.energy(coords, 0.5)
    assert float(energy) == pytest.approx(float(oracle.compute(coords[0], feats, {"buffer": 0.5236}))) == pi - 0.5236


def test_without_terms_energies_are_zero() -> None:
    feats = random_batch(SMALL, [9]).feats
    coords = coords_of(feats, 2)
    for weighted in ours(feats).values():
        assert weighted.potential.num_terms == 0
        assert torch.equal(weighted.potential.energy(coords, 0.5), torch.zeros(1, 2))
        assert torch.equal(weighted.potential.gradient(coords, 0.5), torch.zeros_like(coords))


def test_the_union_of_boltz_2_2_is_the_mended_one_but_for_far_pairs_and_the_slope_of_the_weights() -> None:
    energies, groups, t = torch.tensor([[0.1], [0.4], [30.0], [31.0]]), Segments(torch.tensor([0, 0, 1, 1]), 2), 0.3
    old, mended = UnderflowingSoftmaxMean(), SoftmaxMean()
    near, far = old.energy(energies, groups, t)
    assert near == pytest.approx(float(mended.energy(energies, groups, t)[0])) and far == 0
    shares = old.shares(energies, groups, t)
    assert shares[2:].tolist() == [[0.0], [0.0]]
    # both lie around the softmax, whose values add up to 1
    around = (shares + mended.shares(energies, groups, t))[:2] / 2
    assert (around > 0).all() and around.sum() == pytest.approx(1)
    assert type(installed_union()) is SoftmaxMean
