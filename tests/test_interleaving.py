from __future__ import annotations

import numpy as np
import torch

from frazil.predictor.drawing import Drawn
from frazil.predictor.interleaving import interleaved, share
from frazil.sampler.steering import SteeringReport


def part(row: int, samples: int, particles: int = 1, frames: int = 2) -> Drawn:
    """Every number says of which row, sample and particle it is."""
    count = samples * particles
    numbers = np.arange(count) + 100.0 * row
    return Drawn(
        coords=np.broadcast_to(numbers[:, None, None], (count, 4, 3)).astype(np.float32),
        finite=numbers % 2 == 0,
        sigmas=(2.0, 1.0),
        noisy=np.broadcast_to(numbers[:, None, None, None], (count, frames, 4, 3)).astype(np.float32),
        denoised=np.zeros((count, frames, 4, 3), dtype=np.float32),
        samples_at_once=3 + row,
        halvings=row,
        evaluations=20,
        energies={"bonds": tuple(numbers.tolist())},
        steering=SteeringReport(
            5, ((1, torch.arange(samples)[None] + 100.0 * row),), torch.from_numpy(numbers)[None],
            torch.arange(samples)[None] + 100 * row,
        ),
        particles=particles,
        all_particles=particles,
        lineage=np.repeat(np.arange(count)[:, None], frames, axis=1),
    )  # fmt: skip


def test_a_sample_is_the_same_however_many_there_are() -> None:
    few, many = (interleaved([part(row, share(count, 3)) for row in range(3)], count) for count in (4, 9))
    assert few.coords[:, 0, 0].tolist() == [0, 100, 200, 1] == many.coords[:4, 0, 0].tolist()
    assert many.coords[:, 0, 0].tolist() == [0, 100, 200, 1, 101, 201, 2, 102, 202]
    assert few.energies["bonds"] == (0, 100, 200, 1)
    assert few.finite.tolist() == [True, True, True, False]
    assert few.noisy.shape == (4, 2, 4, 3)
    assert (few.samples_at_once, few.halvings, few.evaluations) == (5, 2, 20)
    assert few.steering.lost.tolist() == [[0, 100, 200, 1]] == few.steering.effective_sizes[0][1].tolist()


def test_particles_of_a_sample_stay_together() -> None:
    found = interleaved([part(row, 2, particles=2) for row in range(2)], 3)
    assert found.coords[:, 0, 0].tolist() == [0, 1, 100, 101, 2, 3]
    assert found.steering.log_weights.tolist() == [[0, 1, 100, 101, 2, 3]]
    assert found.lineage[:, 0].tolist() == [0, 1, 2, 3, 4, 5], "in numbers of all particles"


def test_without_a_trajectory_there_are_no_frames() -> None:
    found = interleaved([part(row, 2, frames=0) for row in range(2)], 3)
    assert found.noisy.shape == (3, 0, 4, 3) and found.lineage.shape == (3, 0)


def test_one_part_is_itself() -> None:
    alone = part(0, 3)
    assert interleaved([alone], 3) is alone
