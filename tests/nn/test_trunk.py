from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from frazil.errors import InputError
from frazil.features import Features
from frazil.nn.config import NetworkConfig, TrunkConfig
from frazil.nn.trunk import FileTrunk, RelativePositionEncoding, SmallTrunk
from random_features import random_features

SIZES = NetworkConfig(token_s=16, token_z=8)


def trunk() -> SmallTrunk:
    module = SmallTrunk(SIZES, TrunkConfig(depth=2, heads=2, atom_s=8))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return module


@pytest.mark.parametrize("cyclic", [False, True])
def test_relative_positions_are_the_references(cyclic: bool) -> None:
    encoders = pytest.importorskip("boltz.model.modules.encodersv2")
    theirs = encoders.RelativePositionEncoder(6, r_max=4, fix_sym_check=True, cyclic_pos_enc=True)
    ours = RelativePositionEncoding(6, max_residue_offset=4)
    position, token, entity, chain = theirs.linear_layer.weight.T.split([10, 10, 1, 6])
    with torch.no_grad():
        ours.residue.weight.copy_(position)
        ours.token.weight.copy_(token)
        ours.same_entity.weight.copy_(torch.cat([torch.zeros_like(entity), entity]))
        ours.chain.weight.copy_(chain)
    features = random_features(24, chains=4)
    if cyclic:
        features = replace(features, cyclic_period=torch.full((1, 24), 6) * (features.asym_id == 1))
    names = ("asym_id", "residue_index", "entity_id", "token_index", "sym_id", "cyclic_period")
    expected = theirs({name: getattr(features, name) for name in names})
    torch.testing.assert_close(ours(features), expected)


def test_padding_and_batch_do_not_change_the_representations() -> None:
    model = trunk()
    one, other = random_features(9), random_features(14, seed=1)
    with torch.no_grad():
        alone = model(one)
        together = model(Features.stack([one, other]))
    for name in ("s_inputs", "s"):
        torch.testing.assert_close(getattr(together, name)[:1, :9], getattr(alone, name))
    for name in ("z", "relative_positions"):
        torch.testing.assert_close(getattr(together, name)[:1, :9, :9], getattr(alone, name))


def test_a_bond_changes_the_pair_and_its_order_of_atoms_does_not() -> None:
    model = trunk()
    features = random_features(9)
    swapped = replace(features, token_bonds=features.token_bonds.flip(-1))
    unbonded = replace(features, token_bonds=torch.full_like(features.token_bonds, -1))
    with torch.no_grad():
        z, z_swapped, z_unbonded = (model(f).z for f in (features, swapped, unbonded))
    assert torch.equal(z, z_swapped)
    assert not torch.allclose(z[0, 0, 1], z_unbonded[0, 0, 1])


def write_trunk(path: Path, tokens: int, **changes: torch.Tensor) -> None:
    tensors = {
        "s_inputs": torch.randn(tokens, 16),
        "s": torch.randn(tokens, 16),
        "z": torch.randn(tokens, tokens, 8),
        "relative_positions": torch.randn(tokens, tokens, 8),
    }
    save_file({k: v for k, v in (tensors | changes).items() if v.numel()}, path)


def test_stored_representations_come_back_padded(tmp_path: Path) -> None:
    write_trunk(tmp_path / "t.safetensors", 9)
    out = FileTrunk(tmp_path / "t.safetensors")(random_features(9).pad(num_tokens=16))
    assert out.s.shape == (1, 16, 16) and out.z.shape == (1, 16, 16, 8)
    assert not out.z[0, 9:].any() and not out.z[0, :, 9:].any()


@pytest.mark.parametrize(
    ("change", "message"),
    [({"s": torch.zeros(0)}, "no tensor s"), ({"z": torch.zeros(9, 4, 8)}, "z is"), ({}, "9 tokens")],
)
def test_unfit_files_are_refused_in_one_line(tmp_path: Path, change: dict[str, torch.Tensor], message: str) -> None:
    write_trunk(tmp_path / "t.safetensors", 9, **change)
    with pytest.raises(InputError, match=message) as error:
        FileTrunk(tmp_path / "t.safetensors")(random_features(8))
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_safetensors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.safetensors").write_bytes(b"nonsense")
    with pytest.raises(InputError, match=r"t\.safetensors"):
        FileTrunk(tmp_path / "t.safetensors")
    with pytest.raises(InputError, match="absent"):
        FileTrunk(tmp_path / "absent")
