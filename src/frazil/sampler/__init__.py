"""The sampling loop: what moves (`Sampler`), how to step (`StochasticEuler`), where noise comes from, what steers."""

from frazil.sampler.chunks import Denoise, SelectableDenoise, is_out_of_memory
from frazil.sampler.hold import Hold
from frazil.sampler.loop import Frame, Sampler, SampleResult, Schedule, Start
from frazil.sampler.motion import Augmentation, CenterOnly, RandomMotion
from frazil.sampler.sources import NoiseSource, NoiseStream, PerSampleNoise, ReferenceNoise, stable_seed
from frazil.sampler.steering import Steering, SteeringReport, StepRecord, finite_samples, take_samples
from frazil.sampler.stepping import Step, Stepper, StochasticEuler

__all__ = [
    "Augmentation",
    "CenterOnly",
    "Denoise",
    "Frame",
    "Hold",
    "NoiseSource",
    "NoiseStream",
    "PerSampleNoise",
    "RandomMotion",
    "ReferenceNoise",
    "SampleResult",
    "Sampler",
    "Schedule",
    "SelectableDenoise",
    "Start",
    "Steering",
    "SteeringReport",
    "Step",
    "StepRecord",
    "Stepper",
    "StochasticEuler",
    "finite_samples",
    "is_out_of_memory",
    "stable_seed",
    "take_samples",
]
