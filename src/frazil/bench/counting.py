"""Arithmetic of the network's matrix products, counted from its sizes."""

from __future__ import annotations

from dataclasses import dataclass

from frazil.nn.config import NetworkConfig

_EXPANSION = 2
"""Hidden width of transitions as a multiple of their own."""


@dataclass(frozen=True)
class ProductCount:
    """Floating-point operations of matrix products; [m, k] times [k, n] counts 2 m k n."""

    per_input: int
    """Of what depends on neither noise level nor coordinates, so need be done once only."""
    per_level: int
    """Of what the samples of a call share, where they share their noise level."""
    per_sample: int
    """Of the rest, for each sample of a call."""

    def of_call(self, samples: int) -> int:
        """What one call has to do: samples share the noise level, and what is known of the input is at hand."""
        return self.per_level + samples * self.per_sample

    def of_plain_call(self, samples: int) -> int:
        """What a call does that remembers nothing of the input."""
        return self.per_input + self.of_call(samples)


def count_products(config: NetworkConfig, tokens: int, atoms: int) -> ProductCount:
    """Count the products of `ScoreNetwork` (AlphaFold 3, Algorithm 20) for one structure.

    Parameters
    ----------
    config : NetworkConfig
        Sizes.
    tokens, atoms : int
        Lengths, padding included.

    Examples
    --------
    The full network at 256 tokens and 2,048 atoms, five samples:

    >>> round(count_products(NetworkConfig(), 256, 2048).of_call(5) / 1e12, 2)
    0.58
    """
    atom = _Transformer(config.atom_s, config.atom_encoder_depth + config.atom_decoder_depth)
    token = _Transformer(2 * config.token_s, config.token_transformer_depth)
    wide = 2 * config.token_s
    transitions = config.conditioning_transition_layers * 3 * _EXPANSION * wide**2
    embedded = wide**2
    noise_level = config.dim_fourier * (1 + wide)
    ends = atoms * (6 * config.atom_s + config.atom_s * wide) + tokens * wide * config.atom_s
    inside = token.on_sequence(tokens, tokens) + atom.on_sequence(atoms, config.atoms_per_window_keys)
    return ProductCount(
        per_input=2 * (tokens * embedded + atom.on_conditioning(atoms)),
        per_level=2 * (noise_level + tokens * (transitions + embedded) + token.on_conditioning(tokens)),
        per_sample=2 * (ends + inside),
    )


@dataclass(frozen=True)
class _Transformer:
    """Multiplications of a `DiffusionTransformer` whose conditioning is as wide as its sequence."""

    dim: int
    depth: int

    def on_conditioning(self, rows: int) -> int:
        """Scale, shift and gate of attention and of transition: on the conditioning signal alone."""
        return self.depth * rows * 6 * self.dim**2

    def on_sequence(self, rows: int, keys: int) -> int:
        """Query, key, value, gate, out; the transition; logits and weighted sums over `keys` keys a row."""
        attention, transition = 5 * self.dim**2, 4 * _EXPANSION * self.dim**2
        return self.depth * rows * (attention + transition + 2 * keys * self.dim)
