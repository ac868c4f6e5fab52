"""Attention of inference: one bias for all samples of a structure, keys windowed as views."""

from __future__ import annotations

from itertools import product
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F


class Attend(Protocol):
    """Attention of heads over a sequence, with a bias."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
        """`q` (scaled already), `k`, `v` [B, S, L, heads, D]; `bias` [B, K, heads, W, H] -> [B, S, L, heads * D]."""
        ...


def attend_whole(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """Everything sees everything: K = 1, W = H = L; see `Attend`."""
    out = torch.empty_like(q).flatten(-2)
    for b in range(len(q)):
        out[b] = _attention(q[b], k[b], v[b], bias[b])
    return out


def attend_windows(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """Blocks of W atoms see the H atoms around their middle; see `Attend`."""
    return windows_at_once(q, k, v, bias) if q.is_cuda else windows_by_sample(q, k, v, bias)


def windows_by_sample(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """`attend_windows` in the least memory: the bias is never repeated, the keys are views of one padded copy."""
    out = torch.empty_like(q).flatten(-2)
    for b, s in product(range(len(q)), range(q.shape[1])):
        keys, values = (_windows(x[b, s], bias) for x in (k, v))
        queries = q[b, s].unflatten(0, (-1, bias.shape[-2]))
        out[b, s] = _attention(queries, keys, values, bias[b]).flatten(0, 1)
    return out


def windows_at_once(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """`attend_windows` in the fewest operations, for devices on which starting one takes longer than doing it."""
    queries = q.unflatten(2, (-1, bias.shape[-2])).transpose(-2, -3)
    keys, values = (_windows(x, bias).transpose(-2, -3) for x in (k, v))
    weights = torch.softmax((queries @ keys.mT).float() + bias[:, None], dim=-1)
    return (weights.to(v.dtype) @ values).transpose(-2, -3).flatten(-2).flatten(2, 3)


def _windows(x: Tensor, bias: Tensor) -> Tensor:
    """[..., L, heads, D] -> [..., K, H, heads, D], zero outside the sequence."""
    width, reach = bias.shape[-2:]
    margin = (reach - width) // 2
    return F.pad(x, (0, 0, 0, 0, margin, margin)).unfold(-3, reach, width).movedim(-1, -3)


def _attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """`q` [n, W, heads, D], `k`, `v` [n, H, heads, D], `bias` [n or 1, heads, W, H] -> [n, W, heads * D]."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=1.0).transpose(1, 2).flatten(-2)
