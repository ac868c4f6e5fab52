"""Matrix products of inference: weights fused and laid out once, activations applied on the way out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Product(Protocol):
    """x @ weight.T + bias for x [..., dim_in] of the product's type; the result is of that type too."""

    def __call__(self, x: Tensor) -> Tensor:
        """[..., dim_in] -> [..., dim_out]."""
        ...

    def relu(self, x: Tensor) -> Tensor:
        """The same through max(0, y)."""
        ...

    def sigmoid(self, x: Tensor) -> Tensor:
        """The same through 1 / (1 + exp(-y))."""
        ...

    def silu(self, x: Tensor) -> Tensor:
        """The same through y sigmoid(y)."""
        ...

    def times(self, x: Tensor, factor: Tensor) -> Tensor:
        """The same times `factor` [..., dim_out]."""
        ...


def product(weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Product:
    """The product with a weight [dim_out, dim_in] and a bias [dim_out] or None, in a type, as the machine does it best.

    Examples
    --------
    >>> product(torch.eye(16), None, torch.float32).times(torch.ones(16), torch.arange(16.0)).sum()
    tensor(120.)
    """
    weight = weight.detach().to(dtype).contiguous()
    bias = None if bias is None else bias.detach().to(dtype)
    return PackedProduct(weight, bias) if _can_be_packed(weight) else PlainProduct(weight, bias)


def side_by_side(linears: Sequence[nn.Linear], dtype: torch.dtype) -> Product:
    """One product for linear layers of the same input, their outputs next to each other; all or none have a bias."""
    weights = [linear.weight.detach() for linear in linears]
    biases = [linear.bias.detach() for linear in linears if linear.bias is not None]
    bias = torch.cat(biases) if biases else None
    return product(torch.cat(weights), bias, dtype)


def after_scale(scale: Tensor, linear: nn.Linear, dtype: torch.dtype) -> Product:
    """A linear layer behind a norm whose scale [dim_in] goes into the weight."""
    return product(linear.weight * scale, linear.bias, dtype)


@final
class PlainProduct:
    """A `Product` as torch has it on any device."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self._weight = weight
        self._bias = bias

    def __call__(self, x: Tensor) -> Tensor:
        """See `Product`."""
        return F.linear(x, self._weight, self._bias)

    def relu(self, x: Tensor) -> Tensor:
        """See `Product.relu`."""
        return self(x).relu_()

    def sigmoid(self, x: Tensor) -> Tensor:
        """See `Product.sigmoid`."""
        return self(x).sigmoid_()

    def silu(self, x: Tensor) -> Tensor:
        """See `Product.silu`."""
        return F.silu(self(x), inplace=True)

    def times(self, x: Tensor, factor: Tensor) -> Tensor:
        """See `Product.times`."""
        return self(x).mul_(factor)


@final
class PackedProduct:
    """A `Product` by oneDNN: the weight in blocks that suit the processor, what follows fused into the product."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, None)
        self._bias = bias

    def __call__(self, x: Tensor) -> Tensor:
        """See `Product`."""
        return self._followed_by("none", x)

    def relu(self, x: Tensor) -> Tensor:
        """See `Product.relu`."""
        return self._followed_by("relu", x)

    def sigmoid(self, x: Tensor) -> Tensor:
        """See `Product.sigmoid`."""
        return self._followed_by("sigmoid", x)

    def silu(self, x: Tensor) -> Tensor:
        """See `Product.silu`."""
        return self._followed_by("swish", x)

    def times(self, x: Tensor, factor: Tensor) -> Tensor:
        """See `Product.times`."""
        return torch.ops.mkldnn._linear_pointwise.binary(x, factor, self._weight, self._bias, "mul")

    def _followed_by(self, activation: str, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, activation, [], "")


def _can_be_packed(weight: Tensor) -> bool:
    """Whether torch and the processor have the packed product; it is no public interface, so it is tried."""
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    ones = torch.ones(16, 16, dtype=weight.dtype)
    try:
        tried = PackedProduct(ones, ones[0]).times(PackedProduct(ones, None).relu(ones), ones)
    except (AttributeError, NotImplementedError, RuntimeError):
        return False
    return bool((tried == 257).all() | (tried == 256).all())
