"""Random rigid motion of the reference conformers."""

from dataclasses import replace

import pytest
import torch
from pdb_text import ASSETS, FILES

from frazil.data import featurize, randomize_reference, read, share_reference_frame, spatial_crop, turn_torsions
from frazil.features import Features
from frazil.geometry import dihedral


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


@pytest.fixture(scope="module")
def ligand():
    """Ibuprofen somewhere in space, not as its reference conformer lies."""
    features = featurize(read("IBP"))
    bent = features.ref_pos + 0.3 * torch.randn(features.ref_pos.shape, generator=generator(5))
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=generator(6)))[0]
    rotation = rotation * torch.linalg.det(rotation)
    resolved = torch.ones_like(features.resolved_mask)
    return replace(features, coords=(bent @ rotation + 40)[:, None], resolved_mask=resolved)


def test_coordinates_lie_on_the_reference_whatever_their_own_frame(ligand):
    laid = share_reference_frame(ligand, generator(0))
    moved = replace(ligand, coords=ligand.coords @ torch.diag(torch.tensor([-1.0, -1, 1])) - 7)
    assert torch.allclose(laid.coords, share_reference_frame(moved, generator(0)).coords, atol=1e-3)
    distance = (laid.coords[0, 0] - laid.ref_pos[0]).square().sum(-1).mean().sqrt()
    assert 0.3 < distance < 0.7
    assert laid.ref_pos.mean(dim=1).abs().max() < 1e-4 and laid.coords.mean(dim=2).abs().max() < 1e-3


def test_reference_and_coordinates_turn_together(ligand):
    one, other = (share_reference_frame(ligand, generator(seed)) for seed in (1, 2))
    assert not torch.allclose(one.ref_pos, other.ref_pos, atol=0.1)
    pairs = [torch.cdist(found.coords[:, 0], found.ref_pos) for found in (one, other)]
    assert torch.allclose(*pairs, atol=1e-3)


def test_unresolved_atoms_stay_at_zero_and_do_not_count(ligand):
    mask = ligand.resolved_mask.clone()
    mask[..., :3] = False
    wild = replace(ligand, resolved_mask=mask, coords=torch.where(mask[..., None], ligand.coords, 1e4))
    laid = share_reference_frame(wild, generator(0))
    assert laid.coords[~mask].abs().max() == 0
    assert laid.coords.abs().max() < 20


@pytest.fixture(scope="module")
def jointed():
    """A chain with a stereocentre, a double bond and a ring; bonds 1-2, 4-5, 6-8 and 8-9 (from 0) can be turned."""
    return featurize(read("C[C@H](O)C/C=C/C(=O)Nc1ccccc1"))


def test_lengths_angles_rings_double_bonds_and_stereo_stay(jointed):
    turned = turn_torsions(jointed, generator(0))
    before, after = (torch.cdist(one.ref_pos, one.ref_pos)[0] for one in (jointed, turned))
    joined = torch.zeros_like(before)
    i, j = jointed.token_bonds[0].T
    joined[i, j] = joined[j, i] = 1
    near = (joined @ joined + joined) > 0
    near[9:, 9:] = True
    near[3, 6] = True
    assert torch.allclose(before[near], after[near], atol=1e-4)
    assert (before - after).abs()[~near].max() > 0.5
    around = [0, 2, 3, 1]
    assert torch.allclose(volume(jointed.ref_pos[0, around]), volume(turned.ref_pos[0, around]), atol=1e-3)


def test_all_angles_are_alike_likely(jointed):
    torsions = []
    for seed in range(200):
        place = turn_torsions(jointed, generator(seed)).ref_pos[0]
        torsions.append(dihedral(*place[[2, 1, 3, 4]]))
    resultant = torch.exp(1j * torch.stack(torsions)).mean().abs()
    # Rayleigh's test: 200 uniform angles exceed this once in 10,000
    assert resultant < (9.2 / 200) ** 0.5
    assert torch.equal(*(turn_torsions(jointed, generator(3)).ref_pos for _ in range(2)))


def test_conformers_of_residues_are_turned_each_within_itself(features):
    turned = turn_torsions(features, generator(0))
    bonds = features.representative_atom_index[0][features.token_bonds[0]]
    moved = 0
    for atoms in spaces(features):
        before, after = (torch.cdist(one.ref_pos[0], one.ref_pos[0]) for one in (features, turned))
        single = len(features.atom_token_index[0, atoms].unique()) == 1
        within = atoms[bonds].all(dim=-1)
        near = atoms[:, None] & atoms if single else torch.zeros_like(before, dtype=torch.bool)
        near[tuple(bonds[within].T)] = True
        assert torch.allclose(before[near], after[near], atol=1e-4)
        moved += bool((before - after)[atoms][:, atoms].abs().max() > 0.1)
    assert moved == 3, "the modified residues, whose tokens are atoms"


def test_what_has_no_bond_to_turn_about_stays(jointed):
    for smiles in ("[Na+]", "CC", "c1ccccc1", "C=C"):
        rigid = featurize(read(smiles))
        assert torch.equal(turn_torsions(rigid, generator(0)).ref_pos, rigid.ref_pos)
    flat = replace(jointed, ref_pos=torch.zeros_like(jointed.ref_pos))
    assert torch.equal(turn_torsions(flat, generator(0)).ref_pos, flat.ref_pos)
    with pytest.raises(ValueError, match="one structure"):
        turn_torsions(Features.stack([jointed, jointed]), generator(0))
