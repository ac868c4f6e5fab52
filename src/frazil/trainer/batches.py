"""What each step trains on: a function of seed and step alone, so there is nothing to save.

A run takes structures in an endless order, `batch_size` x processes x `accumulate` of them a step. Everything random
about one of them follows from its position in that order: neither who works on it nor what else is in its batch counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, final

import torch
from torch import Generator
from torch.utils.data import IterableDataset, get_worker_info

from frazil.data import contiguous_crop, randomize_reference, share_reference_frame, spatial_crop, turn_torsions
from frazil.data.store import StructureStore
from frazil.features import Features
from frazil.sampler import stable_seed
from frazil.trainer.settings import TrainSettings

CROP_ATTEMPTS = 5
BUCKETS = 64
"""Batches whose structures are sorted by size among each other."""


@dataclass(frozen=True)
class Place:
    """One position in the endless order of structures."""

    seed: int
    position: int

    def generator(self, purpose: str, device: torch.device | str = "cpu") -> Generator:
        """A fresh generator, independent of those for other purposes and places."""
        return Generator(device).manual_seed(stable_seed(self.seed, purpose, self.position))


@dataclass(frozen=True)
class Share:
    """What one of the processes of a run works on.

    >>> share = Share(TrainSettings(batch_size=2, accumulate=2), rank=1, world_size=3)
    >>> [place.position for micro in range(2) for place in share.places(step=1, micro=micro)]
    [14, 15, 20, 21]
    """

    settings: TrainSettings
    rank: int = 0
    world_size: int = 1

    @property
    def structures_per_step(self) -> int:
        """Of all processes together."""
        return self.settings.batch_size * self.settings.accumulate * self.world_size

    def places(self, step: int, micro: int) -> tuple[Place, ...]:
        """Those of the structures of a micro-batch."""
        batch = self.settings.batch_size
        first = ((step * self.settings.accumulate + micro) * self.world_size + self.rank) * batch
        return tuple(Place(self.settings.seed, first + i) for i in range(batch))


class Structures(Protocol):
    """What there is to train on."""

    @property
    def num_tokens(self) -> Sequence[int]:
        """Of each structure."""

    def draw(self, index: int, generator: Generator) -> Features:
        """One structure (B = 1), unpadded, with one of its reference conformers."""


@final
class InMemory:
    """Structures at hand, each with a single reference conformer."""

    def __init__(self, structures: Sequence[Features]) -> None:
        self._structures = structures
        self.num_tokens = tuple(features.num_tokens for features in structures)

    def draw(self, index: int, generator: Generator) -> Features:
        """The structure; nothing is drawn."""
        return self._structures[index]


@final
class InStore:
    """Structures in a store, read when they are asked for."""

    def __init__(self, store: StructureStore) -> None:
        self._store = store
        self.num_tokens = store.num_tokens

    def draw(self, index: int, generator: Generator) -> Features:
        """The structure with any of its reference conformers, all alike likely."""
        stored = self._store[index]
        chosen = torch.randint(len(stored.conformers), (), generator=generator)
        return stored.with_conformer(int(chosen))


def bucketed_order(seed: int, epoch: int, sizes: Sequence[int], batch: int) -> tuple[int, ...]:
    """`epoch_order` with structures of like size in each batch, and without the few that fill no batch.

    Of every `BUCKETS` batches in a random order the structures are sorted by size, and the batches shuffled again.

    Parameters
    ----------
    seed, epoch : int
        Decide the order.
    sizes : sequence of int
        Tokens of each structure.
    batch : int
        Structures in a batch: those of a step, over all processes.

    Examples
    --------
    >>> order = bucketed_order(0, 0, (5, 9, 5, 9), 2)
    >>> sorted([sorted(order[:2]), sorted(order[2:])])
    [[0, 2], [1, 3]]
    """
    order = epoch_order(seed, epoch, len(sizes))[: len(sizes) // batch * batch]
    generator = Generator().manual_seed(stable_seed(seed, "buckets", epoch))
    found: list[int] = []
    for start in range(0, len(order), batch * BUCKETS):
        near = sorted(order[start : start + batch * BUCKETS], key=lambda index: sizes[index])
        for number in torch.randperm(len(near) // batch, generator=generator).tolist():
            found += near[number * batch : (number + 1) * batch]
    return tuple(found)


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
    structures : Structures or sequence of Features
        One structure each (B = 1), unpadded.
    settings : TrainSettings
        Batch size, crops, accumulation, seed.
    first_step : int
        Step of the first batch.
    rank, world_size : int
        This process and the number of them; they see different structures.
    """

    def __init__(
        self, structures: Structures | Sequence[Features], settings: TrainSettings, *,
        first_step: int, rank: int, world_size: int,
    ) -> None:  # fmt: skip
        self._structures = InMemory(structures) if isinstance(structures, Sequence) else structures
        self._sizes = tuple(min(tokens, settings.crop_tokens) for tokens in self._structures.num_tokens)
        self._settings = settings
        self._first_step = first_step
        self._share = Share(settings, rank, world_size)
        # the epoch at hand; whichever is asked for replaces it
        self._epoch = -1
        self._order: tuple[int, ...] = ()

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
        micro_batches = (self._share.places(step, micro) for micro in range(self._settings.accumulate))
        window = self._settings.model.network.atoms_per_window_queries
        return tuple(Features.stack([self._structure(p) for p in places], window=window) for places in micro_batches)

    def _structure(self, place: Place) -> Features:
        settings, generator = self._settings, place.generator("crop")
        drawn = self._structures.draw(self._index(place.position), generator)
        torsions = place.generator("torsions")
        if torch.rand((), generator=torsions) < settings.turned_references:
            drawn = turn_torsions(drawn, torsions)
        cropped = crop_to(drawn, settings.crop_tokens, generator)
        place_reference = share_reference_frame if settings.model.reference_frame else randomize_reference
        return place_reference(cropped, generator)

    def _index(self, position: int) -> int:
        """The structure of a place in the endless order."""
        count, batch = len(self._sizes), self._share.structures_per_step
        bucketed = 1 < batch <= count
        epoch, place = divmod(position, count // batch * batch if bucketed else count)
        if epoch != self._epoch:
            seed = self._settings.seed
            order = bucketed_order(seed, epoch, self._sizes, batch) if bucketed else epoch_order(seed, epoch, count)
            self._epoch, self._order = epoch, order
        return self._order[place]
