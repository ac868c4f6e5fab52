"""Sizes and options of the network, as plain frozen values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of the diffusion module; the defaults are those of Boltz-2 (280 M parameters).

    Widths are channels, depths are layers. `token_s` is the width of the trunk's single representation; the token
    transformer runs at twice that.
    """

    token_s: int = 384
    token_z: int = 128
    atom_s: int = 128
    atom_z: int = 16
    atoms_per_window_queries: int = 32
    atoms_per_window_keys: int = 128
    dim_fourier: int = 256
    atom_encoder_depth: int = 3
    atom_encoder_heads: int = 4
    token_transformer_depth: int = 24
    token_transformer_heads: int = 16
    atom_decoder_depth: int = 3
    atom_decoder_heads: int = 4
    conditioning_transition_layers: int = 2
    activation_checkpointing: bool = False
    transformer_post_ln: bool = False
    use_no_atom_char: bool = False
    use_atom_backbone_feat: bool = False
    use_residue_feats_atoms: bool = False


@dataclass(frozen=True)
class TrunkConfig:
    """Sizes of the default trunk (`frazil.nn.trunk.SmallTrunk`)."""

    depth: int = 4
    heads: int = 4
    atom_s: int = 128
    max_residue_offset: int = 32
    max_chain_offset: int = 2
