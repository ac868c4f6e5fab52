"""Building blocks that know nothing of atoms or tokens: norms, transitions, the noise-level embedding."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frazil.nn.lean import gated_product
from frazil.nn.linear import Float32Linear, Linear, as_operand

RESIDUAL_SCALE = 0.3
"""Size of a residual branch at the start, as a share of that of a usual linear layer.

AlphaFold 3 starts these at zero, with gates nearly closed: safe for weeks of training. A small start gets going sooner,
and runs of minutes are what small models are for.
"""


def residual_linear(dim_in: int, dim_out: int, kind: type[nn.Linear] = Linear) -> nn.Linear:
    """A bias-free linear layer at the end of a residual branch; it starts small, the branch near the identity."""
    linear = kind(dim_in, dim_out, bias=False)
    nn.init.normal_(linear.weight, std=RESIDUAL_SCALE / math.sqrt(dim_in))
    return linear


def output_gate(dim_cond: int, dim: int) -> nn.Linear:
    """Logits of an adaLN-Zero gate (Algorithm 24, line 13): zero weights and bias 1, so nearly three quarters open."""
    linear = Linear(dim_cond, dim)
    nn.init.zeros_(linear.weight)
    nn.init.ones_(linear.bias)
    return linear


class Transition(nn.Module):
    """SwiGLU transition with its own layer norm (AlphaFold 3, Algorithm 11).

    Parameters
    ----------
    dim : int
        Width of input and output, [..., dim].
    expansion : int
        Hidden width as a multiple of `dim`.
    """

    def __init__(self, dim: int, expansion: int = 2) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.gate = Linear(dim, expansion * dim, bias=False)
        self.value = Linear(dim, expansion * dim, bias=False)
        self.out = residual_linear(expansion * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """The update, without the residual sum."""
        x = as_operand(self.norm(x))
        return self.out(F.silu(self.gate(x)) * self.value(x))


class AdaptiveLayerNorm(nn.Module):
    """Layer norm whose scale and shift come from a conditioning signal (AlphaFold 3, Algorithm 26)."""

    def __init__(self, dim: int, dim_cond: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, elementwise_affine=False)
        self.cond_norm = nn.LayerNorm(dim_cond, bias=False)
        self.scale = Linear(dim_cond, dim)
        self.shift = Linear(dim_cond, dim, bias=False)

    def forward(self, a: Tensor, s: Tensor) -> Tensor:
        """`a` [..., dim] modulated by `s` [..., dim_cond], as an operand of products; leading axes broadcast."""
        s = as_operand(self.cond_norm(s))
        return as_operand(torch.addcmul(self.shift(s), torch.sigmoid(self.scale(s)), self.norm(a)))


class ConditionedTransition(nn.Module):
    """Gated transition under adaLN-Zero.

    As Boltz-2 has it: silu(W_g a) * W_x a * W_b a, three products where AlphaFold 3 (Algorithm 25) has two.
    """

    def __init__(self, dim: int, dim_cond: int, expansion: int = 2) -> None:
        super().__init__()
        self.adaln = AdaptiveLayerNorm(dim, dim_cond)
        self.value_and_gate = Linear(dim, 2 * expansion * dim, bias=False)
        self.factor = Linear(dim, expansion * dim, bias=False)
        self.out = Linear(expansion * dim, dim, bias=False)
        self.gate_logits = output_gate(dim_cond, dim)

    def forward(self, a: Tensor, s: Tensor) -> Tensor:
        """The update, without the residual sum."""
        a = self.adaln(a, s)
        return torch.sigmoid(self.gate_logits(s)) * self.out(gated_product(self.value_and_gate(a), self.factor(a)))


class FourierEmbedding(nn.Module):
    """Random Fourier features cos(2 pi (w t + b)) with fixed w, b ~ N(0, 1) (AlphaFold 3, Algorithm 22)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.projection = Float32Linear(1, dim).requires_grad_(False)
        nn.init.normal_(self.projection.weight)
        nn.init.normal_(self.projection.bias)

    def forward(self, t: Tensor) -> Tensor:
        """[...] -> [..., dim]."""
        return torch.cos(2 * math.pi * self.projection(t[..., None]))
