"""Trunks: from features to the single and pair representations that condition the diffusion module."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, final

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from frazil import chemistry
from frazil.errors import InputError
from frazil.features import Features
from frazil.nn.atoms import AtomFeatureEmbedding, mean_over_atoms
from frazil.nn.attention import MASKED_LOGIT, PairBiasAttention, WholeSequence
from frazil.nn.conditioning import BiasProjection, TrunkOutput
from frazil.nn.config import NetworkConfig, TrunkConfig
from frazil.nn.graph import MoleculeGraphEmbedding
from frazil.nn.linear import Linear
from frazil.nn.primitives import Transition, residual_linear

BOND_TYPES = 6


class Trunk(Protocol):
    """Anything that gives representations for features."""

    def __call__(self, features: Features) -> TrunkOutput:
        """Run once per input."""


class RelativePositionEncoding(nn.Module):
    """Clipped offsets between residues, tokens and chains (AlphaFold 3, Algorithm 3), looked up by index.

    Residue offsets of a cyclic polymer are taken the short way round the ring.

    Parameters
    ----------
    dim : int
        Width of the pair representation.
    max_residue_offset, max_chain_offset : int
        Larger offsets are clipped.
    token_offsets : bool
        Whether the order of tokens within a residue, that is of a ligand's atoms in their file, is told.
    """

    def __init__(
        self, dim: int, max_residue_offset: int = 32, max_chain_offset: int = 2, *, token_offsets: bool = True
    ) -> None:
        super().__init__()
        self.token_offsets = token_offsets
        self.max_residue_offset = max_residue_offset
        self.max_chain_offset = max_chain_offset
        self.residue = nn.Embedding(2 * max_residue_offset + 2, dim)
        self.token = nn.Embedding(2 * max_residue_offset + 2, dim)
        self.chain = nn.Embedding(2 * max_chain_offset + 2, dim)
        self.same_entity = nn.Embedding(2, dim)
        for table in (self.residue, self.token, self.chain, self.same_entity):
            nn.init.normal_(table.weight, std=0.5)

    def forward(self, features: Features) -> Tensor:
        """[B, N, N, dim]."""
        same_chain = _pairwise_equal(features.asym_id)
        same_residue = same_chain & _pairwise_equal(features.residue_index)
        same_entity = _pairwise_equal(features.entity_id)
        residue = _wrap(_pairwise_difference(features.residue_index), features.cyclic_period)
        token = _pairwise_difference(features.token_index * self.token_offsets)
        copy = _pairwise_difference(features.sym_id)
        return (
            self.residue(_clip(residue, self.max_residue_offset, same_chain))
            + self.token(_clip(token, self.max_residue_offset, same_residue))
            + self.chain(_clip(copy, self.max_chain_offset, same_entity))
            + self.same_entity(same_entity.long())
        )


class TrunkBlock(nn.Module):
    """Attention over tokens biased by pairs, then pairs updated from tokens: a pairformer without triangles."""

    def __init__(self, token_s: int, token_z: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(token_s)
        self.bias = BiasProjection(token_z, heads)
        self.attention = PairBiasAttention(token_s, heads)
        self.transition = Transition(token_s)
        self.outer_norm = nn.LayerNorm(token_s)
        self.outer = Linear(token_s, 2 * token_z, bias=False)
        self.outer_out = residual_linear(token_z, token_z)
        self.pair_transition = Transition(token_z)

    def forward(self, s: Tensor, z: Tensor, key_bias: Tensor) -> tuple[Tensor, Tensor]:
        """`s` [B, N, token_s], `z` [B, N, N, token_z] -> the same, updated."""
        bias = self.bias(z).unsqueeze(1)
        s = s + self.attention(self.norm(s)[:, None], bias, key_bias, WholeSequence())[:, 0]
        s = s + self.transition(s)
        left, right = self.outer(self.outer_norm(s)).chunk(2, dim=-1)
        z = z + self.outer_out(left[:, :, None] * right[:, None])
        return s, z + self.pair_transition(z)


@final
class SmallTrunk(nn.Module):
    """The default trunk: atom features pooled to tokens, residue types, relative positions, bonds, a few blocks.

    Parameters
    ----------
    network : NetworkConfig
        Gives the widths `token_s` and `token_z`.
    config : TrunkConfig
        Depth, heads and reach.
    """

    def __init__(self, network: NetworkConfig, config: TrunkConfig) -> None:
        super().__init__()
        token_s, token_z = network.token_s, network.token_z
        self.atom_features = AtomFeatureEmbedding(
            config.atom_s, name_characters=not config.molecule_graph, backbone=True
        )
        self.atom_to_token = Linear(config.atom_s, token_s, bias=False)
        self.residue_type = nn.Embedding(len(chemistry.RESIDUE_TYPES), token_s)
        self.molecule_type = nn.Embedding(len(chemistry.MOLECULE_TYPES), token_s)
        self.modified = nn.Embedding(2, token_s)
        self.relative_positions = RelativePositionEncoding(
            token_z, config.max_residue_offset, config.max_chain_offset, token_offsets=not config.molecule_graph
        )
        self.bond_type = nn.Embedding(BOND_TYPES, token_z)
        self.graph = MoleculeGraphEmbedding(token_z) if config.molecule_graph else None
        self.pair_from_single = Linear(token_s, 2 * token_z, bias=False)
        self.blocks = nn.ModuleList(TrunkBlock(token_s, token_z, config.heads) for _ in range(config.depth))
        self.single_norm = nn.LayerNorm(token_s)

    def forward(self, features: Features) -> TrunkOutput:
        """Run once per input."""
        atoms = F.relu(self.atom_features(features))[:, None]
        pooled = mean_over_atoms(atoms, features.atom_token_index, features.atom_mask, features.num_tokens)[:, 0]
        s_inputs = (
            self.atom_to_token(pooled)
            + self.residue_type(features.res_type)
            + self.molecule_type(features.mol_type)
            + self.modified(features.modified.long())
        )
        relative = self.relative_positions(features)
        left, right = self.pair_from_single(self.single_norm(s_inputs)).chunk(2, dim=-1)
        z = left[:, :, None] + right[:, None] + relative + self.bond_type(_bond_types(features))
        if self.graph is not None:
            z = z + self.graph(features)
        key_bias = torch.where(features.token_mask, 0.0, MASKED_LOGIT)[:, None, None, None, :]
        s = s_inputs
        for block in self.blocks:
            s, z = block(s, z, key_bias)
        return TrunkOutput(s_inputs=s_inputs, s=s, z=z, relative_positions=relative)


@final
class FileTrunk(nn.Module):
    """A trunk whose output was computed elsewhere and lies in a safetensors file.

    Parameters
    ----------
    path : Path
        Holds `s_inputs` [N, token_s], `s` [N, token_s], `z` [N, N, token_z], `relative_positions` [N, N, token_z],
        perhaps among others.

    Raises
    ------
    InputError
        If the file cannot be read, a tensor is missing, misshapen or not finite, or N is not the input's number of
        tokens.
    """

    NAMES = ("s_inputs", "s", "z", "relative_positions")

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        try:
            with safe_open(str(path), framework="pt") as file:
                missing = set(self.NAMES) - set(file.keys())
                if missing:
                    raise InputError(f"{path}: no tensor {', '.join(sorted(missing))}; needs {', '.join(self.NAMES)}")
                tensors = {name: file.get_tensor(name).float() for name in self.NAMES}
        except (OSError, SafetensorError) as error:
            raise InputError(f"{path}: cannot be read as safetensors ({error})") from error
        tokens = len(torch.atleast_1d(tensors["s"]))
        for name, tensor in tensors.items():
            expected = (tokens,) if name.startswith("s") else (tokens, tokens)
            if tensor.shape[:-1] != expected:
                raise InputError(f"{path}: {name} is {tuple(tensor.shape)}, expected {expected} x channels")
            if not bool(torch.isfinite(tensor).all()):
                raise InputError(f"{path}: {name} holds NaN or infinity; make it again, in float32 if it was bf16")
        for one, other in (("s_inputs", "s"), ("relative_positions", "z")):
            if tensors[one].shape != tensors[other].shape:
                raise InputError(
                    f"{path}: {one} has {tensors[one].shape[-1]} channels, {other} {tensors[other].shape[-1]}"
                )
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor, persistent=False)

    @property
    def widths(self) -> tuple[int, int]:
        """(token_s, token_z) of the network that it was made for."""
        return self.get_buffer("s").shape[-1], self.get_buffer("z").shape[-1]

    def forward(self, features: Features) -> TrunkOutput:
        """The stored representations on the features' device, padded to their number of tokens."""
        tokens = self.get_buffer("s").shape[0]
        present = features.token_mask.sum(dim=1)
        if features.batch_size != 1 or int(present) != tokens:
            raise InputError(f"{self.path}: made for {tokens} tokens, the input has {present.tolist()}")
        extra = features.num_tokens - tokens
        single, pair = (0, 0, 0, extra), (0, 0, 0, extra, 0, extra)
        return TrunkOutput(
            **{
                name: F.pad(self.get_buffer(name).to(features.device), single if name.startswith("s") else pair)[None]
                for name in self.NAMES
            }
        )


