"""Truths about drawing particles: unbiased counts, nothing impossible drawn, weights of any size."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from frazil.steering import Multinomial, Stratified, Systematic, Weights

RESAMPLERS = [Multinomial(), Systematic(), Stratified()]
INF = float("inf")


class Draws:
    """Uniform numbers that count how often they were asked for."""

    def __init__(self, groups: int, seed: int = 0) -> None:
        self.groups, self.generator, self.asked = groups, torch.Generator().manual_seed(seed), []

    def __call__(self, count: int) -> Tensor:
        self.asked.append(count)
        return torch.rand(1, self.groups, count, generator=self.generator)


def counts(picked: Tensor, particles: int) -> Tensor:
    return torch.nn.functional.one_hot(picked, particles).sum(dim=-2)


@pytest.mark.parametrize("resampler", RESAMPLERS, ids=lambda r: type(r).__name__)
def test_each_particle_is_expected_by_its_weight_and_zero_weight_never(resampler) -> None:
    weights = torch.tensor([0.0, 0.45, 0.05, 0.0, 0.3, 0.2, 0.0])
    groups, count = 40_000, 5
    draws = Draws(groups)
    found = counts(resampler.choose(weights.expand(1, groups, 7), count, draws), 7)[0].double()
    assert len(draws.asked) == 1
    assert (found.sum(dim=-1) == count).all()
    # Binomial standard error of the mean, an upper bound for the two others.
    error = (count * weights * (1 - weights) / groups).sqrt()
    assert ((found.mean(dim=0) - count * weights).abs() <= 4 * error).all()


def test_the_variances_of_the_counts_are_those_of_theory() -> None:
    """Multinomial: n w (1 - w). Systematic: the fractional part f of n w gives f (1 - f). Stratified lies between."""
    weights, groups, count = torch.tensor([0.5, 0.12, 0.38]), 40_000, 5
    spread = weights.expand(1, groups, 3)
    found = {type(r): counts(r.choose(spread, count, Draws(groups)), 3)[0].double().var(dim=0) for r in RESAMPLERS}
    part = (count * weights) % 1
    torch.testing.assert_close(found[Multinomial].float(), count * weights * (1 - weights), rtol=0.05, atol=0)
    torch.testing.assert_close(found[Systematic].float(), part * (1 - part), rtol=0.05, atol=1e-3)
    assert (found[Systematic] <= found[Stratified] * 1.05).all()
    assert (found[Stratified] < found[Multinomial]).all()


@pytest.mark.parametrize("resampler", RESAMPLERS, ids=lambda r: type(r).__name__)
@pytest.mark.parametrize("point", [0.0, 1 - 2**-24])
def test_the_ends_of_the_interval_never_meet_an_impossible_particle(resampler, point: float) -> None:
    for size in (1, 2, 3, 1000):
        weights = torch.rand(1, 1, size, generator=torch.Generator().manual_seed(size))
        weights[..., size // 2 :][..., 1:] = 0.0
        weights[..., : size // 3] = 0.0
        weights = weights / weights.sum()
        picked = resampler.choose(weights, size, lambda n: torch.full((1, 1, n), point))
        assert (weights[0, 0, picked[0, 0]] > 0).all()


def test_even_weights_leave_every_particle_once_unless_drawn_independently() -> None:
    even = torch.full((1, 3, 8), 1 / 8)
    for resampler in (Systematic(), Stratified()):
        assert torch.equal(resampler.choose(even, 8, Draws(3)), torch.arange(8).expand(1, 3, 8))


@pytest.mark.parametrize("resampler", RESAMPLERS, ids=lambda r: type(r).__name__)
def test_a_group_draws_the_same_beside_any_others(resampler) -> None:
    weights = torch.rand(2, 5, 37, generator=torch.Generator().manual_seed(0)).softmax(dim=-1)
    points = torch.rand(2, 5, 37, generator=torch.Generator().manual_seed(1))
    together = resampler.choose(weights, 37, lambda n: points[..., :n])
    for b in range(2):
        for g in range(5):
            alone = resampler.choose(weights[b, g][None, None], 37, lambda n, b=b, g=g: points[b, g, :n][None, None])
            assert torch.equal(alone[0, 0], together[b, g])


def test_weights_of_any_size_are_normalised() -> None:
    logs = torch.tensor(
        [[[-INF, -INF], [0.0, -INF], [1e30, -1e30], [-3e38, -3e38], [5.0, 5.0 + torch.log(torch.tensor(3.0))]]]
    )
    weights = Weights.of(logs)
    expected = torch.tensor([[[0.5, 0.5], [1.0, 0.0], [1.0, 0.0], [0.5, 0.5], [0.25, 0.75]]])
    torch.testing.assert_close(weights.values, expected)
    torch.testing.assert_close(weights.effective_size, torch.tensor([[0.0, 1.0, 1.0, 2.0, 1.6]]))
    assert weights.logs[0, 0].tolist() == [0.0, 0.0]
    assert not weights.logs.isnan().any()
    torch.testing.assert_close(weights.logs[0, 1:].exp(), expected[0, 1:])
