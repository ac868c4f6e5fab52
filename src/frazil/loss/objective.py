"""The loss of one denoising step: aligned mean square error and smooth lDDT."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from frazil.chemistry import DNA, NONPOLYMER, RNA
from frazil.features import Features
from frazil.geometry import Align, rigid_align
from frazil.loss.lddt import SmoothLDDT
from frazil.noise import Preconditioning

_NO_ATOM = 1e-5


@dataclass(frozen=True)
class AtomWeights:
    """Weights of atoms in alignment and mean square error (AlphaFold 3, equation 4): 1 + what their molecule adds.

    Parameters
    ----------
    nucleotide, ligand : float
        Added to 1 for atoms of DNA or RNA and of non-polymers: 6 and 11 in all by default.
    """

    nucleotide: float = 5.0
    ligand: float = 10.0

    def __call__(self, features: Features) -> Tensor:
        """[B, A] float32, 0 for padding."""
        kind = atom_mol_type(features)
        weights = 1 + self.nucleotide * _is_nucleotide(kind) + self.ligand * (kind == NONPOLYMER)
        return weights * features.atom_mask


@dataclass(frozen=True, eq=False)
class DiffusionLoss:
    """The terms of the training loss, scalars, float32; `total` is what to differentiate."""

    total: Tensor
    mse: Tensor
    """Aligned, sigma-weighted mean square error."""
    smooth_lddt: Tensor
    """1 - smooth lDDT; 0 where it is switched off."""
    copy_mse: Tensor
    """[B, S], `mse` of each noised copy, without gradient."""


def diffusion_loss(
    denoised: Tensor, target: Tensor, sigma: Tensor, features: Features, resolved: Tensor, *,
    preconditioning: Preconditioning, weights: AtomWeights, smooth_lddt: SmoothLDDT | None,
    truth: Tensor | None = None, plddt_threshold: float = 0.0, align: Align | None = rigid_align,
) -> DiffusionLoss:  # fmt: skip
    """Loss of denoised coordinates against their truth (AlphaFold 3, section 3.7.1, equations 2-6).

    Parameters
    ----------
    denoised, target : Tensor
        [B, S, A, 3], angstrom. The target is aligned onto the denoised coordinates, without gradient.
    sigma : Tensor
        [B, S] or [B, 1], angstrom, above 0.
    features : Features
        The structures: molecule types and pLDDT.
    resolved : Tensor
        [B, S, A] (or [B, 1, A]) bool, atoms whose target was observed.
    preconditioning : Preconditioning
        Gives the weight of each sigma.
    weights : AtomWeights
        Weights of atoms in alignment and mean square error.
    smooth_lddt : SmoothLDDT or None
        The second term, or None without it.
    truth : Tensor, optional
        [B, S, A, 3] or [B, 1, A, 3], the target before its rigid motion: with one conformer for all copies its
        distances are computed once. By default `target`.
    plddt_threshold : float
        Where above 0, only atoms with a pLDDT above it count in both terms; the alignment uses all resolved ones.
    align : callable or None
        Puts the target onto the denoised coordinates; None compares them as they lie, for copies that are not turned.

    Returns
    -------
    DiffusionLoss
        A structure without any counted atom adds 0 to the mean square error and 1 to the lDDT term.
    """
    denoised, target, sigma = denoised.float(), target.float(), sigma.float()
    atom_weights = weights(features)[:, None] * resolved
    counted = resolved & features.atom_mask[:, None]
    if plddt_threshold > 0:
        counted = counted & (features.plddt > plddt_threshold)[:, None]
    aligned = target if align is None else align(target.detach(), denoised.detach(), atom_weights)
    squares = torch.where(counted[..., None], denoised - aligned, 0).square().sum(dim=-1)
    share = atom_weights * counted
    mse = (squares * share).sum(dim=-1) / ((3 * share).sum(dim=-1) + _NO_ATOM)
    each = mse * preconditioning.loss_weight(sigma)
    mse, copy_mse = each.mean(), each.detach()
    if smooth_lddt is None:
        return DiffusionLoss(total=mse, mse=mse, smooth_lddt=torch.zeros_like(mse), copy_mse=copy_mse)
    is_nucleotide = _is_nucleotide(atom_mol_type(features))
    lddt = smooth_lddt(denoised, target if truth is None else truth, is_nucleotide, counted)
    return DiffusionLoss(total=mse + lddt, mse=mse, smooth_lddt=lddt, copy_mse=copy_mse)


def atom_mol_type(features: Features) -> Tensor:
    """[B, A] int64, molecule type of each atom; that of token 0 for padding."""
    return features.mol_type.gather(1, features.atom_token_index)


def _is_nucleotide(kind: Tensor) -> Tensor:
    return (kind == DNA) | (kind == RNA)
