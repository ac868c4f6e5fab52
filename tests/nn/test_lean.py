"""The hand-written backward passes against finite differences, and oneDNN's linear layer against torch's."""

from __future__ import annotations

import math

import pytest
import torch
from torch.autograd import gradcheck
from torch.nn import functional as F

from frazil.nn.lean import attend, gated_product, overlapping_windows
from frazil.nn.linear import FEW_ROWS, Linear


def doubles(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)


def test_gradient_of_the_gated_product() -> None:
    assert gradcheck(gated_product, (doubles(2, 3, 8), doubles(2, 3, 4, seed=1)))


@pytest.mark.parametrize("absent", [0, 2, 5])
def test_gradient_of_attention(absent: int) -> None:
    query, key, value = doubles(2, 3, 1, 2, 4, 6), doubles(2, 3, 1, 2, 5, 6, seed=1), doubles(2, 3, 1, 2, 5, 6, seed=2)
    key_bias = torch.zeros(2, 1, 1, 1, 5, dtype=torch.float64)
    key_bias[..., :absent] = -1e6
    # where every key is absent, finite differences drown in the rounding of -1e6
    step = 1e-6 if absent < 5 else 1e-4
    bias = doubles(2, 1, 2, 4, 5, seed=3)
    assert gradcheck(attend, (query, key, value, bias, key_bias), eps=step, atol=1e-4)


def test_attention_is_its_formula() -> None:
    query, key, value, bias = (
        doubles(1, 2, 3, 2, 4, 6),
        doubles(1, 2, 3, 2, 8, 6),
        doubles(1, 2, 3, 2, 8, 6),
        doubles(1, 3, 2, 4, 8),
    )
    logits = query @ key.mT / math.sqrt(6) + bias[:, None]
    key_bias = torch.zeros(1, 3, 1, 1, 8, dtype=torch.float64)
    torch.testing.assert_close(attend(query, key, value, bias, key_bias), logits.softmax(dim=-1) @ value)


@pytest.mark.parametrize(("size", "step"), [(4, 2), (2, 2), (6, 2)])
def test_gradient_of_overlapping_windows(size: int, step: int) -> None:
    assert gradcheck(lambda x: overlapping_windows(x, size, step), (doubles(2, 8, 3),))


@pytest.mark.parametrize("rows", [1, FEW_ROWS - 1, FEW_ROWS, 3 * FEW_ROWS + 1])
@pytest.mark.parametrize("bias", [True, False])
def test_the_linear_layer_and_its_gradients_are_torchs(rows: int, bias: bool) -> None:
    generator = torch.Generator().manual_seed(rows)
    layer = Linear(40, 24, bias=bias)
    x, upstream = torch.randn(2, rows, 40, generator=generator), torch.randn(2, rows, 24, generator=generator)
    inputs = [x.clone().requires_grad_(), *layer.parameters()]
    expected_inputs = [t.detach().clone().requires_grad_() for t in inputs]
    ours, expected = layer(inputs[0]), F.linear(*expected_inputs)
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)
    found = torch.autograd.grad(ours, inputs, upstream)
    for a, b in zip(found, torch.autograd.grad(expected, expected_inputs, upstream), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_frozen_weights_get_no_gradient() -> None:
    layer = Linear(16, 16).requires_grad_(False)
    x = torch.randn(2 * FEW_ROWS, 16, requires_grad=True)
    (gradient,) = torch.autograd.grad(layer(x).sum(), x)
    torch.testing.assert_close(gradient, layer.weight.sum(dim=0).expand_as(x), rtol=1e-5, atol=1e-5)
