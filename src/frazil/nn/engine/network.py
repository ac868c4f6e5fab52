"""The score network for inference: the function of `ScoreNetwork`, arranged around what does not change.

Once for a set of weights (`Engine`): products in the type and layout of the machine. Once for an input (`BoundEngine`):
norms and gates of the atoms, which their conditioning alone decides, and biases with the masks in them. Once for a
step, for all samples: norms and gates of the tokens, which the noise level decides. What is left for each sample are
its products and its attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil
from typing import final

import torch
from torch import Tensor
from torch.nn import functional as F

from frazil.nn.compute import Compute
from frazil.nn.conditioning import Conditioning
from frazil.nn.engine.attention import attend_whole, attend_windows
from frazil.nn.engine.compiled import CompiledForward, Forward
from frazil.nn.engine.layers import EngineSingle, LayerModulation, engine_layers, run
from frazil.nn.engine.products import side_by_side
from frazil.nn.score import ScoreNetwork

ATOMS_AT_ONCE = 4096
SUMMED_AT_ONCE = 1 << 18


@final
class Engine:
    """A score network's weights, laid out for inference.

    Parameters
    ----------
    network : ScoreNetwork
        Its weights are copied, but for the few that act in float32 on coordinates and noise levels.
    compute : Compute
        Precision of the products.
    """

    @torch.no_grad()
    def __init__(self, network: ScoreNetwork, compute: Compute) -> None:
        self.compute = compute
        self.dtype = dtype = compute.product_dtype
        self.network = network
        self.encoder, self.transformer, self.decoder = (
            engine_layers(part, dtype)
            for part in (network.encoder.transformer, network.transformer, network.decoder.transformer)
        )
        self.single = EngineSingle(network.single, dtype)
        self.dim_token = network.encoder.to_token.out_features
        self.to_token = side_by_side([network.encoder.to_token], dtype)
        self.from_token = side_by_side([network.decoder.from_token], dtype)
        self.single_to_token = side_by_side([network.single_to_token], dtype)

    @torch.no_grad()
    def bind(self, conditioning: Conditioning) -> BoundEngine:
        """The network of one input."""
        with torch.autocast(conditioning.atom_c.device.type, enabled=False):
            return BoundEngine(self, _Input.prepare(self, conditioning))


@final
class EngineStore:
    """The engines of a network, made when first asked for and again when its weights have changed.

    A copy of the store is empty: engines can be made anew, and belong to the weights they were made from.
    """

    def __init__(self) -> None:
        self._made: dict[Compute, Engine] = {}
        self._state: list[object] = []

    def of(self, network: ScoreNetwork, compute: Compute) -> Engine:
        """The engine for the weights as they are now."""
        state = _state(network)
        if state != self._state:
            self._made, self._state = {}, state
        if compute not in self._made:
            self._made[compute] = Engine(network, compute)
        return self._made[compute]

    def __reduce__(self) -> tuple[type[EngineStore], tuple[()]]:
        return EngineStore, ()


@dataclass(frozen=True, eq=False)
class _Input:
    """What an input alone decides; axes as in `Conditioning`."""

    conditioning: Conditioning
    single: Tensor
    """[B, N, 2 token_s] embedded singles."""
    encoder: tuple[LayerModulation, ...]
    decoder: tuple[LayerModulation, ...]
    encoder_bias: tuple[Tensor, ...]
    token_bias: tuple[Tensor, ...]
    decoder_bias: tuple[Tensor, ...]
    present: Tensor
    """[B, A] float32, 1 for atoms that exist."""
    share: Tensor
    """[B, N] float32, one over the number of a token's atoms."""

    @classmethod
    def prepare(cls, engine: Engine, conditioning: Conditioning) -> _Input:
        c = conditioning
        signal = _signal(c.atom_c[:, None], engine.dtype)
        present = c.atom_mask.to(c.atom_c.dtype)
        count = present.new_zeros(len(present), c.num_tokens).scatter_add(1, c.atom_token_index, present)
        return cls(
            conditioning=c,
            single=engine.single.embed(c.s_trunk, c.s_inputs),
            encoder=tuple(layer.modulation(*signal) for layer in engine.encoder),
            decoder=tuple(layer.modulation(*signal) for layer in engine.decoder),
            encoder_bias=_masked(c.atom_encoder_bias, c.atom_key_bias, engine.dtype),
            token_bias=_masked(c.token_bias, c.token_key_bias, engine.dtype),
            decoder_bias=_masked(c.atom_decoder_bias, c.atom_key_bias, engine.dtype),
            present=present,
            share=1 / (count + 1e-6),
        )

    def select(self, rows: slice) -> _Input:
        """The structures `rows` of the batch."""
        return _Input(
            conditioning=self.conditioning.select(rows),
            single=self.single[rows],
            encoder=tuple(_rows(layer, rows) for layer in self.encoder),
            decoder=tuple(_rows(layer, rows) for layer in self.decoder),
            encoder_bias=tuple(bias[rows] for bias in self.encoder_bias),
            token_bias=tuple(bias[rows] for bias in self.token_bias),
            decoder_bias=tuple(bias[rows] for bias in self.decoder_bias),
            present=self.present[rows],
            share=self.share[rows],
        )


@final
class BoundEngine:
    """A score network with its input: the callable F(r, c_noise), without gradients."""

    def __init__(self, engine: Engine, given: _Input) -> None:
        self._engine = engine
        self._input = given
        self._forward: Forward = self._run
        if engine.compute.compile:
            self._forward = CompiledForward(self._run, given.conditioning.num_tokens)

    def select(self, rows: slice) -> BoundEngine:
        """The same for some structures of the batch."""
        return BoundEngine(self._engine, self._input.select(rows))

    @torch.no_grad()
    def __call__(self, r: Tensor, c_noise: Tensor) -> Tensor:
        """As `ScoreNetwork`: `r` [B, S, A, 3], `c_noise` [B, S] or [B, 1] -> [B, S, A, 3], float32."""
        # the precision is that of `Compute`, whatever autocast surrounds the call
        with self._engine.compute.reduced_products(r), torch.autocast(r.device.type, enabled=False):
            return self._forward(r, c_noise)

    def _run(self, r: Tensor, c_noise: Tensor) -> Tensor:
        engine, network, given = self._engine, self._engine.network, self._input
        s = engine.single(c_noise, given.single)
        q = given.conditioning.atom_q[:, None] + network.encoder.position(r)
        q = run(engine.encoder, q, given.encoder, given.encoder_bias, attend_windows)
        a = self._pooled(q)
        a += engine.single_to_token(network.single_norm(s).to(engine.dtype))
        signal = _signal(s, engine.dtype)
        # one layer's norms and gates at a time: those of all layers would take more memory than the samples
        for layer, bias in zip(engine.transformer, given.token_bias, strict=True):
            a = layer(a, layer.modulation(*signal), bias, attend_whole)
        q = self._spread(q, engine.from_token(network.token_norm(a).to(engine.dtype)))
        q = run(engine.decoder, q, given.decoder, given.decoder_bias, attend_windows)
        return network.decoder.update(network.decoder.norm(q))

    def _pooled(self, q: Tensor) -> Tensor:
        """Mean over each token's atoms of what they send up, [B, S, A, atom_s] -> [B, S, N, 2 token_s] float32.

        Some atoms at a time: what all of them send would be the largest tensor there is.
        """
        given, to_token, dtype = self._input, self._engine.to_token, self._engine.dtype
        token = given.conditioning.atom_token_index
        pooled = given.share.new_zeros(*q.shape[:2], given.share.shape[1], self._engine.dim_token)
        together = max(1, ATOMS_AT_ONCE // q.shape[2])
        samples, atoms = range(0, q.shape[1], together), range(0, q.shape[2], ATOMS_AT_ONCE)
        for b, s, a in product(range(len(q)), samples, atoms):
            rows, part = slice(s, s + together), slice(a, a + ATOMS_AT_ONCE)
            sent = to_token.relu(q[b, rows, part].to(dtype)).mul_(given.present[b, part, None])
            pooled[b, rows].index_add_(1, token[b, part], sent.to(pooled.dtype))
        return pooled.mul_(given.share[:, None, :, None])

    def _spread(self, q: Tensor, tokens: Tensor) -> Tensor:
        """`q` [B, S, A, D], changed in place, with the rows [B, S, N, D] of the atoms' tokens added."""
        given = self._input
        for atoms, rows, index, present in zip(
            q, tokens, given.conditioning.atom_token_index, given.present, strict=True
        ):
            atoms.addcmul_(rows.index_select(1, index).to(q.dtype), present[:, None])
        return q


def _state(network: ScoreNetwork) -> list[object]:
    """Where the weights are, how often they were changed, and a sum over their bits.

    The counters of changes do not move for fused optimisers and changes of `.data`, so the sum is needed beside them.
    """
    weights = [p.detach() for p in network.parameters()]
    blocks = (block for p in weights for block in p.float().flatten().view(torch.int32).split(SUMMED_AT_ONCE))
    count = sum(max(1, ceil(p.numel() / SUMMED_AT_ONCE)) for p in weights)
    # memory for the sums, and for integers in the wider type that they are summed in, is taken once: taken block by
    # block, small results came to lie between freed large ones and the heap grew by twice the weights now and then
    sums = torch.empty(count, dtype=torch.int64, device=weights[0].device)
    wide = torch.empty(SUMMED_AT_ONCE, dtype=torch.int64, device=weights[0].device)
    for total, block in zip(sums, blocks, strict=True):
        torch.sum(wide[: len(block)].copy_(block), dim=0, out=total)
    places = [(p.device, p.dtype, p.data_ptr(), 0 if p.is_inference() else p._version) for p in network.parameters()]
    return [*places, *sums.tolist()]


def _signal(s: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """A conditioning signal and its layer norm, in the products' type."""
    return s.to(dtype), F.layer_norm(s, s.shape[-1:]).to(dtype)


def _masked(biases: Sequence[Tensor], key_bias: Tensor, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Biases [B, K, heads, W, H] with the mask of the keys in them, contiguous; not copied where nothing changes."""
    if key_bias.device.type == "cpu":
        dtype = key_bias.dtype  # a CPU's attention reads float32 biases beside bf16 heads, a GPU's does not
    if bool((key_bias == 0).all()):
        return tuple(bias.to(dtype).contiguous() for bias in biases)
    return tuple((bias + key_bias).to(dtype).contiguous() for bias in biases)


def _rows(modulation: LayerModulation, rows: slice) -> LayerModulation:
    attention, transition = (part.select(rows) for part in modulation)
    return attention, transition
