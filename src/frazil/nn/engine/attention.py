"""Attention of inference: one bias for all samples of a structure, keys windowed as views."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

LOGITS_IN_CACHE = 2**20
LOGITS_OF_MANY = 2**17
"""Of several structures together: beyond, fewer operations save nothing more."""
LONG = 192
"""Tokens from which bf16 on a CPU goes in parts, and atoms from which windows go by sample."""
SHORT = 64
"""Tokens up to which bf16 on a CPU goes in plain products."""


class Attend(Protocol):
    """Attention of heads over a sequence, with a bias."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
        """`q` (scaled already), `k`, `v` [B, S, L, heads, D]; `bias` [B, K, heads, W, H] -> [B, S, L, heads * D]."""
        ...


def attend_whole(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """Everything sees everything: K = 1, W = H = L; see `Attend`."""
    if q.dtype == torch.bfloat16 and q.device.type == "cpu":
        if q.shape[-3] <= SHORT:
            return attend_in_products(q, k, v, bias)
        if q.shape[-3] >= LONG:
            return attend_in_parts(q, k, v, bias)
    return attend_fused(q, k, v, bias)


def attend_fused(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """`attend_whole` by torch's own kernel, which never holds all logits."""
    out = torch.empty_like(q).flatten(-2)
    for b in range(len(q)):
        out[b] = _attention(q[b], k[b], v[b], bias[b])
    return out


def attend_in_products(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """`attend_whole` by one product for as many samples, and structures, as stay in the cache.

    On a CPU in bf16 this takes two thirds of the fused kernel's time for small molecules; the softmax is float32.
    """
    out = torch.empty_like(q).flatten(-2)
    for part in _parts(q, bias):
        queries, keys, values = (x[part].transpose(2, 3) for x in (q, k, v))
        logits = torch.matmul(queries, keys.mT).float().add_(bias[part[0]])
        attended = torch.matmul(torch.softmax(logits, dim=-1).to(v.dtype), values)
        out[part] = attended.transpose(2, 3).flatten(-2)
    return out


def attend_in_parts(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """`attend_whole` by products of whole heads, a few at a time, so that their logits stay in the cache.

    On a CPU in bf16 this beats the fused kernel by a quarter from some 200 tokens on; the softmax is float32.
    """
    heads, length = q.shape[-2], q.shape[-3]
    together = max(1, LOGITS_IN_CACHE // length**2)
    q, k, v = (x.transpose(2, 3).contiguous() for x in (q, k, v))
    out = torch.empty_like(q.transpose(2, 3), memory_format=torch.contiguous_format)
    logits = bias.new_empty(together, length, length)
    weights = logits.to(q.dtype)
    for b, s, first in product(range(len(q)), range(q.shape[1]), range(0, heads, together)):
        part = slice(first, min(first + together, heads))
        rows = slice(0, part.stop - part.start)
        torch.bmm(q[b, s, part], k[b, s, part].mT, out=weights[rows])
        torch.add(bias[b, 0, part], weights[rows], out=logits[rows])
        weights[rows] = torch.softmax(logits[rows], dim=-1, out=logits[rows])
        out[b, s, :, part] = torch.bmm(weights[rows], v[b, s, part]).transpose(0, 1)
    return out.flatten(-2)


def attend_windows(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """Blocks of W atoms see the H atoms around their middle; see `Attend`."""
    if q.device.type != "cpu":
        return windows_at_once(q, k, v, bias)
    return windows_by_sample(q, k, v, bias) if q.shape[2] >= LONG else windows_in_cache(q, k, v, bias)


def windows_by_sample(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """`attend_windows` in the least memory: the bias is never repeated, the keys are views of one padded copy."""
    out = torch.empty_like(q).flatten(-2)
    for b, s in product(range(len(q)), range(q.shape[1])):
        keys, values = (_windows(x[b, s], bias) for x in (k, v))
        queries = q[b, s].unflatten(0, (-1, bias.shape[-2]))
        out[b, s] = _attention(queries, keys, values, bias[b]).flatten(0, 1)
    return out


def windows_in_cache(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """`windows_at_once` for as many samples, and structures, as stay in the cache: a third of the time if small."""
    out = torch.empty_like(q).flatten(-2)
    for part in _parts(q, bias):
        out[part] = windows_at_once(q[part], k[part], v[part], bias[part[0]])
    return out


def windows_at_once(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """`attend_windows` in the fewest operations, for devices on which starting one takes longer than doing it."""
    queries = q.unflatten(2, (-1, bias.shape[-2])).transpose(-2, -3)
    keys, values = (_windows(x, bias).transpose(-2, -3) for x in (k, v))
    weights = torch.softmax(_products(queries, keys.mT).float() + bias[:, None], dim=-1)
    return _products(weights.to(v.dtype), values).transpose(-2, -3).flatten(-2).flatten(2, 3)


def _parts(q: Tensor, bias: Tensor) -> Iterator[tuple[slice, slice]]:
    """Structures, and samples of each, whose logits fit into the cache together."""
    samples = max(1, LOGITS_IN_CACHE // max(1, bias[0].numel()))
    structures = max(1, LOGITS_OF_MANY // max(1, bias[0].numel() * q.shape[1]))
    for first, start in product(range(0, len(q), structures), range(0, q.shape[1], samples)):
        yield slice(first, first + structures), slice(start, start + samples)


def _products(a: Tensor, b: Tensor) -> Tensor:
    """`a @ b`, leading axes as one: with six, torch.compile takes it for attention that it then cannot rewrite."""
    leading = a.shape[:-2]
    return torch.bmm(a.flatten(end_dim=-3), b.flatten(end_dim=-3)).unflatten(0, leading)


def _windows(x: Tensor, bias: Tensor) -> Tensor:
    """[..., L, heads, D] -> [..., K, H, heads, D], zero outside the sequence."""
    width, reach = bias.shape[-2:]
    margin = (reach - width) // 2
    return F.pad(x, (0, 0, 0, 0, margin, margin)).unfold(-3, reach, width).movedim(-1, -3)


def _attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """`q` [n, W, heads, D], `k`, `v` [n, H, heads, D], `bias` [n or 1, heads, W, H] -> [n, W, heads * D]."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=1.0).transpose(1, 2).flatten(-2)
