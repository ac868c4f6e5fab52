"""How the network is computed: the precision of its products, and whether it is compiled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from frazil.errors import InputError

PRECISIONS: Final = {"float32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}
"""Names of precisions, and the type of the operands of matrix products in each."""


@dataclass(frozen=True)
class Compute:
    """Precision and compilation of the network.

    Coordinates, EDM scaling, layer-norm statistics, softmax, alignment, losses and energies are float32 in any case.

    Parameters
    ----------
    precision : str
        `float32`; `tf32`, which is float32 with reduced products on NVIDIA GPUs and float32 elsewhere; or `bf16`.
    compile : bool
        Whether torch.compile may be used where it pays: on GPUs.

    Raises
    ------
    InputError
        If there is no precision of that name.

    Examples
    --------
    >>> Compute("bf16").product_dtype
    torch.bfloat16
    """

    precision: str = "float32"
    compile: bool = False

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise InputError(f"precision {self.precision!r}: there is none of that name; give {', '.join(PRECISIONS)}")

    @property
    def product_dtype(self) -> torch.dtype:
        """Type of the operands of matrix products."""
        return PRECISIONS[self.precision]

    @contextmanager
    def reduced_products(self, operand: Tensor) -> Iterator[None]:
        """For `tf32`, and `operand` on a GPU: float32 products in reduced precision inside, as before afterwards."""
        if self.precision != "tf32" or not operand.is_cuda:
            yield
            return
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)
