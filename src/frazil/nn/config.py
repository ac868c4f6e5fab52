"""Sizes and options of the network, as plain frozen values."""

from __future__ import annotations

from dataclasses import dataclass, fields

from frazil.errors import InputError


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of the diffusion module; the defaults are those of Boltz-2 (280 M parameters).

    Widths are channels, depths are layers. `token_s` is the width of the trunk's single representation; the token
    transformer runs at twice that.

    Raises
    ------
    InputError
        If a size is not positive, heads do not divide their width, or windows do not tile.
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

    def __post_init__(self) -> None:
        require_positive(self)
        require_divisor(self.atom_encoder_heads, self.atom_s, "atom_encoder_heads", "atom_s")
        require_divisor(self.atom_decoder_heads, self.atom_s, "atom_decoder_heads", "atom_s")
        require_divisor(self.token_transformer_heads, 2 * self.token_s, "token_transformer_heads", "2 x token_s")
        queries, keys = self.atoms_per_window_queries, self.atoms_per_window_keys
        if queries % 2 or keys % queries:
            raise InputError(
                f"atoms_per_window_queries = {queries}, atoms_per_window_keys = {keys}: give an even number of queries "
                "that divides the number of keys"
            )


@dataclass(frozen=True)
class TrunkConfig:
    """Sizes of the default trunk (`frazil.nn.trunk.SmallTrunk`)."""

    depth: int = 4
    heads: int = 4
    atom_s: int = 128
    max_residue_offset: int = 32
    max_chain_offset: int = 2
    molecule_graph: bool = False
    """Tell the atoms of a ligand by their graph and reference conformer instead of their names and order."""

    def __post_init__(self) -> None:
        require_positive(self)


def require_positive(config: NetworkConfig | TrunkConfig) -> None:
    """Refuse a size below 1 by name."""
    for field in fields(config):
        value = getattr(config, field.name)
        if not isinstance(value, bool) and value < 1:
            raise InputError(f"{field.name} = {value} is out of range: give at least 1")


def require_divisor(heads: int, width: int, heads_name: str, width_name: str) -> None:
    """Refuse a number of heads that does not divide its width, by name."""
    if width % heads:
        raise InputError(f"{heads_name} = {heads} does not divide {width_name} = {width}: give a divisor")
