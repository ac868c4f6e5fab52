"""Noised copies of the truth, as a training step sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import pad

from frazil.errors import InputError
from frazil.features import Features
from frazil.geometry import RigidMotion, center
from frazil.noise import LogNormalSigma


@dataclass(frozen=True, eq=False)
class NoisedCopies:
    """What one training step sees of a batch: S noised copies of every structure."""

    target: Tensor
    """[B, S, A, 3] float32, angstrom: centred, turned and shifted truth; unresolved atoms at their token's mean."""
    noisy: Tensor
    """[B, S, A, 3] float32, angstrom: target + sigma x normal noise."""
    sigma: Tensor
    """[B, S] float32, angstrom, or [B, 1] where the copies share it."""
    resolved: Tensor
    """[B, S, A] bool."""
    conformer: Tensor
    """[B, S] int64, the model of the ensemble that each copy shows."""
    truth: Tensor
    """[B, S, A, 3], or [B, 1, A, 3] where there is one model: the target before its rigid motion."""


def noised_copies(
    features: Features, conformer: Tensor, sigma: Tensor, motion: RigidMotion, noise: Tensor
) -> NoisedCopies:
    """The copies for given draws: the deterministic core of a training step (AlphaFold 3, Algorithm 19 and eq. 7).

    Parameters
    ----------
    features : Features
        Structures with `coords` [B, E, A, 3].
    conformer : Tensor
        [B, S] int64, model of each copy.
    sigma : Tensor
        [B, S] (or [B, 1]), angstrom.
    motion : RigidMotion
        Of leading shape [B, S].
    noise : Tensor
        [B, S, A, 3], standard normal.
    """
    shown = conformer if features.coords.shape[1] > 1 else conformer[:, :1]
    rows = torch.arange(len(shown), device=shown.device)[:, None]
    resolved = features.resolved_mask[rows, shown] & features.atom_mask[:, None]
    truth = place_unresolved(features.coords[rows, shown], resolved, features)
    target = motion.apply(truth).expand_as(noise)
    return NoisedCopies(
        target=target,
        noisy=target + sigma[..., None, None] * noise,
        sigma=sigma,
        resolved=resolved.expand(noise.shape[:-1]),
        conformer=conformer,
        truth=truth,
    )


def place_unresolved(coords: Tensor, resolved: Tensor, features: Features) -> Tensor:
    """Coordinates centred over their resolved atoms; an unresolved atom sits at the mean of its token's resolved ones.

    Unresolved atoms of a token without a resolved atom, and padding, sit at the centre.

    Parameters
    ----------
    coords : Tensor
        [B, S, A, 3], angstrom; not read where unresolved.
    resolved : Tensor
        [B, S, A] bool.
    features : Features
        The structures.
    """
    known = torch.where(resolved[..., None], coords.float(), 0)
    known = torch.where(resolved[..., None], center(known, resolved), 0)
    token = features.atom_token_index[:, None, :, None].expand(*known.shape[:-1], 4)
    sums = known.new_zeros(*known.shape[:2], features.num_tokens, 4)
    sums.scatter_add_(2, token, torch.cat([known, resolved[..., None].to(known.dtype)], dim=-1))
    means = (sums[..., :3] / sums[..., 3:].clamp(min=1)).gather(2, token[..., :3])
    return torch.where(resolved[..., None], known, means * features.atom_mask[:, None, :, None])


@dataclass(frozen=True)
class TrainingNoise:
    """How training copies are drawn: which conformer, how turned, how noisy.

    Parameters
    ----------
    copies : int
        S, noised copies of each structure; they share one run of the trunk.
    law : LogNormalSigma
        Of the sigmas.
    shared_sigma : bool
        One sigma for all copies of a structure instead of one each.
    augmentation : bool
        Random rotations and translations from N(0, 1 A) of the copies (AlphaFold 3, Algorithm 19).

    Raises
    ------
    InputError
        If `copies` is below 1.
    """

    copies: int = 1
    law: LogNormalSigma = field(default_factory=LogNormalSigma)
    shared_sigma: bool = False
    augmentation: bool = True

    def __post_init__(self) -> None:
        if self.copies < 1:
            raise InputError(f"number of training copies is {self.copies}: give at least 1")

    def draw(self, features: Features, generator: torch.Generator) -> NoisedCopies:
        """Noised copies of every structure; each shows a model drawn uniformly from its ensemble.

        Parameters
        ----------
        features : Features
            Structures with `coords` [B, E, A, 3].
        generator : torch.Generator
            Source of all randomness, on any device; drawn in the order model, sigma, rotation, translation, noise.
        """
        return _copies_of(features, self._draws(features.batch_size, features.num_atoms, generator))

    def draw_each(self, features: Features, generators: Sequence[torch.Generator]) -> NoisedCopies:
        """The same with a generator of its own for each structure.

        So the copies of a structure depend neither on the others in its batch nor on padding.

        Parameters
        ----------
        features : Features
            Structures with `coords` [B, E, A, 3].
        generators : sequence of torch.Generator
            One for each structure, all on the same device.
        """
        places = torch.arange(1, features.num_atoms + 1, device=features.device)
        sizes = (features.atom_mask * places).amax(dim=1).tolist()
        each = [self._draws(1, size, generator) for size, generator in zip(sizes, generators, strict=True)]
        return _copies_of(features, _Draws.cat(each, features.num_atoms))

    def _draws(self, structures: int, atoms: int, generator: torch.Generator) -> _Draws:
        shape, device = (structures, self.copies), generator.device
        return _Draws(
            model=torch.rand(shape, generator=generator, device=device),
            sigma=self.law.sample((structures, 1) if self.shared_sigma else shape, generator),
            motion=RigidMotion.random(shape, generator) if self.augmentation else RigidMotion.identity(shape, device),
            noise=torch.randn((*shape, atoms, 3), generator=generator, device=device),
        )


@dataclass(frozen=True, eq=False)
class _Draws:
    """All that is random in the copies of B structures."""

    model: Tensor
    """[B, S], uniform in 0..1."""
    sigma: Tensor
    """[B, S] or [B, 1], angstrom."""
    motion: RigidMotion
    """Of leading shape [B, S]."""
    noise: Tensor
    """[B, S, A, 3], standard normal."""

    @classmethod
    def cat(cls, each: Sequence[_Draws], atoms: int) -> _Draws:
        """The draws of many structures, with zero noise for padding up to `atoms`."""
        return cls(
            model=torch.cat([draws.model for draws in each]),
            sigma=torch.cat([draws.sigma for draws in each]),
            motion=RigidMotion(
                torch.cat([draws.motion.rotation for draws in each]),
                torch.cat([draws.motion.translation for draws in each]),
            ),
            noise=torch.cat([pad(draws.noise, (0, 0, 0, atoms - draws.noise.shape[2])) for draws in each]),
        )


def _copies_of(features: Features, draws: _Draws) -> NoisedCopies:
    device = features.device
    models = features.ensemble_size[:, None].clamp(min=1)
    conformer = torch.minimum((draws.model.to(device) * models).long(), models - 1)
    return noised_copies(features, conformer, draws.sigma.to(device), draws.motion.to(device), draws.noise.to(device))
