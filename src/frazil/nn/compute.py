"""How the network is computed: the precision of its products, and whether it is compiled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch

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
        Whether torch.compile may fuse what lies between the products, where that pays.

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
