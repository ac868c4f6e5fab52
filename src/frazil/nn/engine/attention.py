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
    """Blocks of W atoms see the H atoms around their middle; see `Attend`.

    Sample by sample, so that the bias is never repeated and the keys stay views of one padded copy.
    """
    out = torch.empty_like(q).flatten(-2)
    for b, s in product(range(len(q)), range(q.shape[1])):
        out[b, s] = _in_windows(q[b, s], k[b, s], v[b, s], bias[b]).flatten(0, 1)
    return out


def _in_windows(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """`q`, `k`, `v` [L, heads, D], `bias` [K, heads, W, H] -> [K, W, heads * D]."""
    width, reach = bias.shape[-2:]
    margin = (reach - width) // 2
    keys, values = (F.pad(x, (0, 0, 0, 0, margin, margin)).unfold(0, reach, width).movedim(-1, 1) for x in (k, v))
    return _attention(q.unflatten(0, (-1, width)), keys, values, bias)


def _attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """`q` [n, W, heads, D], `k`, `v` [n, H, heads, D], `bias` [n or 1, heads, W, H] -> [n, W, heads * D]."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=1.0).transpose(1, 2).flatten(-2)
