"""What each step trains on: a function of (seed, step, rank, micro-batch) alone, so there is nothing to save."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Generator
from torch.utils.data import IterableDataset, get_worker_info

from frazil.data import contiguous_crop, randomize_reference, spatial_crop
from frazil.features import Features
from frazil.sampler import stable_seed
from frazil.trainer.settings import TrainSettings

CROP_ATTEMPTS = 5


@dataclass(frozen=True)
class Place:
    """Which part of which step: everything random in it follows from this."""

    seed: int
    step: int
    rank: int
    micro: int

    def generator(self, purpose: str, device: torch.device | str = "cpu") -> Generator:
        """A fresh generator, independent of those for other purposes and places."""
        key = stable_seed(self.seed, purpose, self.step, self.rank, self.micro)
        return Generator(device).manual_seed(key)


@lru_cache(maxsize=2)
def epoch_order(seed: int, epoch: int, count: int) -> tuple[int, ...]:
    """Structures in the order in which one pass over the data visits them.

    >>> sorted(epoch_order(0, 7, 5))
    [0, 1, 2, 3, 4]
    """
    generator = Generator().manual_seed(stable_seed(seed, "order", epoch))
    return tuple(torch.randperm(count, generator=generator).tolist())


def crop_to(features: Features, num_tokens: int, generator: Generator) -> Features:
    """One structure of at most `num_tokens` tokens: contiguous half of the time, else spatial.

    A crop without any resolved atom teaches nothing and is drawn again, a few times.
    """
    if features.num_tokens <= num_tokens:
        return features
    for _ in range(CROP_ATTEMPTS):
        contiguous = bool(torch.rand((), generator=generator) < 0.5)
        cropped = (contiguous_crop if contiguous else spatial_crop)(features, num_tokens, generator)
        if bool(cropped.resolved_mask.any()):
            break
    return cropped


class StepBatches(IterableDataset[tuple[Features, ...]]):
    """Endless batches from a given step on: for each step a tuple of micro-batches.

    Parameters
    ----------
    structures : sequence of Features
        One structure each (B = 1), unpadded.
    settings : TrainSettings
        Batch size, crops, accumulation, seed.
    first_step : int
        Step of the first batch.
    rank, world_size : int
        This process and the number of them; they see different structures.
    """

    def __init__(
        self, structures: Sequence[Features], settings: TrainSettings, *, first_step: int, rank: int, world_size: int
    ) -> None:
        self._structures = structures
        self._settings = settings
        self._first_step = first_step
        self._rank = rank
        self._world_size = world_size

    def __iter__(self) -> Iterator[tuple[Features, ...]]:
        """The batches; a worker gives every n-th one, so that their order is the same for any number of workers."""
        worker = get_worker_info()
        offset, stride = (worker.id, worker.num_workers) if worker else (0, 1)
        step = self._first_step + offset
        while True:
            yield self.at(step)
            step += stride

    def at(self, step: int) -> tuple[Features, ...]:
        """Micro-batches of one step."""
        settings = self._settings
        places = (Place(settings.seed, step, self._rank, micro) for micro in range(settings.accumulate))
        return tuple(self._micro_batch(place) for place in places)

    def _micro_batch(self, place: Place) -> Features:
        settings = self._settings
        generator = place.generator("crop")
        first = ((place.step * settings.accumulate + place.micro) * self._world_size + self._rank) * settings.batch_size
        chosen = (self._structure(first + i) for i in range(settings.batch_size))
        cropped = (crop_to(features, settings.crop_tokens, generator) for features in chosen)
        return Features.stack([randomize_reference(features, generator) for features in cropped])

    def _structure(self, position: int) -> Features:
        epoch, place = divmod(position, len(self._structures))
        return self._structures[epoch_order(self._settings.seed, epoch, len(self._structures))[place]]
