"""How much memory the network takes: estimated from sizes alone, before anything is computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final

from frazil.nn.compute import Compute
from frazil.nn.config import NetworkConfig

# How many tensors of a kind live at the same time at the worst moment, rounded up from what was measured:
# `pytest -m slow tests/test_memory.py -k needed -s` shows the estimate beside the measured peak.
_PAIR_TENSORS: Final = 10.5
"""Of [N, N, token_z], in the trunk's last pair transition."""
_WINDOW_TENSORS: Final = 3.7
"""Of [A, keys of a window, atom_z], in the embedding of atom pairs."""
_BIAS_COPIES: Final = 2
"""Of each attention bias: as it was made, and with the mask in it, in the layout of the engine."""
_MODULATION: Final = 6
"""Of [A, atom_s] for each atom layer, kept: scale, shift and gate of two branches."""
_HOLES: Final = 1.2
"""Memory taken over memory in use: small tensors that come and go leave holes in the heap."""
_SLACK: Final = 128 << 20
"""Bytes for what does not grow with the input: code and buffers of libraries."""
_FLOAT: Final = 4


@final
@dataclass(frozen=True)
class Footprint:
    """Bytes that conditioning on one input and denoising its samples take, at most, beyond the model itself.

    Examples
    --------
    >>> Footprint(conditioning=900, kept=200, sample=100).peak(5), Footprint(900, 200, 100).peak(10)
    (900, 1200)
    """

    conditioning: int
    """While the input is conditioned on, which is over before the first sample."""
    kept: int
    """While samples are drawn, however many."""
    sample: int
    """For each sample in one call of the network, on top."""

    def peak(self, num_samples: int) -> int:
        """Most bytes at any time, with so many samples in one call."""
        return max(self.conditioning, self.kept + num_samples * self.sample)

    @classmethod
    def of(cls, config: NetworkConfig, weights: int, num_tokens: int, num_atoms: int, compute: Compute) -> Footprint:
        """An estimate from above, for the trunk `SmallTrunk` (the largest) and inference by the engine.

        Parameters
        ----------
        config : NetworkConfig
            Sizes of the network.
        weights : int
            Number of the model's parameters, all of which are presumed to be copied into the type of the products.
        num_tokens, num_atoms : int
            N and A of one structure, padding included.
        compute : Compute
            Precision of the products.
        """
        item = compute.product_dtype.itemsize
        width, keys = 2 * config.token_s, config.atoms_per_window_keys
        tokens, atoms = num_tokens * width, num_atoms * config.atom_s
        pairs = _FLOAT * num_tokens**2 * config.token_z
        windows = _FLOAT * num_atoms * keys * config.atom_z
        biases = _FLOAT * (num_tokens**2 * _token_heads(config) + num_atoms * keys * _atom_heads(config))
        layers = config.atom_encoder_depth + config.atom_decoder_depth
        in_step = 96 * tokens + 64 * atoms  # noise-level signal and modulation of one layer, keys of one sample
        kept = _BIAS_COPIES * biases + _FLOAT * _MODULATION * layers * atoms + weights * item + in_step
        # stream and update in float32; queries, keys, values, hidden layers in the type of the products
        in_tokens = (16 + 12 * item) * tokens + _FLOAT * atoms
        in_atoms = max((8 + 7 * item) * atoms, (_FLOAT + item) * atoms + num_atoms * width * item)
        return cls(
            conditioning=_with_room(max(_PAIR_TENSORS * pairs, 3 * pairs + _WINDOW_TENSORS * windows + biases)),
            kept=_with_room(kept),
            sample=max(in_tokens, in_atoms),
        )


def _with_room(size: float) -> int:
    return _SLACK + int(_HOLES * size)


def _token_heads(config: NetworkConfig) -> int:
    return config.token_transformer_depth * config.token_transformer_heads


def _atom_heads(config: NetworkConfig) -> int:
    encoder = config.atom_encoder_depth * config.atom_encoder_heads
    return encoder + config.atom_decoder_depth * config.atom_decoder_heads
