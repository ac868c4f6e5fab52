"""The sampling loop: what moves (`Sampler`), how to step (`METHODS`), where noise comes from, what steers."""

from frazil.sampler.chunks import Denoise, SelectableDenoise, is_out_of_memory
from frazil.sampler.euler import StochasticEuler
from frazil.sampler.heun import Heun
from frazil.sampler.hold import Hold
from frazil.sampler.loop import Sampler, Schedule
from frazil.sampler.motion import Augmentation, CenterOnly, RandomMotion
from frazil.sampler.multistep import DPMSolver2M
from frazil.sampler.presets import METHODS, PRESETS, Preset, chosen
from frazil.sampler.records import Frame, SampleResult, Start
from frazil.sampler.sources import NoiseSource, NoiseStream, PerSampleNoise, ReferenceNoise, stable_seed
from frazil.sampler.steering import Steering, SteeringReport, StepRecord, finite_samples, take_samples
from frazil.sampler.stepping import Estimate, Points, Step, Stepper

__all__ = [
    "METHODS",
    "PRESETS",
    "Augmentation",
    "CenterOnly",
    "DPMSolver2M",
    "Denoise",
    "Estimate",
    "Frame",
    "Heun",
    "Hold",
    "NoiseSource",
    "NoiseStream",
    "PerSampleNoise",
    "Points",
    "Preset",
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
    "chosen",
    "finite_samples",
    "is_out_of_memory",
    "stable_seed",
    "take_samples",
]
