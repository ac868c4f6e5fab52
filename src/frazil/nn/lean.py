"""Parts of a layer with a backward pass of their own: it computes again what is cheap, and keeps only the rest.

Autograd would keep every value between two operations; at 16 copies of a structure those fill memory that has to be
fetched, written and read again. Each function here equals its formula, and its gradient the formula's.
"""

from __future__ import annotations

import math
from typing import Any, Final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

LOGITS_IN_CACHE: Final = 2**21
"""Attention logits computed at a time on a CPU: 8 MB."""


def gated_product(value_and_gate: Tensor, factor: Tensor) -> Tensor:
    """silu(gate) * value * factor.

    Parameters
    ----------
    value_and_gate : Tensor
        [..., 2 D], value first.
    factor : Tensor
        [..., D].

    Returns
    -------
    Tensor
        [..., D].

    Examples
    --------
    >>> gated_product(torch.tensor([3.0, 0.0]), torch.tensor([2.0]))
    tensor([0.])
    """
    return _GatedProduct.apply(value_and_gate, factor)


class _GatedProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value_and_gate: Tensor, factor: Tensor) -> Tensor:
        ctx.save_for_backward(value_and_gate, factor)
        value, gate = value_and_gate.chunk(2, dim=-1)
        return F.silu(gate).mul_(value).mul_(factor)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor]:
        value_and_gate, factor = ctx.saved_tensors
        value, gate = value_and_gate.chunk(2, dim=-1)
        (grad,) = grad_outputs
        opened, through = F.silu(gate), grad * factor
        grad_both = torch.empty_like(value_and_gate)
        grad_value, grad_gate = grad_both.chunk(2, dim=-1)
        torch.mul(through, opened, out=grad_value)
        torch.ops.aten.silu_backward(through.mul_(value), gate, grad_input=grad_gate)
        return grad_both, opened.mul_(value).mul_(grad)


def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, key_bias: Tensor) -> Tensor:
    """softmax(query key^T / sqrt(d) + bias + key_bias) value; products in the type of the query, the rest in float32.

    The biases are shared by the samples: their gradient is summed over them, and they are never repeated.

    Parameters
    ----------
    query : Tensor
        [B, S, K, heads, W, d].
    key, value : Tensor
        [B, S, K, heads, H, d].
    bias : Tensor
        [B, K, heads, W, H].
    key_bias : Tensor
        [B, K, 1, 1, H], a constant without gradient.

    Returns
    -------
    Tensor
        [B, S, K, heads, W, d].
    """
    return _Attend.apply(query, key, value, bias, key_bias)


class _Attend(torch.autograd.Function):
    """Some samples at a time; what leaves it has the channels of all heads side by side in memory."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, bias: Tensor, key_bias: Tensor) -> Tensor:
        attended = _heads_side_by_side(query)
        ctx.parts = _parts(query, key)
        weights = []
        for part in ctx.parts:
            weights.append(_weights(query[:, part], key[:, part], bias, key_bias).to(value.dtype))
            attended[:, part] = torch.matmul(weights[-1], value[:, part])
        ctx.save_for_backward(query, key, value, attended, *weights)
        ctx.bias_type = bias.dtype
        return attended

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, attended, *weights = ctx.saved_tensors
        grad_query, grad_key, grad_value = (_heads_side_by_side(x) for x in (query, key, value))
        grad_bias = _wide(weights[0]).new_zeros(())
        for part, shares in zip(ctx.parts, weights, strict=True):
            grad = grad_outputs[0][:, part]
            grad_value[:, part] = torch.matmul(shares.transpose(-1, -2), grad)
            # of a softmax: weights (g - sum of weights g), and that sum is the one over the channels of the result
            mean = (_wide(grad) * _wide(attended[:, part])).sum(dim=-1, keepdim=True)
            slope = _wide(torch.matmul(grad, value[:, part].transpose(-1, -2))).sub_(mean).mul_(_wide(shares))
            grad_bias = grad_bias + slope.sum(dim=1)
            slope = slope.div_(math.sqrt(query.shape[-1])).to(query.dtype)
            grad_query[:, part] = torch.matmul(slope, key[:, part])
            grad_key[:, part] = torch.matmul(slope.transpose(-1, -2), query[:, part])
        return grad_query, grad_key, grad_value, grad_bias.to(ctx.bias_type), None


def _weights(query: Tensor, key: Tensor, bias: Tensor, key_bias: Tensor) -> Tensor:
    """[B, S, K, heads, W, H], at least float32."""
    logits = _wide(torch.matmul(query, key.transpose(-1, -2))).div_(math.sqrt(query.shape[-1]))
    # the reference's order of sums: where all keys are absent, its rounding at -1e6 decides, and moves a centre
    logits.add_(bias[:, None]).add_(key_bias[:, None])
    return torch.softmax(logits, dim=-1)


def _parts(query: Tensor, key: Tensor) -> list[slice]:
    """Samples whose logits fit into a processor's cache together; on other devices all of them."""
    samples = query.shape[1]
    logits = query.shape[0] * query.shape[2:-1].numel() * key.shape[-2]
    size = max(1, LOGITS_IN_CACHE // logits) if query.device.type == "cpu" else samples
    return [slice(start, start + size) for start in range(0, samples, size)]


def _heads_side_by_side(x: Tensor) -> Tensor:
    """An empty tensor like `x` [..., heads, L, d] that lies in memory as [..., L, heads, d]."""
    return torch.empty_like(x.transpose(-2, -3), memory_format=torch.contiguous_format).transpose(-2, -3)


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def overlapping_windows(x: Tensor, size: int, step: int) -> Tensor:
    """Windows of `size` rows, one every `step`: [..., L, D] -> [..., K, size, D]; `step` divides `size` and L.

    A view; the gradients of rows that windows share are added up block by block.

    >>> overlapping_windows(torch.arange(6.0)[:, None], 4, 2).squeeze(-1)
    tensor([[0., 1., 2., 3.],
            [2., 3., 4., 5.]])
    """
    return _OverlappingWindows.apply(x, size, step)


class _OverlappingWindows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, size: int, step: int) -> Tensor:
        ctx.step, ctx.blocks = step, size // step
        return x.unfold(-2, size, step).transpose(-1, -2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        parts = grad_outputs[0].unflatten(-2, (ctx.blocks, ctx.step)).unbind(-3)
        *lead, windows, _, width = parts[0].shape
        total = parts[0].new_zeros(*lead, windows + ctx.blocks - 1, ctx.step, width)
        for offset, part in enumerate(parts):
            total[..., offset : offset + windows, :, :] += part
        return total.flatten(-3, -2), None, None
