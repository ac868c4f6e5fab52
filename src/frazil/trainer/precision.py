"""Precision of the matrix products of a training step.

Weights, statistics of norms, softmax, the atoms' stream, coordinates, losses and optimiser are float32 in any case; in
bf16 the stream of the tokens is bfloat16 between layers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from frazil.nn.compute import Compute


def forward_products(compute: Compute, device: torch.device) -> torch.autocast:
    """A context in which the forward pass takes its matrix products in the given precision.

    Weights are cast once per step; gradients of products are taken in the same precision, and those of weights
    arrive in float32.
    """
    reduced = compute.product_dtype != torch.float32
    return torch.autocast(device.type, compute.product_dtype if reduced else None, enabled=reduced)


@contextmanager
def float32_products(compute: Compute) -> Iterator[None]:
    """A context in which NVIDIA GPUs take float32 products as TF32 if the precision is `tf32`, and exactly if not."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = compute.precision == "tf32"
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