def _pairwise_equal(x: Tensor) -> Tensor:
    return x[:, :, None] == x[:, None, :]


def _pairwise_difference(x: Tensor) -> Tensor:
    return x[:, :, None] - x[:, None, :]


def _wrap(offset: Tensor, period: Tensor) -> Tensor:
    """Offsets in a ring of `period` residues taken the short way; period 0 is a line."""
    ring = period[:, :, None].expand_as(offset)
    turns = torch.round(offset / ring.clamp(min=1)).long()
    return torch.where(ring > 0, offset - ring * turns, offset)


def _clip(offset: Tensor, reach: int, comparable: Tensor) -> Tensor:
    """0..2 reach for clipped offsets, 2 reach + 1 for pairs that cannot be compared."""
    return torch.where(comparable, (offset + reach).clamp(0, 2 * reach), 2 * reach + 1)


def _bond_types(features: Features) -> Tensor:
    """[B, N, N] int64, 0 without a bond."""
    B, N = features.token_mask.shape
    i, j = features.token_bonds.clamp(min=0).unbind(dim=-1)
    order = (features.token_bond_type * (features.token_bonds[..., 0] >= 0)).clamp(max=BOND_TYPES - 1)
    flat = torch.zeros(B, N * N, dtype=torch.int64, device=i.device)
    flat = flat.scatter_reduce(1, i * N + j, order, "amax").scatter_reduce(1, j * N + i, order, "amax")
    return flat.view(B, N, N)
