"""Atoms: their features, the pairs in their windows, and the way from atoms to tokens and back."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frazil import chemistry
from frazil.features import Features
from frazil.nn.attention import AtomWindows, DiffusionTransformer
from frazil.nn.config import NetworkConfig
from frazil.nn.linear import Float32Linear, Linear
from frazil.nn.primitives import residual_linear


def gather_tokens(x: Tensor, atom_token_index: Tensor, atom_mask: Tensor) -> Tensor:
    """Rows of tokens handed to their atoms.

    Parameters
    ----------
    x : Tensor
        [B, ..., N, D].
    atom_token_index, atom_mask : Tensor
        [B, A] int64 and bool.

    Returns
    -------
    Tensor
        [B, ..., A, D], zero for absent atoms.
    """
    index = atom_token_index.view(len(x), *[1] * (x.dim() - 3), -1, 1)
    index = index.expand(*x.shape[:-2], atom_token_index.shape[1], x.shape[-1])
    return x.gather(-2, index) * atom_mask.view(len(x), *[1] * (x.dim() - 3), -1, 1)


def mean_over_atoms(x: Tensor, atom_token_index: Tensor, atom_mask: Tensor, num_tokens: int) -> Tensor:
    """Mean of the atoms of each token.

    Parameters
    ----------
    x : Tensor
        [B, S, A, D].
    atom_token_index, atom_mask : Tensor
        [B, A] int64 and bool.
    num_tokens : int
        N.

    Returns
    -------
    Tensor
        [B, S, N, D], zero for a token without atoms.
    """
    B, S, _, D = x.shape
    # sums of bfloat16 would lose what the later atoms of a token add
    kind, x = x.dtype, x.float() if x.dtype == torch.bfloat16 else x
    present = atom_mask.to(x.dtype)
    rows = torch.arange(B * S, device=x.device).view(B, S, 1) * num_tokens + atom_token_index[:, None]
    total = x.new_zeros(B * S * num_tokens, D)
    total = total.index_add(0, rows.flatten(), (x * present[:, None, :, None]).flatten(0, 2))
    count = x.new_zeros(B, num_tokens).scatter_add(1, atom_token_index, present)
    return (total.view(B, S, num_tokens, D) / (count[:, None, :, None] + 1e-6)).to(kind)


class AtomFeatureEmbedding(nn.Module):
    """Linear embedding of an atom's features, looked up by index where a feature is a class.

    One weight over all inputs, in this order: position 3, charge 1, element 128, and as the options say, name
    characters 4 x 64, backbone class 17, residue type 33 with modified flag and molecule type 4.
    """

    def __init__(
        self, dim: int, *, name_characters: bool = True, backbone: bool = False, residue: bool = False
    ) -> None:
        super().__init__()
        self._sections = [3, 1, chemistry.NUM_ELEMENTS]
        self._sections += [chemistry.NUM_NAME_CHARACTERS] * (chemistry.NAME_LENGTH * name_characters)
        self._sections += [chemistry.BACKBONE_CLASSES] * backbone
        self._sections += [len(chemistry.RESIDUE_TYPES), 1, len(chemistry.MOLECULE_TYPES)] * residue
        self.linear = Linear(sum(self._sections), dim)
        self._options = (name_characters, backbone, residue)

    def forward(self, features: Features) -> Tensor:
        """[B, A, dim]; an absent atom gets the bias alone."""
        name_characters, backbone, residue = self._options
        weights = iter(self.linear.weight.split(self._sections, dim=1))
        with torch.autocast(features.device.type, enabled=False):
            total = F.linear(features.ref_pos, next(weights))
            total = total + F.linear(features.ref_charge[..., None], next(weights))
        total = total + F.embedding(features.ref_element, next(weights).T)
        if name_characters:
            for place in range(chemistry.NAME_LENGTH):
                total = total + F.embedding(features.ref_atom_name_chars[..., place], next(weights).T)
        if backbone:
            total = total + F.embedding(features.backbone_index, next(weights).T)
        if residue:
            token = features.atom_token_index
            total = total + F.embedding(features.res_type.gather(1, token), next(weights).T)
            modified = features.modified.gather(1, token).to(total.dtype)
            total = total + F.linear(modified[..., None], next(weights))
            total = total + F.embedding(features.mol_type.gather(1, token), next(weights).T)
        return total * features.atom_mask[..., None] + self.linear.bias


class AtomPairEmbedding(nn.Module):
    """Pair features inside the windows, from reference conformers, tokens and atoms (AlphaFold 3, Algorithm 5)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        atom_s, atom_z = config.atom_s, config.atom_z
        self.windows = AtomWindows(config.atoms_per_window_queries, config.atoms_per_window_keys)
        self.offset = Float32Linear(3, atom_z, bias=False)
        self.inverse_distance = Float32Linear(1, atom_z, bias=False)
        self.same_reference = Float32Linear(1, atom_z, bias=False)
        self.token_pair_norm = nn.LayerNorm(config.token_z)
        self.token_pair = residual_linear(config.token_z, atom_z)
        self.query_atom = residual_linear(atom_s, atom_z)
        self.key_atom = residual_linear(atom_s, atom_z)
        self.mlp = nn.Sequential(
            nn.ReLU(), Linear(atom_z, atom_z, bias=False),
            nn.ReLU(), Linear(atom_z, atom_z, bias=False),
            nn.ReLU(), residual_linear(atom_z, atom_z),
        )  # fmt: skip

    def forward(self, features: Features, atom_c: Tensor, z: Tensor) -> Tensor:
        """`atom_c` [B, A, atom_s], `z` [B, N, N, token_z] -> [B, K, W, H, atom_z]."""
        p = self._reference_geometry(features) + self._token_pairs(features, z)
        p = p + self.query_atom(F.relu(self.windows.queries(atom_c))).unsqueeze(-2)
        p = p + self.key_atom(F.relu(self.windows.keys(atom_c))).unsqueeze(-3)
        return p + self.mlp(p)

    def _reference_geometry(self, features: Features) -> Tensor:
        queries, keys = self.windows.queries, self.windows.keys
        offset = keys(features.ref_pos).unsqueeze(-3) - queries(features.ref_pos).unsqueeze(-2)
        inverse = 1 / (1 + offset.square().sum(dim=-1, keepdim=True))
        # uid + 1, so that neither padding nor the outside of the sequence (0) matches a real atom
        uid = ((features.ref_space_uid + 1) * features.atom_mask)[..., None]
        same = (keys(uid).unsqueeze(-3) == queries(uid).unsqueeze(-2)) & (queries(uid).unsqueeze(-2) > 0)
        shared = same.to(offset.dtype)
        return (self.offset(offset) + self.inverse_distance(inverse) + self.same_reference(shared)) * shared

    def _token_pairs(self, features: Features, z: Tensor) -> Tensor:
        pair = self.token_pair(self.token_pair_norm(z))
        token = features.atom_token_index[..., None]
        present = features.atom_mask[..., None]
        query_token, key_token = self.windows.queries(token), self.windows.keys(token).transpose(-1, -2)
        both = self.windows.queries(present) & self.windows.keys(present).transpose(-1, -2)
        structure = torch.arange(len(z), device=z.device).view(-1, 1, 1, 1)
        return pair[structure, query_token, key_token] * both[..., None]


