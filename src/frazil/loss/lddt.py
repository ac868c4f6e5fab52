"""Smooth lDDT of many copies in bounded memory (AlphaFold 3, Algorithm 27)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_NO_PAIR = 1e-5
_THRESHOLDS = (0.5, 1.0, 2.0, 4.0)
_SMALLEST_DISTANCE = 1e-12


@dataclass(frozen=True)
class SmoothLDDT:
    """1 - smooth lDDT (AlphaFold 3, Algorithm 27), in memory that does not grow with the number of pairs.

    Parameters
    ----------
    nucleotide_cutoff, other_cutoff : float
        Pairs count whose true distance is below this (angstrom); the first atom of a pair decides which one.
    max_pairs : int
        Pairs (over copies) in work at a time: 2^20 hold about 40 MB.
    """

    nucleotide_cutoff: float = 30.0
    other_cutoff: float = 15.0
    max_pairs: int = 2**20

    def __call__(self, denoised: Tensor, truth: Tensor, is_nucleotide: Tensor, mask: Tensor) -> Tensor:
        """The loss, a scalar in 0..1: mean over structures and copies.

        Parameters
        ----------
        denoised : Tensor
            [B, S, A, 3], angstrom.
        truth : Tensor
            [B, S, A, 3], or [B, 1, A, 3] where all copies have the same truth up to a rigid motion, angstrom.
        is_nucleotide : Tensor
            [B, A] bool.
        mask : Tensor
            [B, S, A], [B, 1, A] or [B, A] bool, atoms that count; others are not read.
        """
        mask = mask if mask.dim() == 3 else mask[:, None]
        wants_gradient = torch.is_grad_enabled() and denoised.requires_grad
        score = _SmoothLDDTScore.apply(
            denoised.float(), truth.detach().float(), is_nucleotide, mask, self, wants_gradient
        )
        return 1 - score.mean()


def smooth_lddt_loss(
    denoised: Tensor, truth: Tensor, is_nucleotide: Tensor, mask: Tensor,
    nucleotide_cutoff: float = 30.0, other_cutoff: float = 15.0,
) -> Tensor:  # fmt: skip
    """`SmoothLDDT` as a function."""
    return SmoothLDDT(nucleotide_cutoff, other_cutoff)(denoised, truth, is_nucleotide, mask)


class _SmoothLDDTScore(torch.autograd.Function):
    """Smooth lDDT [B, S]; the forward pass adds up the gradient block by block and keeps it instead of the pairs."""

    @staticmethod
    def forward(
        ctx: Any, denoised: Tensor, truth: Tensor, is_nucleotide: Tensor, mask: Tensor,
        settings: SmoothLDDT, wants_gradient: bool,
    ) -> Tensor:  # fmt: skip
        scores, gradients = [], []
        for b in range(denoised.shape[0]):
            score, gradient = _structure_lddt(
                denoised[b], truth[b], is_nucleotide[b], mask[b], settings, wants_gradient
            )
            scores.append(score)
            gradients.append(gradient)
        if wants_gradient:
            ctx.save_for_backward(torch.stack(gradients))
        return torch.stack(scores)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return gradient * grad_outputs[0][..., None, None], None, None, None, None, None


def _structure_lddt(
    denoised: Tensor, truth: Tensor, is_nucleotide: Tensor, mask: Tensor, settings: SmoothLDDT, wants_gradient: bool
) -> tuple[Tensor, Tensor]:
    """Smooth lDDT [S] of the copies [S, A, 3] of one structure and its gradient [S, A, 3] (zero if not wanted)."""
    copies, atoms = denoised.shape[:2]
    # Coordinates as [3, S, A]: components in rows make every pair operation run along contiguous memory.
    points = torch.where(mask[..., None], denoised, 0).movedim(-1, 0).contiguous()
    true_points = torch.where(mask[..., None], truth, 0).movedim(-1, 0).contiguous()
    cutoff = torch.where(is_nucleotide, settings.nucleotide_cutoff, settings.other_cutoff)
    total, pairs = denoised.new_zeros(copies), denoised.new_zeros(copies, dtype=torch.int64)
    gradient = torch.zeros_like(points)
    start = 0
    while start < atoms:
        # Each pair once (columns from the diagonal on), counted for both of its orders.
        rows = slice(start, min(atoms, start + max(1, settings.max_pairs // (copies * (atoms - start)))))
        columns = slice(start, atoms)
        true = _distances(true_points, rows, columns)
        count = _pair_counts(true, cutoff, mask, rows, columns)
        pairs += count.sum(dim=(-2, -1), dtype=torch.int64)
        total += _add_block(points, true, count, rows, columns, gradient if wants_gradient else None)
        start = rows.stop
    scale = 1 / (pairs + _NO_PAIR)
    return total * scale, (gradient * scale[:, None]).movedim(0, -1)


def _pair_counts(true: Tensor, cutoff: Tensor, mask: Tensor, rows: slice, columns: slice) -> Tensor:
    """How many of the two orders of each pair count, [1 or S, rows, columns] of 0, 1, 2; each pair appears once."""
    near = (true < cutoff[rows, None]).to(torch.uint8) + (true < cutoff[columns])
    index = torch.arange(columns.start, columns.stop, device=true.device)
    later = index[: rows.stop - rows.start, None] < index
    return near * (later & mask[:, rows, None] & mask[:, None, columns])


def _add_block(
    points: Tensor, true: Tensor, count: Tensor, rows: slice, columns: slice, gradient: Tensor | None
) -> Tensor:
    """Sum of count x smooth score over a block of pairs, [S]; its gradient is added to `gradient` [3, S, A]."""
    predicted = _distances(points, rows, columns)
    error = predicted - true
    sign = error.sign()
    error.abs_()
    score, slope = torch.zeros_like(error), torch.zeros_like(error)
    buffer = torch.empty_like(error)
    for threshold in _THRESHOLDS:
        torch.sub(threshold, error, out=buffer).sigmoid_()
        score += buffer
        slope.addcmul_(buffer, buffer).sub_(buffer)
    share = count.to(score.dtype) / len(_THRESHOLDS)
    if gradient is not None:
        # d sigmoid(t - |e|) / d x_i = sign(e) (sigmoid^2 - sigmoid) (x_i - x_j) / d
        slope.mul_(sign).mul_(share).div_(predicted.clamp_(min=_SMALLEST_DISTANCE))
        for axis in range(3):
            torch.sub(points[axis, :, rows, None], points[axis, :, None, columns], out=buffer)
            buffer.mul_(slope)
            gradient[axis, :, rows] += buffer.sum(dim=-1)
            gradient[axis, :, columns] -= buffer.sum(dim=-2)
    return score.mul_(share).sum(dim=(-2, -1))


def _distances(points: Tensor, rows: slice, columns: slice) -> Tensor:
    """Distances [S, rows, columns] of points [3, S, A]."""
    x, y, z = (p[:, rows, None] - p[:, None, columns] for p in points)
    return x.mul_(x).addcmul_(y, y).addcmul_(z, z).sqrt_()
