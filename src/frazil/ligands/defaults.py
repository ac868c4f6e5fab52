"""How models of ligands, the built-in one and one's own, are used where nothing else is said."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import torch

MOVES: Final = 10
"""Guidance moves a step: half of the usual ones hold a small molecule as well, and take a tenth off the time."""

LONGEST_MOVE: Final = 0.3
"""Angstrom: enough to turn a centre within a step, too little to throw an atom out of a molecule."""


@cache
def fast_precision() -> str:
    """`bf16` where the machine computes in it: on GPUs, and on CPUs with its instructions; else `float32`."""
    if torch.cuda.is_available():
        return "bf16"
    # torch has no public name for these, and may rename them
    asked = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return "bf16" if any(supported is not None and supported() for supported in asked) else "float32"


def ligand_defaults() -> dict[str, Any]:
    """Fields of `PredictSettings` for models of ligands."""
    return {"num_samples": 10, "sampler": "fast", "precision": fast_precision()}


def ligand_steering(*, asked: bool) -> dict[str, Any]:
    """Fields of `SteeringSettings` for models of ligands: bonds, angles and stereo hold, and so does what is `asked`.

    >>> ligand_steering(asked=False)
    {'sets': ('physical',), 'moves': 10, 'longest_move': 0.3}
    """
    if asked:
        return {"sets": ("physical", "contacts")}
    return {"sets": ("physical",), "moves": MOVES, "longest_move": LONGEST_MOVE}
