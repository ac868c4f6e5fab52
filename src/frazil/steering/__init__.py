"""Steering of samples by potentials: guidance moves the estimates, a particle filter selects among several."""

from frazil.steering.guidance import Guidance, GuidanceState
from frazil.steering.particles import (
    Correction,
    EveryStep,
    FilterState,
    Keep,
    KeepAll,
    KeepOne,
    ParticleFilter,
    ResamplingStepsOnly,
)
from frazil.steering.resampling import Multinomial, Resampler, Stratified, Systematic, Uniform, Weights

__all__ = [
    "Correction",
    "EveryStep",
    "FilterState",
    "Guidance",
    "GuidanceState",
    "Keep",
    "KeepAll",
    "KeepOne",
    "Multinomial",
    "ParticleFilter",
    "Resampler",
    "ResamplingStepsOnly",
    "Stratified",
    "Systematic",
    "Uniform",
    "Weights",
]
