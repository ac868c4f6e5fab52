"""EDM formulas against their closed forms and against the reference, bit for bit."""

import math

import pytest
import torch
from boltz.model.modules.diffusionv2 import AtomDiffusion
from hypothesis import given
from hypothesis import strategies as st

from frazil.errors import InputError
from frazil.noise import KarrasSchedule, LogNormalSigma, Preconditioning

SIGMAS = torch.logspace(-4, 4, 200)


def reference(**settings: float) -> AtomDiffusion:
    """The reference's module with the smallest network it accepts."""
    network = {
        "token_s": 4, "atom_s": 4, "atom_encoder_depth": 1, "atom_encoder_heads": 1, "token_transformer_depth": 1,
        "token_transformer_heads": 1, "atom_decoder_depth": 1, "atom_decoder_heads": 1, "dim_fourier": 4,
    }  # fmt: skip
    return AtomDiffusion(network, **settings)


def test_network_input_has_unit_variance_at_every_sigma():
    edm = Preconditioning(16.0)
    variance = edm.c_in(SIGMAS) ** 2 * (16.0**2 + SIGMAS**2)
    torch.testing.assert_close(variance, torch.ones_like(SIGMAS))


def test_network_target_has_unit_variance_at_every_sigma():
    # The network should give (x0 - c_skip (x0 + s eps)) / c_out, with x0 ~ N(0, sd^2) and eps ~ N(0, 1).
    edm, sigma = Preconditioning(16.0), SIGMAS.double()
    from_data = ((1 - edm.c_skip(sigma)) * 16.0) ** 2
    from_noise = (edm.c_skip(sigma) * sigma) ** 2
    torch.testing.assert_close((from_data + from_noise) / edm.c_out(sigma) ** 2, torch.ones_like(sigma))


def test_skip_minimises_the_output_scale():
    # c_skip is the choice that amplifies the network's errors least (EDM, appendix B.6).
    edm, sigma = Preconditioning(16.0), SIGMAS.double()
    skip = edm.c_skip(sigma)
    for other in (skip + 1e-3, skip - 1e-3):
        scale = torch.sqrt(((1 - other) * 16.0) ** 2 + (other * sigma) ** 2)
        assert (scale >= edm.c_out(sigma) - 1e-12).all()


def test_limits_of_the_scalings():
    edm = Preconditioning(16.0)
    zero, huge = torch.tensor(0.0), torch.tensor(1e9)
    assert edm.c_skip(zero) == 1 and edm.c_out(zero) == 0 and edm.c_in(zero) == 1 / 16
    assert edm.c_skip(huge) < 1e-12 and abs(edm.c_out(huge) - 16) < 1e-3
    assert edm.c_noise(torch.tensor(16.0)) == 0
    assert edm.c_noise(zero).item() == pytest.approx(0.25 * math.log(1e-20))


def test_loss_weight_is_one_over_c_out_squared():
    edm = Preconditioning(16.0)
    torch.testing.assert_close(edm.loss_weight(SIGMAS), 1 / edm.c_out(SIGMAS) ** 2)


@pytest.mark.parametrize("sigma_data", [16.0, 1.0, 7.3])
def test_scalings_are_the_reference_bit_for_bit(sigma_data):
    edm, theirs = Preconditioning(sigma_data), reference(sigma_data=sigma_data)
    for name in ("c_in", "c_out", "c_skip", "c_noise", "loss_weight"):
        assert torch.equal(getattr(edm, name)(SIGMAS), getattr(theirs, name)(SIGMAS)), name


def test_scalings_keep_the_shape():
    assert Preconditioning().c_in(torch.ones(2, 5)).shape == (2, 5)


@pytest.mark.parametrize("num_steps", [2, 3, 5, 20, 50, 200, 1000])
@pytest.mark.parametrize(
    "law", [(160.0, 1e-4, 7, 16.0), (160.0, 4e-4, 7, 16.0), (160.0, 4e-4, 8, 16.0), (80, 2e-3, 7, 1)]
)
def test_schedule_is_the_reference_bit_for_bit(num_steps, law):
    sigma_max, sigma_min, rho, sigma_data = law
    theirs = reference(sigma_max=sigma_max, sigma_min=sigma_min, rho=rho, sigma_data=sigma_data)
    assert torch.equal(KarrasSchedule(*law).sigmas(num_steps), theirs.sample_schedule(num_steps))


