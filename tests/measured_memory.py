"""How much memory sampling takes, measured: `python measured_memory.py PRESET PRECISION TOKENS ATOMS SAMPLES`.

Prints two numbers: by how many bytes the resident set grew at most beyond what it was with the model loaded, over
conditioning on an input, binding and three steps (VmHWM - VmRSS in /proc/self/status, the high-water mark reset in
between; a small input goes first and loads all code); and how many parameters the model has.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from frazil.denoiser import ModelConfig, StructureModel
from frazil.features import Features
from frazil.nn.compute import Compute
from frazil.noise import KarrasSchedule
from frazil.sampler import PerSampleNoise, Sampler
from random_features import random_features


def sized(model: StructureModel, num_tokens: int, num_atoms: int) -> Features:
    """Features of so many tokens and atoms, padding included."""
    return model.prepare(random_features(num_tokens // 4).pad(num_tokens=num_tokens, num_atoms=num_atoms))


@torch.no_grad()
def sample(model: StructureModel, features: Features, compute: Compute, num_samples: int) -> None:
    """What `frazil sample` does with features."""
    denoise = model.denoiser.bind(model.condition(features), compute)
    Sampler(KarrasSchedule()).sample(denoise, features.atom_mask, num_samples, 3, PerSampleNoise(0, ["x"]))


def status(field: str) -> int:
    """Bytes of a field of /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def main() -> None:
    """Measure and print."""
    preset, precision, *numbers = sys.argv[1:]
    num_tokens, num_atoms, num_samples = map(int, numbers)
    compute = Compute(precision)
    small, model = (StructureModel(ModelConfig.preset(name)).eval() for name in ("mini", preset))
    sample(small, sized(small, 16, 128), compute, 1)
    features = sized(model, num_tokens, num_atoms)
    before = status("VmRSS")
    # writing 5 resets the high-water mark (proc(5))
    Path("/proc/self/clear_refs").write_text("5")
    sample(model, features, compute, num_samples)
    print(status("VmHWM") - before, sum(parameter.numel() for parameter in model.parameters()))


if __name__ == "__main__":
    main()
