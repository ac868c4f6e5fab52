"""Denoising within a bound: at most so many samples at once, and fewer when memory runs out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from frazil.errors import FrazilError

_ALLOCATION_FAILURES = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "bad_alloc",
    "alloc_failed",
    "could not create a memory",
)


class Denoise(Protocol):
    """An estimate of clean coordinates from noisy ones."""

    def __call__(self, coords: Tensor, sigma: Tensor, /) -> Tensor:
        """`coords` [B, S, A, 3] and `sigma` [B, 1], angstrom -> [B, S, A, 3]; any S."""
        ...


@runtime_checkable
class SelectableDenoise(Protocol):
    """A `Denoise` that can be had for some structures of the batch; needed where the bound is below B."""

    def __call__(self, coords: Tensor, sigma: Tensor, /) -> Tensor:
        """As `Denoise`."""
        ...

    def select(self, rows: slice, /) -> Denoise:
        """The callable for the structures `rows`."""
        ...


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is an allocation that failed, on the CPU or on an accelerator.

    >>> is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"))
    True
    """
    if isinstance(error, MemoryError):
        return True
    message = str(error).lower()
    return isinstance(error, RuntimeError) and any(text in message for text in _ALLOCATION_FAILURES)


@dataclass(frozen=True)
class _Block:
    """Structures rows[0]:rows[1], samples columns[0]:columns[1]."""

    rows: tuple[int, int]
    columns: tuple[int, int]

    @property
    def size(self) -> int:
        return (self.rows[1] - self.rows[0]) * (self.columns[1] - self.columns[0])

    def split(self, limit: int) -> Iterator[_Block]:
        """Blocks of at most `limit` samples: along the samples as long as all structures fit, else along both."""
        structures = min(limit, self.rows[1] - self.rows[0])
        samples = limit // structures
        for row in range(*self.rows, structures):
            for column in range(*self.columns, samples):
                yield _Block(
                    (row, min(row + structures, self.rows[1])),
                    (column, min(column + samples, self.columns[1])),
                )


class BoundedDenoise:
    """Calls a `Denoise` on at most `limit` samples at once; halves the limit, for good, when memory runs out.

    Parameters
    ----------
    denoise : Denoise
        The callable.
    limit : int, optional
        Most samples (structures x samples) in one call; no bound by default.
    """

    def __init__(self, denoise: Denoise, limit: int | None) -> None:
        self._denoise = denoise
        self._limit = limit
        self.calls = 0
        """How often it was asked to denoise, whatever the number of blocks."""
        self.halvings = 0
        """How often memory ran out."""
        self.largest = 0
        """Samples in the largest call that is still allowed."""

    def __call__(self, coords: Tensor, sigma: Tensor) -> Tensor:
        """As `Denoise`, for any number of samples.

        Raises
        ------
        FrazilError
            If a single sample does not fit into memory, or the bound is below the number of structures and the callable
            has no `select`.
        """
        self.calls += 1
        batch, samples = coords.shape[:2]
        denoised = torch.empty_like(coords)
        pending = [_Block((0, batch), (0, samples))]
        while pending:
            block = pending.pop()
            if self._limit is not None and block.size > self._limit:
                pending.extend(reversed(list(block.split(self._limit))))
            elif not self._fill(denoised, coords, sigma, block):
                pending.append(block)
        return denoised

    def _fill(self, denoised: Tensor, coords: Tensor, sigma: Tensor, block: _Block) -> bool:
        """Denoise one block in place; False, with the limit halved, if it did not fit."""
        rows, columns = slice(*block.rows), slice(*block.columns)
        try:
            denoise = self._for_rows(rows, coords.shape[0])
            denoised[rows, columns] = denoise(coords[rows, columns].contiguous(), sigma[rows])
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if block.size == 1:
                raise FrazilError(
                    f"out of memory: one sample of {coords.shape[2]} atoms does not fit; "
                    "use a machine with more memory or a smaller structure"
                ) from error
        else:
            self.largest = max(self.largest, block.size)
            return True
        # Out of the handler, so that the failed call's tensors are no longer held by its traceback.
        self._limit = self.largest = block.size // 2
        self.halvings += 1
        if coords.is_cuda:
            torch.cuda.empty_cache()
        return False

    def _for_rows(self, rows: slice, batch: int) -> Denoise:
        if rows == slice(0, batch):
            return self._denoise
        if isinstance(self._denoise, SelectableDenoise):
            return self._denoise.select(rows)
        raise FrazilError(
            f"at most {self._limit} samples at once cannot hold {batch} structures, and this denoiser cannot be split "
            "into single structures; sample fewer structures at once"
        )
