"""One transformer layer of inference, and what the conditioning does to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.nn import functional as F

from frazil.nn.attention import DiffusionTransformer, DiffusionTransformerLayer
from frazil.nn.conditioning import SingleConditioning
from frazil.nn.engine.attention import Attend
from frazil.nn.engine.products import after_scale, product, side_by_side
from frazil.nn.primitives import Transition

FEWEST_ROWS = 16


@dataclass(frozen=True, eq=False)
class Modulation:
    """What the conditioning does to one branch of a layer (adaLN-Zero); [B, S or 1, L, dim], float32."""

    scale: Tensor
    """Factor after the layer norm, in 0..1."""
    shift: Tensor
    """Added to that."""
    gate: Tensor
    """Factor on the branch's result, in 0..1."""

    def normalise(self, a: Tensor) -> Tensor:
        """The branch's input, from the stream `a` [B, S, L, dim]."""
        normed = F.layer_norm(a, a.shape[-1:])
        return torch.addcmul(self.shift, normed, self.scale, out=normed)

    def add(self, a: Tensor, update: Tensor) -> Tensor:
        """The stream `a`, changed in place, with the branch's gated result."""
        return a.addcmul_(self.gate, update.to(a.dtype))

    def select(self, rows: slice) -> Modulation:
        """The same for some structures."""
        return Modulation(self.scale[rows], self.shift[rows], self.gate[rows])


LayerModulation = tuple[Modulation, Modulation]
"""Of a layer's attention and of its transition."""


@final
class EngineLayer:
    """`DiffusionTransformerLayer` for inference: products in `dtype`, the stream and its norms in float32."""

    def __init__(self, layer: DiffusionTransformerLayer, dtype: torch.dtype) -> None:
        attention, transition = layer.attention, layer.transition
        norms = (layer.adaln, transition.adaln)
        self._dtype = dtype
        self._heads = attention.heads
        self._scales = [after_scale(norm.cond_norm.weight, norm.scale, dtype) for norm in norms]
        self._shifts = [after_scale(norm.cond_norm.weight, norm.shift, dtype) for norm in norms]
        self._gates = side_by_side([layer.gate_logits, transition.gate_logits], dtype)
        # the logits' factor 1 / sqrt(D) goes into the queries
        factor = (attention.query.out_features / attention.heads) ** -0.5
        self._query = product(attention.query.weight * factor, attention.query.bias * factor, dtype)
        self._key_value = side_by_side([attention.key, attention.value], dtype)
        self._gate = side_by_side([attention.gate], dtype)
        self._attention_out = side_by_side([attention.out], dtype)
        value, gate = transition.value_and_gate.weight.chunk(2)
        self._transition_value = product(value, None, dtype)
        self._transition_gate = product(gate, None, dtype)
        self._transition_factor = side_by_side([transition.factor], dtype)
        self._transition_out = side_by_side([transition.out], dtype)
        self._post_norm = layer.post_norm

    def modulation(self, s: Tensor, normed: Tensor) -> LayerModulation:
        """From the conditioning `s` [B, S or 1, L, dim_cond] and its layer norm, both in `dtype`."""
        scales = (scale.sigmoid(normed).float() for scale in self._scales)
        shifts = (shift(normed).float() for shift in self._shifts)
        gates = self._gates.sigmoid(s).float().chunk(2, dim=-1)
        attention, transition = (Modulation(*parts) for parts in zip(scales, shifts, gates, strict=True))
        return attention, transition

    def __call__(self, a: Tensor, modulation: LayerModulation, bias: Tensor, attend: Attend) -> Tensor:
        """The stream `a` [B, S, L, dim], changed in place; `bias` [B, K, heads, W, H]."""
        attention, transition = modulation
        a = attention.add(a, self._attention(attention.normalise(a).to(self._dtype), bias, attend))
        a = transition.add(a, self._transition(transition.normalise(a).to(self._dtype)))
        return self._post_norm(a)

    def _attention(self, x: Tensor, bias: Tensor, attend: Attend) -> Tensor:
        q, k, v = (y.unflatten(-1, (self._heads, -1)) for y in (self._query(x), *self._key_value(x).chunk(2, dim=-1)))
        return self._attention_out(attend(q, k, v, bias).mul_(self._gate.sigmoid(x)))

    def _transition(self, x: Tensor) -> Tensor:
        gated = self._transition_value.times(x, self._transition_gate.silu(x))
        return self._transition_out(self._transition_factor.times(x, gated))


@final
class EngineSingle:
    """`SingleConditioning` for inference: the part that an input decides apart from the part that the noise decides."""

    def __init__(self, single: SingleConditioning, dtype: torch.dtype) -> None:
        self._single = single
        self._transitions = [
            EngineTransition(part, dtype) for part in single.transitions if isinstance(part, Transition)
        ]

    def embed(self, s_trunk: Tensor, s_inputs: Tensor) -> Tensor:
        """Singles [B, N, token_s] -> [B, N, 2 token_s], whatever the noise."""
        return self._single.embed(self._single.norm(torch.cat((s_trunk, s_inputs), dim=-1)))

    def __call__(self, c_noise: Tensor, embedded: Tensor) -> Tensor:
        """`c_noise` [B, S], `embedded` [B, N, 2 token_s] -> [B, S, N, 2 token_s], float32."""
        s = self._level(c_noise)[:, :, None] + embedded[:, None]
        for transition in self._transitions:
            s += transition(s)
        return s

    def _level(self, c_noise: Tensor) -> Tensor:
        """[B, S] -> [B, S, 2 token_s]; the bits of a product with few rows change with their number."""
        rows = c_noise.numel()
        padded = F.pad(c_noise.flatten(), (0, max(0, FEWEST_ROWS - rows)))
        level = self._single.fourier_embed(self._single.fourier_norm(self._single.fourier(padded)))
        return level[:rows].unflatten(0, c_noise.shape)


@final
class EngineTransition:
    """`Transition` for inference."""

    def __init__(self, transition: Transition, dtype: torch.dtype) -> None:
        self._dtype = dtype
        self._norm = transition.norm
        self._gate, self._value, self._out = (
            side_by_side([linear], dtype) for linear in (transition.gate, transition.value, transition.out)
        )

    def __call__(self, x: Tensor) -> Tensor:
        """The update, without the residual sum, in the products' type."""
        x = self._norm(x).to(self._dtype)
        return self._out(self._value.times(x, self._gate.silu(x)))


def engine_layers(transformer: DiffusionTransformer, dtype: torch.dtype) -> tuple[EngineLayer, ...]:
    """The layers of a transformer, for inference."""
    layers = (layer for layer in transformer.layers if isinstance(layer, DiffusionTransformerLayer))
    return tuple(EngineLayer(layer, dtype) for layer in layers)


def run(
    layers: Sequence[EngineLayer], a: Tensor, modulations: Sequence[LayerModulation], biases: Sequence[Tensor],
    attend: Attend,
) -> Tensor:  # fmt: skip
    """A stack of layers on the stream `a`, which is changed in place."""
    for layer, modulation, bias in zip(layers, modulations, biases, strict=True):
        a = layer(a, modulation, bias, attend)
    return a
