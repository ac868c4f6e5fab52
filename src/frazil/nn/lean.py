"""Parts of a layer with a backward pass of their own: it computes again what is cheap, and keeps only the rest.

Autograd would keep every value between two operations; at 16 copies of a structure those fill memory that has to be
fetched, written and read again. Each function here equals its formula, and its gradient the formula's.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


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
        grad_value, grad_factor = through * opened, opened.mul_(value).mul_(grad)
        grad_gate = torch.ops.aten.silu_backward(through.mul_(value), gate)
        return torch.cat((grad_value, grad_gate), dim=-1), grad_factor


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
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, bias: Tensor, key_bias: Tensor) -> Tensor:
        wide = torch.promote_types(query.dtype, torch.float32)
        logits = torch.matmul(query, key.transpose(-1, -2)).to(wide)
        # the reference's order of sums: where all keys are absent, its rounding at -1e6 decides, and moves a centre
        logits.div_(math.sqrt(query.shape[-1])).add_(bias.to(wide)[:, None]).add_(key_bias.to(wide)[:, None])
        weights = torch.softmax(logits, dim=-1).to(value.dtype)
        attended = torch.matmul(weights, value)
        ctx.save_for_backward(query, key, value, weights, attended)
        ctx.bias_type = bias.dtype
        return attended

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, weights, attended = ctx.saved_tensors
        (grad,) = grad_outputs
        grad_value = torch.matmul(weights.transpose(-1, -2), grad)
        wide = torch.promote_types(query.dtype, torch.float32)
        # of a softmax: weights (g - sum of weights g), and that sum is the one over the channels of the result
        mean = (grad.to(wide) * attended).sum(dim=-1, keepdim=True)
        slope = torch.matmul(grad, value.transpose(-1, -2)).to(wide).sub_(mean).mul_(weights.to(wide))
        grad_bias = slope.sum(dim=1).to(ctx.bias_type) if ctx.needs_input_grad[3] else None
        slope = slope.div_(math.sqrt(query.shape[-1])).to(query.dtype)
        return torch.matmul(slope, key), torch.matmul(slope.transpose(-1, -2), query), grad_value, grad_bias, None


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
