"""The sampling loop: what moves (`Sampler`), how to step (`StochasticEuler`), where noise comes from, what steers."""

from frazil.sampler.chunks import Denoise, SelectableDenoise, is_out_of_memory
from frazil.sampler.loop import Frame, Sampler, SampleResult, Schedule, Start
from frazil.sampler.motion import Augmentation, CenterOnly, RandomMotion
from frazil.sampler.sources import NoiseSource, NoiseStream, PerSampleNoise, ReferenceNoise, stable_seed
from frazil.sampler.steering import Steering, StepRecord
from frazil.sampler.stepping import Step, Stepper, StochasticEuler

__all__ = [
    "Augmentation",
    "CenterOnly",
    "Denoise",
    "Frame",
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
    "Step",
    "StepRecord",
    "Stepper",
    "StochasticEuler",
    "is_out_of_memory",
    "stable_seed",
]
