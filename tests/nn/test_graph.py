"""Pair features of molecules know the graph and the shape, not the order of atoms nor the conformer's frame."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from rdkit import Chem
from scipy.spatial.transform import Rotation
from torch import Tensor

from ccd_ligands import features_of, ligands, structure_of
from frazil.data import featurize
from frazil.denoiser import PRESETS
from frazil.features import Features
from frazil.nn.graph import (
    FARTHEST,
    LARGEST_RING,
    MoleculeGraphEmbedding,
    bonded_pairs,
    orientations,
    reference_distances,
    separations,
    smallest_rings,
)
from random_model import random_model

LIGANDS = ligands()
SOME = ("A1BN4", "A1AST", "A1B2Y", "JVO")
"""None of their stereocentres has four neighbours: of those, the first three count."""
CROWDED = ("QGO", "A1LZH")
"""With such centres."""


def parts(features: Features) -> dict[str, Tensor]:
    """Each [N, N, ...]."""
    adjacency = bonded_pairs(features)
    found = {
        "separation": separations(adjacency),
        "ring": smallest_rings(adjacency, features.token_bonds),
        "orientation": orientations(adjacency, features),
        "distance": reference_distances(features),
    }
    return {name: tensor[0] for name, tensor in found.items()}


def conformer_of(name: str) -> np.ndarray:
    return structure_of(LIGANDS[name]).ref_pos


def shuffled(name: str, seed: int) -> list[int]:
    return np.random.default_rng(seed).permutation(LIGANDS[name].GetNumAtoms()).tolist()


@pytest.mark.parametrize("name", SOME)
def test_another_order_of_atoms_only_reorders_the_features(name: str) -> None:
    conformer, order = conformer_of(name), shuffled(name, 1)
    before = parts(features_of(LIGANDS[name], conformer))
    after = parts(features_of(LIGANDS[name], conformer, order))
    assert before["orientation"].abs().sum() > 0
    for part, tensor in before.items():
        torch.testing.assert_close(after[part], tensor[order][:, order], msg=part)


@pytest.mark.parametrize("name", SOME + CROWDED)
@pytest.mark.parametrize("seed", [0, 1])
def test_orientation_is_the_turn_from_one_neighbour_to_the_next(name: str, seed: int) -> None:
    mol, conformer, order = LIGANDS[name], conformer_of(name), shuffled(name, seed)
    turned = parts(features_of(mol, conformer, order))["orientation"]
    expected = torch.zeros_like(turned)
    where = np.argsort(order)
    for centre, _ in Chem.FindMolChiralCenters(mol, useLegacyImplementation=False):
        around = sorted(int(where[atom.GetIdx()]) for atom in mol.GetAtomWithIdx(centre).GetNeighbors())[:3]
        spokes = conformer[[order[k] for k in around]] - conformer[centre]
        sign = np.sign(np.linalg.det(spokes.astype(float)))
        for k in range(3):
            expected[around[k], around[(k + 1) % 3]] += sign
            expected[around[(k + 1) % 3], around[k]] -= sign
    assert expected.abs().sum() > 0
    assert torch.equal(turned, expected)


@pytest.mark.parametrize("name", SOME)
def test_the_frame_of_the_conformer_changes_nothing(name: str) -> None:
    conformer = conformer_of(name)
    moved = Rotation.random(random_state=3).apply(conformer) + np.array([1.0, -2.0, 3.0])
    before, after = (parts(features_of(LIGANDS[name], one)) for one in (conformer, moved))
    for part, tensor in before.items():
        torch.testing.assert_close(after[part], tensor, msg=part, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", SOME)
def test_a_mirror_image_differs_in_orientations_alone(name: str) -> None:
    conformer = conformer_of(name)
    before, after = (parts(features_of(LIGANDS[name], one)) for one in (conformer, conformer * [1, 1, -1]))
    assert before["orientation"].abs().sum() > 0
    assert torch.equal(after.pop("orientation"), -before.pop("orientation"))
    for part, tensor in before.items():
        torch.testing.assert_close(after[part], tensor, msg=part)


@pytest.mark.parametrize("name", SOME)
def test_padding_changes_nothing_and_adds_nothing(name: str) -> None:
    features = featurize(structure_of(LIGANDS[name]))
    tokens = features.num_tokens
    before, after = parts(features), parts(features.pad(num_tokens=tokens + 5).pad_to_multiple(16))
    for part, tensor in before.items():
        torch.testing.assert_close(after[part][:tokens, :tokens], tensor, msg=part)
    after["separation"][range(tokens, tokens + 5), range(tokens, tokens + 5)] = FARTHEST + 1
    assert (after["separation"][tokens:] == FARTHEST + 1).all() and (after["separation"][:, tokens:] > FARTHEST).all()
    for part in ("ring", "orientation", "distance"):
        assert not after[part][tokens:].any() and not after[part][:, tokens:].any(), part


def test_a_batch_gives_each_structure_its_own() -> None:
    alone = [featurize(structure_of(LIGANDS[name])) for name in SOME]
    module = MoleculeGraphEmbedding(8)
    with torch.no_grad():
        together = module(Features.stack(alone))
        for k, features in enumerate(alone):
            N = features.num_tokens
            torch.testing.assert_close(together[k : k + 1, :N, :N], module(features), atol=1e-5, rtol=1e-5)


def test_separations_and_rings_are_those_that_rdkit_counts() -> None:
    sizes = set()
    for name, mol in LIGANDS.items():
        features = features_of(mol, np.zeros((mol.GetNumAtoms(), 3)))
        found = parts(features)
        far = torch.tensor(Chem.GetDistanceMatrix(mol)).clamp(max=FARTHEST + 1).long()
        assert torch.equal(found["separation"], far), name
        rings = torch.zeros_like(found["ring"])
        info = mol.GetRingInfo()
        for bond in mol.GetBonds():
            size = info.MinBondRingSize(bond.GetIdx())
            sizes.add(size)
            i, j = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
            rings[i, j] = rings[j, i] = size if size <= LARGEST_RING else 0
        assert torch.equal(found["ring"], rings), name
    assert {0, 3, 4, 5, 6, 7} <= sizes and max(sizes) > LARGEST_RING


def test_residues_of_many_atoms_have_no_distances_in_it() -> None:
    from frazil.data import read

    features = featurize(read("CC(=O)O"))
    merged = Features(**{**vars(features), "atom_token_index": torch.zeros_like(features.atom_token_index)})
    assert reference_distances(features).any() and not reference_distances(merged).any()


@pytest.mark.parametrize("name", ["A1BN4", "A1AST"])
def test_the_whole_model_denoises_alike_for_any_order_of_the_atoms(name: str) -> None:
    mol, conformer, order = LIGANDS[name], conformer_of(name), shuffled(name, 2)
    assert mol.GetNumAtoms() <= 32, "more than every window sees"
    model = random_model(PRESETS["ligand"])
    noisy = torch.tensor(conformer) + torch.randn(2, mol.GetNumAtoms(), 3, generator=torch.Generator().manual_seed(0))

    def denoised(features: Features, coords: Tensor) -> Tensor:
        features = model.prepare(features)
        padded = torch.nn.functional.pad(coords, (0, 0, 0, features.num_atoms - coords.shape[1]))
        with torch.no_grad():
            return model(features, padded[None], torch.tensor([[0.5, 4.0]]))[0, :, : coords.shape[1]]

    before = denoised(features_of(mol, conformer), noisy)
    after = denoised(features_of(mol, conformer, order), noisy[:, order])
    assert (before - noisy).abs().max() > 0.1
    torch.testing.assert_close(after, before[:, order], atol=1e-4, rtol=0)
