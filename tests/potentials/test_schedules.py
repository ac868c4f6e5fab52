from __future__ import annotations

import pytest
from boltz.model.potentials.schedules import ExponentialInterpolation, PiecewiseStepFunction
from hypothesis import assume, given
from hypothesis import strategies as st

from frazil.errors import InputError
from frazil.potentials.schedules import Constant, Exponential, Steps

times = st.floats(0, 1)


@given(t=times, start=st.floats(-9, 9), end=st.floats(-9, 9), alpha=st.floats(-8, 8))
def test_exponential_is_the_reference_s(t: float, start: float, end: float, alpha: float) -> None:
    assume(alpha == 0 or abs(alpha) > 1e-6)  # below, the reference's exp(x) - 1 loses its digits
    assert Exponential(start, end, alpha).at(t) == pytest.approx(
        ExponentialInterpolation(start, end, alpha).compute(t), abs=1e-6
    )


@given(alpha=st.floats(-1e4, 1e4))
def test_exponential_meets_its_ends_without_overflow(alpha: float) -> None:
    schedule = Exponential(start=8.0, end=-1.0, alpha=alpha)
    assert schedule.at(0.0) == pytest.approx(8.0)
    assert schedule.at(1.0) == pytest.approx(-1.0)
    assert -1.0 - 1e-9 <= schedule.at(0.5) <= 8.0 + 1e-9


@given(t=times)
def test_steps_are_the_reference_s(t: float) -> None:
    thresholds, values = (0.25, 0.75), (0.0, 0.5, 1.0)
    ours, theirs = Steps(thresholds, values), PiecewiseStepFunction(list(thresholds), list(values))
    for time in (t, *thresholds):
        assert ours.at(time) == theirs.compute(time)


def test_a_constant_is_constant() -> None:
    assert {Constant(0.15).at(t) for t in (0.0, 0.3, 1.0)} == {0.15}


@pytest.mark.parametrize(
    ("thresholds", "values"), [((0.5,), (1.0,)), ((0.5, 0.2), (1.0, 2.0, 3.0)), ((0.5, 0.5), (1, 2, 3))]
)
def test_impossible_steps_are_refused(thresholds: tuple[float, ...], values: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="must rise"):
        Steps(thresholds, values)