def test_schedule_ends_and_falls():
    sigmas = KarrasSchedule().sigmas(200)
    assert sigmas.shape == (201,) and sigmas.dtype == torch.float32
    torch.testing.assert_close(sigmas[[0, -2, -1]], torch.tensor([2560.0, 1.6e-3, 0.0]), rtol=1e-4, atol=0)
    assert (sigmas.diff() < 0).all()


def test_schedule_is_equally_spaced_in_the_root():
    roots = KarrasSchedule().sigmas(50)[:-1].double() ** (1 / 7)
    torch.testing.assert_close(roots.diff(), roots.diff().mean().expand(49), rtol=1e-4, atol=0)


def test_schedule_of_one_step_goes_straight_to_zero():
    torch.testing.assert_close(KarrasSchedule().sigmas(1), torch.tensor([2560.0, 0.0]))


@pytest.mark.parametrize("num_steps", [0, -3])
def test_schedule_without_steps_is_refused(num_steps):
    with pytest.raises(InputError, match="at least 1"):
        KarrasSchedule().sigmas(num_steps)


@pytest.mark.parametrize(
    "law",
    [
        {"sigma_max": 0.0},
        {"sigma_min": -1.0},
        {"rho": float("nan")},
        {"sigma_data": float("inf")},
        {"sigma_min": 161.0},
    ],
)
def test_meaningless_schedule_is_refused(law):
    with pytest.raises(InputError):
        KarrasSchedule(**law)


@given(num_steps=st.integers(1, 300), start=st.floats(1.7e-3, 2559.0))
def test_partial_schedule_starts_where_asked_and_falls(num_steps, start):
    sigmas = KarrasSchedule().from_sigma(start, num_steps)
    assert sigmas.shape == (num_steps + 1,)
    assert sigmas[0] == torch.tensor(start) and sigmas[-1] == 0
    assert (sigmas.diff() <= 0).all()


def test_partial_schedule_is_the_tail_of_the_whole_one():
    whole = KarrasSchedule().sigmas(200)
    tail = KarrasSchedule().from_sigma(whole[150].item(), 50)
    torch.testing.assert_close(tail, whole[150:], rtol=1e-4, atol=0)


@pytest.mark.parametrize("start", [0.0, -1.0, 2561.0, float("nan")])
def test_partial_schedule_outside_the_range_is_refused(start):
    with pytest.raises(InputError, match="start sigma"):
        KarrasSchedule().from_sigma(start, 10)


def test_training_sigmas_follow_the_law():
    law = LogNormalSigma(mean=-1.2, std=1.5, sigma_data=16.0)
    logs = torch.log(law.sample((200, 1000), torch.Generator().manual_seed(1)) / 16.0)
    assert abs(logs.mean() + 1.2) < 0.02 and abs(logs.std() - 1.5) < 0.02
    quantiles = logs.flatten()[:100000].quantile(torch.tensor([0.158655, 0.5, 0.841345]))
    torch.testing.assert_close(quantiles, torch.tensor([-2.7, -1.2, 0.3]), rtol=0, atol=0.03)


def test_training_sigmas_are_the_references_for_the_same_draws():
    module = reference(P_mean=-1.0, P_std=1.3)
    torch.manual_seed(5)
    theirs = module.noise_distribution(100)
    normal = torch.randn(100, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(LogNormalSigma(-1.0, 1.3).from_normal(normal), theirs, rtol=3e-7, atol=0)


def test_training_sigmas_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    first = LogNormalSigma().sample((3, 2), torch.Generator().manual_seed(1))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first, LogNormalSigma().sample((3, 2), torch.Generator().manual_seed(1)))


@pytest.mark.parametrize("law", [{"std": -1.0}, {"std": float("nan")}, {"sigma_data": 0.0}])
def test_meaningless_noise_law_is_refused(law):
    with pytest.raises(InputError):
        LogNormalSigma(**law)


def test_meaningless_sigma_data_is_refused():
    with pytest.raises(InputError, match="sigma_data"):
        Preconditioning(-16.0)
