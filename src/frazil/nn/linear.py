"""Linear layers: the one of this network, and one for coordinates."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

FEW_ROWS: Final = 64
"""With fewer rows than this there is nothing to gain."""


class Linear(nn.Linear):
    """A linear layer that trains in float32 on a CPU by oneDNN, whose products there are a tenth faster than torch's.

    Without gradients, in other types and on other devices it is torch's own.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[..., in_features] -> [..., out_features]."""
        if not self._trains_in_float32(x):
            return super().forward(x)
        return _OneDNNProduct.apply(x, self.weight, self.bias)

    def _trains_in_float32(self, x: Tensor) -> bool:
        return (
            torch.is_grad_enabled()
            and x.device.type == "cpu"
            and x.dtype == self.weight.dtype == torch.float32
            and x.shape[:-1].numel() >= FEW_ROWS
            and not torch.is_autocast_enabled("cpu")
            and _ONE_DNN
        )


class Float32Linear(nn.Linear):
    """A linear layer that stays in float32 under autocast.

    For coordinates and noise levels: the eight bits of bfloat16 leave 0.06 A of 16 A, and nothing of a phase.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[..., in_features] -> [..., out_features]."""
        with torch.autocast(x.device.type, enabled=False):
            return F.linear(x.to(self.weight.dtype), self.weight, self.bias)


def as_operand(x: Tensor) -> Tensor:
    """`x` in the type in which autocast takes products: cast once, for several of them."""
    kind = x.device.type
    return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x


class _OneDNNProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        grad = grad_outputs[0].flatten(0, -2)
        grad_x = _product(grad, weight.t(), None).view(x.shape) if wanted[0] else None
        # torch's own product is the faster one here
        grad_weight = grad.t() @ x.flatten(0, -2) if wanted[1] else None
        return grad_x, grad_weight, grad.sum(dim=0) if wanted[2] else None


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


def _is_there() -> bool:
    """Whether torch has the product; it is no public interface, so it is tried."""
    ones = torch.ones(FEW_ROWS, FEW_ROWS, device="cpu")
    try:
        return bool((_product(ones, ones.t(), ones[0]) == FEW_ROWS + 1).all())
    except (AttributeError, NotImplementedError, RuntimeError, TypeError):
        return False


# tried here and not at the first use: what runs there may be recorded, to be run again in the backward pass
_ONE_DNN: Final = _is_there()
