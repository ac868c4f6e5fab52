"""Atoms that are given: sampling the rest of a structure around a part that stays as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from frazil.errors import InputError
from frazil.geometry import Align, mean_atoms, rigid_align


@final
@dataclass(frozen=True, eq=False)
class Hold:
    """Holds atoms at given coordinates while the others are sampled (replacement: Lugmayr 2022, arXiv 2201.09865).

    At each step the held atoms are given the noise of that step's level, freshly drawn; in the denoised estimate they
    are put back where they belong. Where that is follows from the estimate: the given part is laid onto it as a rigid
    body, so that its pose relative to the rest is sampled too. The finished samples are laid onto the given
    coordinates, which they hold bit for bit. The other atoms see the held ones at every level but are not drawn from
    the exact conditional law.

    Parameters
    ----------
    coords : Tensor
        [B, A, 3], angstrom; read at held atoms only.
    mask : Tensor
        [B, A] bool, atoms to hold; rows without any are sampled freely.
    align : callable or None
        Lays the given part onto the estimate. None keeps it where it is, for a sampler that moves nothing
        (`augmentation=None`): then the pose is given as well.

    Raises
    ------
    InputError
        If the shapes differ or a held atom has no finite coordinates.

    Examples
    --------
    >>> Hold(torch.zeros(1, 4, 3), torch.tensor([[True, True, False, False]])).mobile(torch.ones(1, 4).bool())
    tensor([[False, False,  True,  True]])
    """

    coords: Tensor
    mask: Tensor
    align: Align | None = rigid_align

    def __post_init__(self) -> None:
        if self.coords.shape != (*self.mask.shape, 3):
            raise InputError(
                f"held atoms: coordinates {tuple(self.coords.shape)} for a mask {tuple(self.mask.shape)}; "
                "give [B, A, 3] and [B, A]"
            )
        if not bool(torch.isfinite(self.coords[self.mask]).all()):
            raise InputError("held atoms: some have no finite coordinates; hold only atoms that were observed")

    def mobile(self, atom_mask: Tensor) -> Tensor:
        """[B, A] bool, the atoms of `atom_mask` that are not held.

        Raises
        ------
        InputError
            If the structures are of another shape, or an atom is held that does not exist.
        """
        if atom_mask.shape != self.mask.shape:
            raise InputError(f"held atoms: mask {tuple(self.mask.shape)} for structures {tuple(atom_mask.shape)}")
        if bool((self.mask & ~atom_mask).any()):
            raise InputError("held atoms: the mask names atoms that do not exist; leave padding out")
        return atom_mask & ~self.mask

    def begin(self, coords: Tensor, start: Tensor | None) -> Tensor:
        """Where the held part is at first, [B, S, A, 3].

        Parameters
        ----------
        coords : Tensor
            [B, S, A, 3], what the run starts from, noise included.
        start : Tensor or None
            [B, 1 or S, A, 3], the structure that was noised, if there was one: the held part is laid onto it.
        """
        given = self._given(coords)
        if self.align is None:
            return given
        if start is not None:
            return self.align(given, start.to(coords).expand_as(coords), self._weights)
        # Pure noise has no pose: the given one, about the centre of the noise.
        return given - mean_atoms(given, self._weights)[..., None, :] + mean_atoms(coords, self._weights)[..., None, :]

    def place(self, anchors: Tensor, denoised: Tensor) -> Tensor:
        """Where the held part is now, laid onto the estimate [B, S, A, 3]; `anchors` is where it was."""
        if self.align is None:
            return anchors
        return self.align(self._given(denoised), denoised, self._weights)

    def put(self, held: Tensor, others: Tensor) -> Tensor:
        """`held` at held atoms and `others` at the rest, [B, S, A, 3]."""
        return torch.where(self.mask[:, None, :, None], held, others)

    def finish(self, anchors: Tensor, coords: Tensor) -> Tensor:
        """Samples [B, S, A, 3] with their held part moved from `anchors` back to the given coordinates."""
        moved = rigid_align(self.put(anchors, coords), self._given(coords), self._weights)
        return self.put(self._given(coords), moved)

    @property
    def _weights(self) -> Tensor:
        return self.mask[:, None]

    def _given(self, like: Tensor) -> Tensor:
        # Zeros elsewhere: what is given there may be anything.
        return torch.where(self._weights[..., None], self.coords[:, None], 0).to(like).expand_as(like)
