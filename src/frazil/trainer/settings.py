"""`TrainSettings`: every choice of a training run, as one frozen record that checks itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from frazil.denoiser import ModelConfig
from frazil.errors import InputError
from frazil.nn.compute import Compute


@dataclass(frozen=True)
class TrainSettings:
    """Choices of a training run; the defaults suit the `mini` preset on two cores.

    Raises
    ------
    InputError
        If a value is outside its range.

    Examples
    --------
    >>> TrainSettings(max_steps=100).copies
    16
    """

    model: ModelConfig = field(default_factory=lambda: ModelConfig.preset("mini"))
    """Sizes of the network."""
    max_minutes: float | None = None
    """Wall time of the run in minutes, final save included; None is no limit."""
    max_steps: int | None = None
    """Optimiser steps; None is no limit."""
    crop_tokens: int = 128
    """Structures with more tokens are cropped to this many, half of the time contiguously, half spatially."""
    copies: int = 16
    """Noised copies of each structure per step, which share one run of the trunk (the reference's multiplicity)."""
    batch_size: int = 1
    """Structures per step and device, before accumulation."""
    accumulate: int = 1
    """Batches whose gradients are summed into one optimiser step."""
    learning_rate: float = 2e-3
    """Rate of AdamW after the warm-up."""
    warmup_steps: int = 30
    """Steps over which the rate rises linearly from zero."""
    decay_fraction: float = 0.5
    """Last part of the budget over which the rate falls linearly to zero; 0 keeps it constant."""
    beta1: float = 0.9
    """AdamW: memory of the mean."""
    beta2: float = 0.99
    """AdamW: memory of the square."""
    weight_decay: float = 0.0
    """AdamW: decoupled decay."""
    gradient_clip: float = 10.0
    """Largest norm of the whole gradient; longer ones are scaled down to it."""
    ema_decay: float = 0.999
    """Decay per step of the running mean of the weights, which is what sampling uses."""
    turned_references: float = 0.0
    """Part of the draws whose reference conformer is turned about its rotatable bonds at random (single molecules)."""
    sigma_mean: float = -1.2
    """Mean of ln(sigma / sigma_data) in training."""
    sigma_std: float = 1.5
    """Standard deviation of ln(sigma / sigma_data) in training."""
    synchronize_sigmas: bool = False
    """One noise level per structure, shared by its copies, instead of one per copy."""
    smooth_lddt: bool = True
    """Add the smooth lDDT loss (AlphaFold 3, Algorithm 27)."""
    nucleotide_weight: float = 5.0
    """Added to the weight of DNA and RNA atoms in the loss."""
    ligand_weight: float = 10.0
    """Added to the weight of non-polymer atoms in the loss."""
    plddt_threshold: float = 0.0
    """Atoms of predicted structures count in the loss only above this pLDDT (0-100)."""
    seed: int = 0
    """Decides weights, order, crops, noise: the same seed gives the same run."""
    precision: str = "float32"
    """Of the matrix products: `float32`, `tf32` or `bf16` (`frazil.nn.compute.Compute`); all else is float32."""
    devices: int = 1
    """Accelerators of each node, or processes on machines without one, that train together."""
    num_nodes: int = 1
    """Machines that train together."""
    strategy: str = "auto"
    """How processes share the work: `ddp` (each has the whole model), `fsdp` (each a part), `auto` (`ddp` if many)."""
    num_workers: int = 0
    """Processes that prepare batches ahead of time."""
    checkpoint_minutes: float = 3.0
    """Minutes between checkpoints."""
    checkpoint_steps: int | None = None
    """Steps between checkpoints, on top of those by time; None is by time alone."""
    validate_minutes: float = 10.0
    """Minutes between validations by sampling; there is one at the end in any case."""
    val_samples: int = 4
    """Samples per held-out structure."""
    val_steps: int = 20
    """Sampling steps in validation."""

    def __post_init__(self) -> None:
        for name in _POSITIVE:
            _check(name, getattr(self, name), lambda value: value > 0, "above 0")
        for name in _NOT_NEGATIVE:
            _check(name, getattr(self, name), lambda value: value >= 0, "0 or more")
        _check("sigma_mean", self.sigma_mean, lambda value: True, "that is a number")
        _check("turned_references", self.turned_references, lambda value: 0 <= value <= 1, "from 0 to 1")
        for name in ("decay_fraction", "ema_decay", "beta1", "beta2"):
            _check(name, getattr(self, name), lambda value: 0 <= value < 1, "at least 0 and below 1")
        Compute(self.precision)
        if self.strategy not in STRATEGIES:
            raise InputError(f"no strategy {self.strategy!r}; there are {', '.join(STRATEGIES)}")

    @property
    def num_processes(self) -> int:
        """Processes on all nodes."""
        return self.devices * self.num_nodes

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainSettings:
        """Inverse of `to_dict`; missing keys keep their defaults.

        Raises
        ------
        InputError
            If a key is unknown or a value is out of range.
        """
        known = {f.name for f in fields(cls)}
        for key in values:
            if key not in known:
                raise InputError(f"unknown training setting {key!r}")
        rest = {key: value for key, value in values.items() if key != "model"}
        return cls(model=ModelConfig.from_dict(values.get("model", {})), **rest)


STRATEGIES = ("auto", "ddp", "fsdp")
FREE_ON_RESUME = frozenset({
    "max_minutes", "max_steps", "num_workers", "checkpoint_minutes", "checkpoint_steps", "validate_minutes",
    "val_samples", "val_steps", "strategy",
})  # fmt: skip
"""Settings that a resumed run may change: they bound the run or watch it, and no step depends on them."""
SHARED_OUT = ("batch_size", "devices", "num_nodes")
"""Settings whose product, the structures of a step, a resumed run keeps; how they are shared out it may change."""

_POSITIVE = (
    "max_minutes", "max_steps", "crop_tokens", "copies", "batch_size", "accumulate", "learning_rate", "gradient_clip",
    "sigma_std", "devices", "num_nodes", "checkpoint_minutes", "checkpoint_steps", "validate_minutes", "val_samples",
    "val_steps",
)  # fmt: skip
_NOT_NEGATIVE = (
    "warmup_steps", "weight_decay", "nucleotide_weight", "ligand_weight", "plddt_threshold", "num_workers", "seed",
)  # fmt: skip


def _check(name: str, value: float | None, allowed: Any, wanted: str) -> None:
    if value is not None and not (math.isfinite(value) and allowed(value)):
        raise InputError(f"{name} = {value} is out of range: give a value {wanted}")


def first_difference(stored: TrainSettings, given: TrainSettings) -> str | None:
    """Readable first setting that a resumed run may not change but was given another value; None if there is none."""
    before, now = (one.batch_size * one.num_processes for one in (stored, given))
    if before != now:
        return f"{' x '.join(SHARED_OUT)} was {before}, now {now}"
    for name in (f.name for f in fields(TrainSettings)):
        before, now = getattr(stored, name), getattr(given, name)
        if name in FREE_ON_RESUME or name in SHARED_OUT or before == now:
            continue
        if name != "model":
            return f"{name} was {before}, now {now}"
        return model_difference(before, now)
    return None


def model_difference(before: ModelConfig, now: ModelConfig) -> str | None:
    """Readable first setting in which two models differ; None if there is none.

    >>> model_difference(ModelConfig.preset("mini"), ModelConfig.preset("boltz2"))
    'model network.token_s was 64, now 384'
    """
    old, new = _flat(before.to_dict()), _flat(now.to_dict())
    for key in old | new:
        if old.get(key) != new.get(key):
            return f"model {key} was {old.get(key)}, now {new.get(key)}"
    return None


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat
