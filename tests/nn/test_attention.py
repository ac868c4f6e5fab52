from __future__ import annotations

import pytest
import torch
from torch import nn

from frazil.nn.attention import (
    MASKED_LOGIT,
    AtomWindows,
    DiffusionTransformer,
    PairBiasAttention,
    WholeSequence,
)


def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return module.double()


@pytest.mark.parametrize(("queries", "keys", "atoms"), [(32, 128, 160), (8, 16, 40), (4, 4, 12), (2, 8, 6)])
def test_window_keys_are_the_atoms_around_the_middle_of_the_queries(queries: int, keys: int, atoms: int) -> None:
    windows = AtomWindows(queries, keys)
    rows = torch.arange(1, atoms + 1)[:, None]
    for window, seen in enumerate(windows.keys(rows).squeeze(-1)):
        first = window * queries + queries // 2 - keys // 2
        expected = [a + 1 if 0 <= a < atoms else 0 for a in range(first, first + keys)]
        assert seen.tolist() == expected
    assert torch.equal(windows.merge(windows.queries(rows)), rows)


@pytest.mark.parametrize(("queries", "keys"), [(3, 9), (4, 6), (32, 100)])
def test_windows_that_do_not_tile_are_refused(queries: int, keys: int) -> None:
    with pytest.raises(ValueError, match=str(queries)):
        AtomWindows(queries, keys)


def attend_by_hand(attention: PairBiasAttention, a: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """One query, one key and one head at a time, for [L, dim] and [heads, L, L]."""
    length, dim = a.shape
    width = dim // attention.heads
    q, k, v = attention.query(a), attention.key(a), attention.value(a)
    out = torch.zeros_like(a)
    for head in range(attention.heads):
        part = slice(head * width, (head + 1) * width)
        for i in range(length):
            logits = torch.stack([q[i, part] @ k[j, part] / width**0.5 + bias[head, i, j] for j in range(length)])
            weights = torch.exp(logits - logits.max())
            out[i, part] = (weights / weights.sum()) @ v[:, part]
    return attention.out(torch.sigmoid(attention.gate(a)) * out)


def test_attention_is_the_weighted_mean_that_it_claims_to_be() -> None:
    attention = randomise(PairBiasAttention(8, 2))
    a = torch.randn(1, 1, 5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    bias = torch.randn(1, 1, 2, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    given = attention(a, bias, torch.zeros(1, 1, 1, 1, 5), WholeSequence())
    torch.testing.assert_close(given[0, 0], attend_by_hand(attention, a[0, 0], bias[0, 0]))


def test_absent_keys_do_not_matter_and_a_row_without_keys_is_finite() -> None:
    attention = randomise(PairBiasAttention(8, 2))
    generator = torch.Generator().manual_seed(1)
    a = torch.randn(1, 2, 6, 8, dtype=torch.float64, generator=generator)
    bias = torch.randn(1, 1, 2, 6, 6, dtype=torch.float64, generator=generator)
    key_bias = torch.where(torch.arange(6) < 4, 0.0, MASKED_LOGIT).view(1, 1, 1, 1, 6)
    other = a.clone()
    other[:, :, 4:] = 7.0
    full = attention(a, bias, key_bias, WholeSequence())
    torch.testing.assert_close(attention(other, bias, key_bias, WholeSequence())[:, :, :4], full[:, :, :4])
    short = attention(a[:, :, :4], bias[..., :4, :4], key_bias[..., :4], WholeSequence())
    torch.testing.assert_close(full[:, :, :4], short)
    assert torch.isfinite(attention(a, bias, torch.full_like(key_bias, MASKED_LOGIT), WholeSequence())).all()


def transformer(**options: bool) -> DiffusionTransformer:
    return randomise(DiffusionTransformer(3, 8, 6, 2, **options))  # type: ignore[arg-type, return-value]


def inputs(length: int = 7, samples: int = 3) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(3)
    a = torch.randn(2, samples, length, 8, dtype=torch.float64, generator=generator)
    s = torch.randn(2, samples, length, 6, dtype=torch.float64, generator=generator)
    biases = torch.randn(3, 2, 1, 2, length, length, dtype=torch.float64, generator=generator)
    return a, s, biases, torch.zeros(2, 1, 1, 1, length, dtype=torch.float64)


def test_transformer_is_equivariant_to_the_order_of_tokens() -> None:
    a, s, biases, key_bias = inputs()
    order = torch.tensor([3, 0, 6, 1, 5, 4, 2])
    model = transformer()
    straight = model(a, s, list(biases), key_bias, WholeSequence())
    shuffled = biases[..., order, :][..., order]
    torch.testing.assert_close(
        model(a[:, :, order], s[:, :, order], list(shuffled), key_bias, WholeSequence()), straight[:, :, order]
    )


def test_samples_and_structures_do_not_see_each_other() -> None:
    a, s, biases, key_bias = inputs()
    model = transformer(post_norm=True)
    together = model(a, s, list(biases), key_bias, WholeSequence())
    alone = model(a[1:, 2:], s[1:, 2:], [b[1:] for b in biases], key_bias[1:], WholeSequence())
    torch.testing.assert_close(alone, together[1:, 2:])


def test_a_shared_conditioning_signal_is_the_repeated_one() -> None:
    a, s, biases, key_bias = inputs()
    model = transformer()
    shared = model(a, s[:, :1], list(biases), key_bias, WholeSequence())
    repeated = model(a, s[:, :1].expand_as(s), list(biases), key_bias, WholeSequence())
    torch.testing.assert_close(shared, repeated)


def test_recomputing_activations_changes_no_gradient() -> None:
    gradients = []
    for recompute in (False, True):
        a, s, biases, key_bias = inputs()
        model = transformer(activation_checkpointing=recompute).train()
        model(a.requires_grad_(), s, list(biases), key_bias, WholeSequence()).square().sum().backward()
        gradients.append([a.grad, *(p.grad for p in model.parameters())])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(recomputed, plain)


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(ValueError, match="3 heads"):
        PairBiasAttention(8, 3)