def absent_key_bias(mask: Tensor, layout: AtomWindows, masked_logit: float) -> Tensor:
    """[B, A] bool -> [B, K, 1, 1, H], zero for keys that exist and `masked_logit` for others."""
    present = layout.keys(mask[..., None]).squeeze(-1)
    return torch.where(present, 0.0, masked_logit)[:, :, None, None, :]


class AtomAttentionEncoder(nn.Module):
    """Noisy positions through windowed attention and up to tokens (AlphaFold 3, Algorithm 5)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.windows = AtomWindows(config.atoms_per_window_queries, config.atoms_per_window_keys)
        self.position = residual_linear(3, config.atom_s, Float32Linear)
        self.transformer = DiffusionTransformer(
            config.atom_encoder_depth, config.atom_s, config.atom_s, config.atom_encoder_heads,
            post_norm=config.transformer_post_ln, activation_checkpointing=config.activation_checkpointing,
        )  # fmt: skip
        self.to_token = Linear(config.atom_s, 2 * config.token_s, bias=False)

    def forward(
        self, r: Tensor, q: Tensor, c: Tensor, biases: tuple[Tensor, ...], key_bias: Tensor,
        atom_token_index: Tensor, atom_mask: Tensor, num_tokens: int,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Encode.

        Parameters
        ----------
        r : Tensor
            [B, S, A, 3] scaled noisy positions.
        q, c : Tensor
            [B, A, atom_s] atom features, and those with the trunk's single representation added.
        biases, key_bias : Tensor
            One [B, K, heads, W, H] a layer; [B, K, 1, 1, H].
        atom_token_index, atom_mask : Tensor
            [B, A].
        num_tokens : int
            N.

        Returns
        -------
        tuple of Tensor
            Tokens [B, S, N, 2 token_s] and atoms [B, S, A, atom_s].
        """
        q = q[:, None] + self.position(r)
        q = self.transformer(q, c[:, None], biases, key_bias, self.windows)
        a = mean_over_atoms(F.relu(self.to_token(q)), atom_token_index, atom_mask, num_tokens)
        return a, q


class AtomAttentionDecoder(nn.Module):
    """Tokens back to atoms and through windowed attention to a position update (AlphaFold 3, Algorithm 6)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.windows = AtomWindows(config.atoms_per_window_queries, config.atoms_per_window_keys)
        self.from_token = residual_linear(2 * config.token_s, config.atom_s)
        self.transformer = DiffusionTransformer(
            config.atom_decoder_depth, config.atom_s, config.atom_s, config.atom_decoder_heads,
            activation_checkpointing=config.activation_checkpointing,
        )  # fmt: skip
        self.norm = nn.LayerNorm(config.atom_s)
        self.update = residual_linear(config.atom_s, 3, Float32Linear)

    def forward(
        self, a: Tensor, q: Tensor, c: Tensor, biases: tuple[Tensor, ...], key_bias: Tensor,
        atom_token_index: Tensor, atom_mask: Tensor,
    ) -> Tensor:  # fmt: skip
        """Tokens `a` [B, S, N, 2 token_s], atoms `q` [B, S, A, atom_s] -> update [B, S, A, 3]."""
        q = q + gather_tokens(self.from_token(a), atom_token_index, atom_mask)
        q = self.transformer(q, c[:, None], biases, key_bias, self.windows)
        return self.update(self.norm(q))
