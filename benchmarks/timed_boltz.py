"""Boltz's own command, saying how long its diffusion module sampled: `python -m benchmarks.timed_boltz predict ...`.

Runs in any environment that has boltz-community or boltz; nothing but the clock is added.
"""

from __future__ import annotations

import os
from functools import wraps
from time import perf_counter
from typing import Any

from boltz.main import cli
from boltz.model.modules.diffusionv2 import AtomDiffusion

_sample = AtomDiffusion.sample


@wraps(_sample)
def sample(self: AtomDiffusion, *args: Any, **kwargs: Any) -> Any:
    began = perf_counter()
    result = _sample(self, *args, **kwargs)
    print(f"\nreference: diffusion {perf_counter() - began:.3f} s", flush=True)
    return result


if __name__ == "__main__":
    # newer versions of torch ask for it to be said, before boltz 2.2.1 may load checkpoints
    os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"
    AtomDiffusion.sample = sample
    cli()
