"""Attention with a pair bias, over a whole sequence or in windows, and the transformer made of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from frazil.nn.lean import attend, overlapping_windows
from frazil.nn.linear import Linear
from frazil.nn.primitives import AdaptiveLayerNorm, ConditionedTransition, output_gate, residual_linear

MASKED_LOGIT = -1e6
"""Added to the logit of an absent key: finite, so that a row without any key stays finite."""


class SequenceLayout(Protocol):
    """How a sequence [B, S, L, D] is cut into K blocks of queries, and which keys each block sees."""

    def queries(self, x: Tensor) -> Tensor:
        """[..., L, D] -> [..., K, W, D]."""

    def keys(self, x: Tensor) -> Tensor:
        """[..., L, D] -> [..., K, H, D], zero where a key lies outside the sequence."""

    def merge(self, x: Tensor) -> Tensor:
        """[..., K, W, D] -> [..., L, D]."""


@final
class WholeSequence:
    """One block in which everything sees everything."""

    def queries(self, x: Tensor) -> Tensor:
        """[..., L, D] -> [..., 1, L, D]."""
        return x.unsqueeze(-3)

    def keys(self, x: Tensor) -> Tensor:
        """[..., L, D] -> [..., 1, L, D]."""
        return x.unsqueeze(-3)

    def merge(self, x: Tensor) -> Tensor:
        """[..., 1, L, D] -> [..., L, D]."""
        return x.squeeze(-3)


@final
class AtomWindows:
    """Sequence-local windows of `queries_per_window` atoms, each seeing the `keys_per_window` atoms around its middle.

    AlphaFold 3, section 3.5: blocks along the diagonal. Cut by strides, so no index and no copy is made.

    >>> AtomWindows(2, 4).keys(torch.arange(1.0, 7.0)[:, None]).squeeze(-1)
    tensor([[0., 1., 2., 3.],
            [2., 3., 4., 5.],
            [4., 5., 6., 0.]])
    """

    def __init__(self, queries_per_window: int = 32, keys_per_window: int = 128) -> None:
        if queries_per_window % 2 or keys_per_window % queries_per_window:
            raise ValueError(
                f"{queries_per_window} queries x {keys_per_window} keys: queries must be even and divide keys"
            )
        self.queries_per_window = queries_per_window
        self.keys_per_window = keys_per_window

    def queries(self, x: Tensor) -> Tensor:
        """[..., A, D] -> [..., K, W, D]; A is a multiple of W."""
        return x.unflatten(-2, (-1, self.queries_per_window))

    def keys(self, x: Tensor) -> Tensor:
        """[..., A, D] -> [..., K, H, D]."""
        reach = (self.keys_per_window - self.queries_per_window) // 2
        return overlapping_windows(F.pad(x, (0, 0, reach, reach)), self.keys_per_window, self.queries_per_window)

    def merge(self, x: Tensor) -> Tensor:
        """[..., K, W, D] -> [..., A, D]."""
        return x.flatten(-3, -2)


class PairBiasAttention(nn.Module):
    """Gated multi-head self-attention with a given pair bias (AlphaFold 3, Algorithm 24, without its norms and gate).

    Parameters
    ----------
    dim : int
        Width of the sequence.
    heads : int
        Number of heads; divides `dim`.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"{heads} heads do not divide a width of {dim}")
        self.heads = heads
        self.query = Linear(dim, dim)
        self.key = Linear(dim, dim, bias=False)
        self.value = Linear(dim, dim, bias=False)
        self.gate = Linear(dim, dim, bias=False)
        self.out = residual_linear(dim, dim)

    def forward(self, a: Tensor, bias: Tensor, key_bias: Tensor, layout: SequenceLayout) -> Tensor:
        """Attend.

        Parameters
        ----------
        a : Tensor
            [B, S, L, dim].
        bias : Tensor
            [B, K, heads, W, H] pair bias, shared by the samples.
        key_bias : Tensor
            [B, K, 1, 1, H] zero for a key that exists, `MASKED_LOGIT` for one that does not.
        layout : SequenceLayout
            Cuts L into K blocks of W queries and H keys.
        """
        q = self._split(layout.queries(self.query(a)))
        k = self._split(layout.keys(self.key(a)))
        v = self._split(layout.keys(self.value(a)))
        attended = layout.merge(attend(q, k, v, bias, key_bias).transpose(-2, -3).flatten(-2))
        return self.out(torch.sigmoid(self.gate(a)) * attended)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(-2, -3)


class DiffusionTransformerLayer(nn.Module):
    """Pair-bias attention, then a transition, each under adaLN-Zero (AlphaFold 3, Algorithm 23; in sequence).

    Parameters
    ----------
    dim, dim_cond, heads : int
        Width, width of the conditioning signal, heads.
    post_norm : bool
        Whether a layer norm follows the two residual sums.
    """

    def __init__(self, dim: int, dim_cond: int, heads: int, *, post_norm: bool = False) -> None:
        super().__init__()
        self.adaln = AdaptiveLayerNorm(dim, dim_cond)
        self.attention = PairBiasAttention(dim, heads)
        self.gate_logits = output_gate(dim_cond, dim)
        self.transition = ConditionedTransition(dim, dim_cond)
        self.post_norm = nn.LayerNorm(dim) if post_norm else nn.Identity()

    def forward(self, a: Tensor, s: Tensor, bias: Tensor, key_bias: Tensor, layout: SequenceLayout) -> Tensor:
        """`a` [B, S, L, dim], `s` [B, S or 1, L, dim_cond] -> [B, S, L, dim]."""
        attended = self.attention(self.adaln(a, s), bias, key_bias, layout)
        a = torch.addcmul(a, torch.sigmoid(self.gate_logits(s)), attended)
        a = a + self.transition(a, s)
        return self.post_norm(a)


class DiffusionTransformer(nn.Module):
    """A stack of `DiffusionTransformerLayer` (AlphaFold 3, Algorithms 7 and 23).

    Parameters
    ----------
    depth, dim, dim_cond, heads : int
        Layers, width, width of the conditioning signal, heads.
    post_norm : bool
        Whether each layer ends with a layer norm.
    activation_checkpointing : bool
        Whether layers are recomputed in the backward pass instead of stored.
    """

    def __init__(
        self, depth: int, dim: int, dim_cond: int, heads: int, *,
        post_norm: bool = False, activation_checkpointing: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.activation_checkpointing = activation_checkpointing
        self.layers = nn.ModuleList(
            DiffusionTransformerLayer(dim, dim_cond, heads, post_norm=post_norm) for _ in range(depth)
        )

    def forward(
        self, a: Tensor, s: Tensor, biases: Sequence[Tensor], key_bias: Tensor, layout: SequenceLayout
    ) -> Tensor:
        """`biases` holds one [B, K, heads, W, H] a layer; the rest as in `DiffusionTransformerLayer`."""
        for layer, bias in zip(self.layers, biases, strict=True):
            a = run_checkpointed(layer, a, s, bias, key_bias, layout) if self._recompute else layer(
                a, s, bias, key_bias, layout
            )  # fmt: skip
        return a

    @property
    def _recompute(self) -> bool:
        return self.activation_checkpointing and self.training


def run_checkpointed(module: Callable[..., Tensor], *arguments: object) -> Tensor:
    """Call a module whose activations are recomputed in the backward pass."""
    return checkpoint(module, *arguments, use_reentrant=False)
