"""The reference modules with random weights in every parameter, and random batches in their layout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SMALL = {
    "token_s": 32,
    "atom_s": 16,
    "atom_encoder_depth": 2,
    "atom_encoder_heads": 2,
    "token_transformer_depth": 3,
    "token_transformer_heads": 4,
    "atom_decoder_depth": 2,
    "atom_decoder_heads": 2,
    "dim_fourier": 24,
    "token_z": 12,
    "atom_z": 8,
}
FULL = {
    "token_s": 384,
    "atom_s": 128,
    "token_transformer_depth": 24,
    "token_transformer_heads": 16,
    "token_z": 128,
    "atom_z": 16,
}
_SCORE_ONLY = {"dim_fourier", "activation_checkpointing", "transformer_post_ln", "sigma_data"}
_CONDITIONING_ONLY = {
    "token_z",
    "atom_z",
    "use_no_atom_char",
    "use_atom_backbone_feat",
    "use_residue_feats_atoms",
}


def randomise(module: nn.Module, seed: int) -> None:
    """Matrices N(0, 1/fan_in), biases 0.1 N(0, 1), norm scales 1 + 0.1 N(0, 1)."""
    generator = torch.Generator().manual_seed(seed)
    norms = {id(m.weight) for m in module.modules() if isinstance(m, nn.LayerNorm) and m.weight is not None}
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if id(parameter) in norms:
                parameter.copy_(1 + 0.1 * noise)
            elif parameter.dim() == 2:
                parameter.copy_(noise / parameter.shape[1] ** 0.5)
            else:
                parameter.copy_(0.1 * noise)


def reference_modules(sizes: dict[str, Any], seed: int = 0, **options: Any) -> tuple[nn.Module, nn.Module]:
    """(AtomDiffusion, DiffusionConditioning) of boltz-community; `options` for either or for AtomDiffusion."""
    from boltz.model.modules.diffusion_conditioning import DiffusionConditioning
    from boltz.model.modules.diffusionv2 import AtomDiffusion

    network = {**sizes, **{k: v for k, v in options.items() if k in NETWORK_OPTIONS}}
    diffusion = {k: v for k, v in options.items() if k not in NETWORK_OPTIONS}
    conditioning = {k: v for k, v in network.items() if k not in _SCORE_ONLY}
    conditioning["atom_feature_dim"] = _atom_feature_dim(network)
    score = {k: v for k, v in network.items() if k not in _CONDITIONING_ONLY}
    modules = AtomDiffusion(score, **diffusion), DiffusionConditioning(**conditioning)
    for offset, module in enumerate(modules):
        randomise(module, seed + offset)
        module.eval()
    return modules


NETWORK_OPTIONS = {
    "activation_checkpointing",
    "transformer_post_ln",
    "use_no_atom_char",
    "use_atom_backbone_feat",
    "use_residue_feats_atoms",
    "atoms_per_window_queries",
    "atoms_per_window_keys",
    "conditioning_transition_layers",
}


def _atom_feature_dim(network: dict[str, Any]) -> int:
    return (
        132
        + 256 * (not network.get("use_no_atom_char", False))
        + 17 * network.get("use_atom_backbone_feat", False)
        + 38 * network.get("use_residue_feats_atoms", False)
    )


@dataclass
class Batch:
    """Inputs of the reference's modules."""

    feats: dict[str, Tensor]
    s_trunk: Tensor
    s_inputs: Tensor
    z: Tensor
    relative_positions: Tensor


def random_batch(
    sizes: dict[str, Any], tokens: list[int], *, padded: bool = True, seed: int = 0, window: int = 32
) -> Batch:
    """Structures with `tokens[b]` tokens of 1-9 atoms; `padded` adds 3 absent tokens and a whole absent window."""
    g = torch.Generator().manual_seed(seed)
    counts = [torch.randint(1, 10, (n,), generator=g) for n in tokens]
    if not padded:
        for count in counts:
            _fill_window(count, window, max(-(-int(c.sum()) // window) * window for c in counts))
    B, N = len(tokens), max(tokens) + (3 if padded else 0)
    A = -(-max(int(c.sum()) for c in counts) // window) * window + (window if padded else 0)
    feats = _empty_feats(B, N, A)
    for b, count in enumerate(counts):
        _fill_structure(feats, b, count, g)
    draw = lambda *shape: torch.randn(shape, generator=g)  # noqa: E731
    ts, tz = sizes["token_s"], sizes["token_z"]
    feats["coords"] = 15 / 3**0.5 * draw(B, A, 3) * feats["atom_pad_mask"][..., None]
    return Batch(feats, draw(B, N, ts), draw(B, N, ts), draw(B, N, N, tz), draw(B, N, N, tz))


def uniform_batch(sizes: dict[str, Any], tokens: int, atoms_per_token: int, seed: int = 0) -> Batch:
    """One structure of equal tokens, without padding where the atoms fill whole windows."""
    g = torch.Generator().manual_seed(seed)
    feats = _empty_feats(1, tokens, -(-tokens * atoms_per_token // 32) * 32)
    _fill_structure(feats, 0, torch.full((tokens,), atoms_per_token), g)
    feats["coords"] = 15 / 3**0.5 * torch.randn(feats["ref_pos"].shape, generator=g)
    single, pair = (1, tokens, sizes["token_s"]), (1, tokens, tokens, sizes["token_z"])
    return Batch(feats, *(torch.randn(shape, generator=g) for shape in (single, single, pair, pair)))


def _fill_window(count: Tensor, window: int, total: int) -> None:
    """Enlarge tokens until the structure has exactly `total` atoms."""
    place = 0
    while int(count.sum()) < total:
        count[place % len(count)] += 1
        place += 1


def _empty_feats(B: int, N: int, A: int) -> dict[str, Tensor]:
    return {
        "atom_pad_mask": torch.zeros(B, A),
        "atom_resolved_mask": torch.zeros(B, A),
        "atom_to_token": torch.zeros(B, A, N),
        "token_pad_mask": torch.zeros(B, N),
        "mol_type": torch.zeros(B, N, dtype=torch.int64),
        "res_type": torch.zeros(B, N, 33),
        "modified": torch.zeros(B, N, dtype=torch.int64),
        "ref_pos": torch.zeros(B, A, 3),
        "ref_charge": torch.zeros(B, A),
        "ref_element": torch.zeros(B, A, 128),
        "ref_atom_name_chars": torch.zeros(B, A, 4, 64),
        "ref_space_uid": torch.zeros(B, A, dtype=torch.int64),
        "atom_backbone_feat": torch.zeros(B, A, 17),
        "plddt": torch.zeros(B, A),
    }


def _fill_structure(feats: dict[str, Tensor], b: int, count: Tensor, g: torch.Generator) -> None:
    n, a = len(count), int(count.sum())
    token_of_atom = torch.arange(n).repeat_interleave(count)
    integers = lambda high, *shape: torch.randint(high, shape, generator=g)  # noqa: E731
    feats["atom_pad_mask"][b, :a] = 1
    feats["atom_resolved_mask"][b, :a] = (torch.rand(a, generator=g) < 0.9).float()
    feats["atom_to_token"][b, torch.arange(a), token_of_atom] = 1
    feats["token_pad_mask"][b, :n] = 1
    feats["mol_type"][b, :n] = integers(4, n)
    feats["res_type"][b, :n] = F.one_hot(integers(33, n), 33).float()
    feats["modified"][b, :n] = integers(2, n)
    feats["ref_pos"][b, :a] = 2 * torch.randn(a, 3, generator=g)
    feats["ref_charge"][b, :a] = integers(3, a).float() - 1
    feats["ref_element"][b, :a] = F.one_hot(integers(128, a), 128).float()
    feats["ref_atom_name_chars"][b, :a] = F.one_hot(integers(64, a, 4), 64).float()
    feats["ref_space_uid"][b, :a] = token_of_atom // 2
    feats["atom_backbone_feat"][b, :a] = F.one_hot(integers(17, a), 17).float()
    feats["plddt"][b, :a] = torch.rand(a, generator=g)


def condition(conditioning: nn.Module, batch: Batch) -> dict[str, Any]:
    """The dictionary that Boltz-2 hands to its structure module."""
    names = ("q", "c", "to_keys", "atom_enc_bias", "atom_dec_bias", "token_trans_bias")
    values = conditioning(
        s_trunk=batch.s_trunk,
        z_trunk=batch.z,
        relative_position_encoding=batch.relative_positions,
        feats=batch.feats,
    )
    return dict(zip(names, values, strict=True))
