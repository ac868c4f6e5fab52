"""What the network is conditioned on: the part made once per input, and the part made once per noise level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from frazil.features import Features
from frazil.nn.atoms import AtomFeatureEmbedding, AtomPairEmbedding, absent_key_bias, gather_tokens
from frazil.nn.attention import MASKED_LOGIT, AtomWindows
from frazil.nn.config import NetworkConfig
from frazil.nn.linear import Linear
from frazil.nn.primitives import FourierEmbedding, Transition, residual_linear


@dataclass(frozen=True, eq=False)
class TrunkOutput:
    """What a trunk gives: B structures of N tokens."""

    s_inputs: Tensor
    """[B, N, token_s] embedding of the input features."""
    s: Tensor
    """[B, N, token_s] single representation."""
    z: Tensor
    """[B, N, N, token_z] pair representation."""
    relative_positions: Tensor
    """[B, N, N, token_z] encoding of relative positions (AlphaFold 3, Algorithm 3)."""


@dataclass(frozen=True, eq=False)
class Conditioning:
    """Everything that the network reads besides coordinates and noise level; made once per input."""

    s_inputs: Tensor
    """[B, N, token_s]."""
    s_trunk: Tensor
    """[B, N, token_s]."""
    atom_q: Tensor
    """[B, A, atom_s] embedded atom features."""
    atom_c: Tensor
    """[B, A, atom_s] the same with the trunk's single representation."""
    atom_encoder_bias: tuple[Tensor, ...]
    """One [B, K, heads, W, H] a layer."""
    atom_decoder_bias: tuple[Tensor, ...]
    """One [B, K, heads, W, H] a layer."""
    token_bias: tuple[Tensor, ...]
    """One [B, 1, heads, N, N] a layer."""
    atom_key_bias: Tensor
    """[B, K, 1, 1, H], 0 or `MASKED_LOGIT`."""
    token_key_bias: Tensor
    """[B, 1, 1, 1, N], 0 or `MASKED_LOGIT`."""
    atom_token_index: Tensor
    """[B, A] int64."""
    atom_mask: Tensor
    """[B, A] bool."""

    @property
    def num_tokens(self) -> int:
        """N, padding included."""
        return self.s_trunk.shape[1]

    def select(self, rows: slice) -> Conditioning:
        """The structures `rows` of the batch."""
        chosen: dict[str, Any] = {
            name: tuple(t[rows] for t in value) if isinstance(value, tuple) else value[rows]
            for name, value in vars(self).items()
        }
        return Conditioning(**chosen)


class SingleConditioning(nn.Module):
    """Single representation and noise level to the signal that steers every token layer (Algorithm 21, lines 6-12)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        dim = 2 * config.token_s
        self.norm = nn.LayerNorm(dim)
        self.embed = Linear(dim, dim)
        self.fourier = FourierEmbedding(config.dim_fourier)
        self.fourier_norm = nn.LayerNorm(config.dim_fourier)
        self.fourier_embed = Linear(config.dim_fourier, dim, bias=False)
        self.transitions = nn.ModuleList(Transition(dim) for _ in range(config.conditioning_transition_layers))

    def forward(self, c_noise: Tensor, s_trunk: Tensor, s_inputs: Tensor) -> Tensor:
        """`c_noise` [B, S], singles [B, N, token_s] -> [B, S, N, 2 token_s]."""
        s = self.embed(self.norm(torch.cat((s_trunk, s_inputs), dim=-1)))
        level = self.fourier_embed(self.fourier_norm(self.fourier(c_noise)))
        s = level[:, :, None] + s[:, None]
        for transition in self.transitions:
            s = s + transition(s)
        return s


class PairConditioning(nn.Module):
    """Pair representation with relative positions (AlphaFold 3, Algorithm 21, lines 1-5)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(2 * config.token_z)
        self.embed = Linear(2 * config.token_z, config.token_z, bias=False)
        self.transitions = nn.ModuleList(
            Transition(config.token_z) for _ in range(config.conditioning_transition_layers)
        )

    def forward(self, z: Tensor, relative_positions: Tensor) -> Tensor:
        """Two [B, N, N, token_z] -> one."""
        z = self.embed(self.norm(torch.cat((z, relative_positions), dim=-1)))
        for transition in self.transitions:
            z = z + transition(z)
        return z


class BiasProjection(nn.Module):
    """Pair features to the attention bias of one layer."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.project = Linear(dim, heads, bias=False)

    def forward(self, pair: Tensor) -> Tensor:
        """[..., W, H, dim] -> [..., heads, W, H], contiguous, as attention reads it."""
        flat = self.norm(pair).flatten(-3, -2)
        return (self.project.weight @ flat.mT).unflatten(-1, pair.shape[-3:-1])


class DiffusionConditioning(nn.Module):
    """The part of the network that runs once per input: atom embeddings and the attention biases of every layer.

    Parameters
    ----------
    config : NetworkConfig
        Sizes and options.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.windows = AtomWindows(config.atoms_per_window_queries, config.atoms_per_window_keys)
        self.pair = PairConditioning(config)
        self.atom_features = AtomFeatureEmbedding(
            config.atom_s,
            name_characters=not config.use_no_atom_char,
            backbone=config.use_atom_backbone_feat,
            residue=config.use_residue_feats_atoms,
        )
        self.single_norm = nn.LayerNorm(config.token_s)
        self.single_to_atom = residual_linear(config.token_s, config.atom_s)
        self.atom_pair = AtomPairEmbedding(config)
        self.atom_encoder_bias = _projections(config.atom_encoder_depth, config.atom_z, config.atom_encoder_heads)
        self.atom_decoder_bias = _projections(config.atom_decoder_depth, config.atom_z, config.atom_decoder_heads)
        self.token_bias = _projections(config.token_transformer_depth, config.token_z, config.token_transformer_heads)

    def forward(self, features: Features, trunk: TrunkOutput) -> Conditioning:
        """Condition on features whose atom axis is a multiple of the window."""
        z = self.pair(trunk.z, trunk.relative_positions)
        atom_q, atom_c, pairs = self.embed_atoms(features, trunk.s, z)
        return Conditioning(
            s_inputs=trunk.s_inputs,
            s_trunk=trunk.s,
            atom_q=atom_q,
            atom_c=atom_c,
            atom_encoder_bias=tuple(layer(pairs) for layer in self.atom_encoder_bias),
            atom_decoder_bias=tuple(layer(pairs) for layer in self.atom_decoder_bias),
            token_bias=tuple(layer(z).unsqueeze(1) for layer in self.token_bias),
            atom_key_bias=absent_key_bias(features.atom_mask, self.windows, MASKED_LOGIT),
            token_key_bias=torch.where(features.token_mask, 0.0, MASKED_LOGIT)[:, None, None, None, :],
            atom_token_index=features.atom_token_index,
            atom_mask=features.atom_mask,
        )

    def embed_atoms(self, features: Features, s: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Atoms without and with their token's `s`, [B, A, atom_s], and pairs in windows [B, K, W, H, atom_z].

        `s` [B, N, token_s] is the trunk's, `z` [B, N, N, token_z] that of `pair`.
        """
        atom_q = self.atom_features(features)
        single = self.single_to_atom(self.single_norm(s))
        atom_c = atom_q + gather_tokens(single, features.atom_token_index, features.atom_mask)
        return atom_q, atom_c, self.atom_pair(features, atom_c, z)


def _projections(depth: int, dim: int, heads: int) -> nn.ModuleList:
    return nn.ModuleList(BiasProjection(dim, heads) for _ in range(depth))
