"""Where the time of a call goes, by kinds of operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch.profiler import ProfilerActivity, profile

KINDS: Final = {
    "products": ("mm", "addmm", "bmm", "baddbmm", "_linear_pointwise", "linear", "matmul"),
    "attention": ("scaled_dot_product", "_flash_attention", "_efficient_attention", "softmax"),
    "copies": (
        "copy_", "clone", "cat", "_to_copy", "contiguous", "index", "gather", "scatter", "pad", "fill_", "zero_",
        "repeat", "memcpy", "memset", "stack",
    ),
    "compiled": ("cpp_fused", "triton", "torch-compiled", "compiled"),
    "norms and elementwise": (
        "norm", "sigmoid", "silu", "relu", "mul", "add", "sub", "div", "sum", "mean", "exp", "cos", "log", "sqrt",
        "pow", "where", "clamp", "neg", "rsqrt", "lerp", "abs", "sign", "elementwise", "reduce",
    ),
}  # fmt: skip
"""A kind for each operator: the first one of whose words its name contains one; products by whole names."""
_GPU_PRODUCTS: Final = ("gemm", "cutlass", "nvjet")
TOP = 12


def profiled(call: Callable[[], object], device: torch.device) -> dict[str, Any]:
    """Seconds by kind and of the costliest operators, after one call that is not counted.

    Recording has a price, so the sum is above the time of an unobserved call; shares are what to read.
    """
    call()
    activities = [ProfilerActivity.CUDA if device.type == "cuda" else ProfilerActivity.CPU]
    with profile(activities=activities) as record:
        call()
    times = {
        event.key: (event.self_device_time_total if device.type == "cuda" else event.self_cpu_time_total) / 1e6
        for event in record.key_averages()
    }
    counts = {event.key: event.count for event in record.key_averages()}
    kinds: dict[str, float] = {}
    for name, seconds in times.items():
        kind = kind_of(name)
        kinds[kind] = kinds.get(kind, 0.0) + seconds
    costliest = sorted(times, key=lambda name: -times[name])[:TOP]
    return {
        "seconds": sum(times.values()),
        "kinds": dict(sorted(kinds.items(), key=lambda item: -item[1])),
        "operators": [
            {"name": name, "kind": kind_of(name), "calls": counts[name], "seconds": times[name]} for name in costliest
        ],
    }


def kind_of(operator: str) -> str:
    """The kind of an operator by its name.

    >>> kind_of("aten::addmm"), kind_of("aten::native_layer_norm"), kind_of("aten::copy_"), kind_of("aten::view")
    ('products', 'norms and elementwise', 'copies', 'other')
    """
    name = operator.lower().rpartition("::")[2]
    if name in KINDS["products"] or any(word in name for word in _GPU_PRODUCTS):
        return "products"
    contained = (kind for kind, words in KINDS.items() if kind != "products" and any(word in name for word in words))
    return next(contained, "other")
