"""Parity of the whole loop with Boltz-2's `AtomDiffusion.sample`, guidance and particle filter included."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from frazil.geometry import RigidMotion
from frazil.noise import KarrasSchedule
from frazil.sampler import (
    NoiseStream,
    ReferenceNoise,
    Sampler,
    SteeringReport,
    StepRecord,
    StochasticEuler,
    take_samples,
)

diffusion = pytest.importorskip("boltz.model.modules.diffusionv2")

ATOMS = 40
SCHEDULE = KarrasSchedule(sigma_min=4e-4)


@pytest.fixture(scope="module")
def reference():
    sizes = {
        "token_s": 8, "atom_s": 8, "token_transformer_heads": 2, "atom_encoder_heads": 2, "atom_decoder_heads": 2,
        "atom_encoder_depth": 1, "token_transformer_depth": 1, "atom_decoder_depth": 1, "dim_fourier": 8,
    }  # fmt: skip
    with torch.random.fork_rng():
        return diffusion.AtomDiffusion(score_model_args=sizes)


def denoise_rows(coords: Tensor, sigma: Tensor) -> Tensor:
    """A denoiser that depends on the frame: atoms on a coil along z, with the exact law of Gaussian data around it."""
    turn = torch.arange(coords.shape[-2], dtype=torch.float32) * 0.7
    coil = torch.stack((4 * turn.cos(), 4 * turn.sin(), turn), dim=-1)
    level = sigma[..., None, None] ** 2
    return (coords * 4 + coil * level) / (4 + level)


def reference_sample(
    module, monkeypatch, batch: int, samples: int, steps: int, **arguments
) -> tuple[Tensor, list[int]]:
    sizes: list[int] = []

    def forward(noised, sigma, network_condition_kwargs):
        sizes.append(noised.shape[0])
        return denoise_rows(noised, torch.full((noised.shape[0],), sigma))

    monkeypatch.setattr(module, "preconditioned_network_forward", forward)
    torch.manual_seed(5)
    found = module.sample(
        arguments.pop("atom_mask", torch.ones(batch, ATOMS)), steps, multiplicity=samples, feats=None, **arguments
    )
    return found["sample_atom_coords"].unflatten(0, (batch, -1)), sizes


def our_sample(sampler: Sampler, atom_mask: Tensor, samples: int, steps: int) -> Tensor:
    torch.manual_seed(5)
    full = torch.ones_like(atom_mask)
    return sampler.sample(denoise_rows, atom_mask, samples, steps, ReferenceNoise(), center_mask=full).coords


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize(("batch", "samples", "steps"), [(1, 1, 20), (1, 5, 20), (2, 3, 20), (3, 4, 20), (2, 2, 200)])
def test_the_loop_is_the_reference_loop(
    reference, monkeypatch, aligned: bool, batch: int, samples: int, steps: int
) -> None:
    monkeypatch.setattr(reference, "alignment_reverse_diff", aligned)
    expected, _ = reference_sample(reference, monkeypatch, batch, samples, steps)
    sampler = Sampler(SCHEDULE) if aligned else Sampler(SCHEDULE, align=None)
    found = our_sample(sampler, torch.ones(batch, ATOMS, dtype=torch.bool), samples, steps)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("options", [{"gamma_0": 0.3, "gamma_min": 5.0}, {"noise_scale": 0.9, "step_scale": 1.2}])
def test_every_number_of_the_step_is_the_reference_s(reference, monkeypatch, options: dict[str, float]) -> None:
    for name, value in options.items():
        monkeypatch.setattr(reference, name, value)
    expected, _ = reference_sample(reference, monkeypatch, 2, 2, 20)
    sampler = Sampler(SCHEDULE, StochasticEuler(**options), align=None)
    found = our_sample(sampler, torch.ones(2, ATOMS, dtype=torch.bool), 2, 20)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_padding_is_treated_as_there(reference, monkeypatch) -> None:
    """Noise and centre count padding, the alignment does not."""
    monkeypatch.setattr(reference, "alignment_reverse_diff", True)
    atom_mask = torch.arange(ATOMS)[None] < torch.tensor([[ATOMS], [25]])
    expected, _ = reference_sample(reference, monkeypatch, 2, 3, 20, atom_mask=atom_mask.float())
    found = our_sample(Sampler(SCHEDULE), atom_mask, 3, 20)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_chunks_change_nothing_in_either(reference, monkeypatch) -> None:
    expected, sizes = reference_sample(reference, monkeypatch, 2, 5, 20, max_parallel_samples=2)
    assert max(sizes) == 4  # the reference counts samples of each input, ours counts all in flight
    sampler = Sampler(SCHEDULE, align=None, max_parallel_samples=4)
    found = our_sample(sampler, torch.ones(2, ATOMS, dtype=torch.bool), 5, 20)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


# --- steering: a toy potential in the reference's loop, and the same behind our protocol -----------------------------

PULL = 0.002


class ToyPotential:
    """Harmonic pull to the origin with the interface of the reference's potentials."""

    def compute_parameters(self, t: float) -> dict[str, float]:
        return {"resampling_weight": 1.0, "guidance_weight": 0.5 + 0.5 * t, "guidance_interval": 2}

    def compute(self, coords: Tensor, feats: object, parameters: object) -> Tensor:
        return 0.5 * PULL * coords.square().sum(dim=(-1, -2))

    def compute_gradient(self, coords: Tensor, feats: object, parameters: object) -> Tensor:
        return PULL * coords


@dataclass(frozen=True, eq=False)
class ToyState:
    guidance: Tensor
    energy: Tensor | None = None


@dataclass(frozen=True)
class ToySteering:
    """Guidance and particle filter of REFERENCE section 4 with the toy potential, behind the `Steering` protocol."""

    num_particles: int = 1
    resampling_interval: int = 0
    gradient_moves: int = 0
    lam: float = 4.0

    def begin(self, atom_mask: Tensor, num_samples: int, noise: NoiseStream) -> ToyState:
        batch, atoms = atom_mask.shape
        return ToyState(torch.zeros(batch, num_samples * self.num_particles, atoms, 3))

    def move(self, state: ToyState, motion: RigidMotion) -> ToyState:
        return replace(state, guidance=motion.rotate(state.guidance))

    def steer(self, record: StepRecord, state: ToyState) -> tuple[StepRecord, ToyState]:
        step = record.step
        fresh = step.noise_variance > 0
        due = self.resampling_interval and ((step.index % self.resampling_interval == 0 and fresh) or step.is_last)
        weights = None
        if due:
            weights, state = self._weights(record, state)
        if self.gradient_moves and not step.is_last:
            record, state = self._guide(record, state)
        return self._resample(record, state, weights) if weights is not None else (record, state)

    def report(self, state: ToyState) -> SteeringReport:
        return SteeringReport(0, (), None, torch.zeros(0, 0))

    def _weights(self, record: StepRecord, state: ToyState) -> tuple[Tensor, ToyState]:
        energy = ToyPotential().compute(record.denoised, None, None)
        log_g = -energy if state.energy is None else state.energy - energy
        if self.gradient_moves and record.step.noise_variance > 0:
            moved = record.noise.square() - (record.noise + state.guidance).square()
            log_g = self.lam * log_g + moved.sum(dim=(-1, -2)) / (2 * record.step.noise_variance)
        else:
            log_g = self.lam * log_g
        return log_g.unflatten(1, (-1, self.num_particles)).softmax(dim=-1), replace(state, energy=energy)

    def _guide(self, record: StepRecord, state: ToyState) -> tuple[StepRecord, ToyState]:
        update = torch.zeros_like(record.denoised)
        parameters = ToyPotential().compute_parameters(record.step.t)
        for index in range(self.gradient_moves):
            if index % 2 == 0:
                update = update - parameters["guidance_weight"] * PULL * (record.denoised + update)
        step = record.step
        guidance = -step.step_scale * (step.sigma_next - step.sigma_hat) / step.sigma_hat * update
        return replace(record, denoised=record.denoised + update), replace(state, guidance=guidance)

    def _resample(self, record: StepRecord, state: ToyState, weights: Tensor) -> tuple[StepRecord, ToyState]:
        batch, groups, particles = weights.shape
        count = 1 if record.step.is_last else particles
        picked = torch.multinomial(weights.flatten(0, 1), count, replacement=True).view(batch, groups, count)
        columns = (picked + particles * torch.arange(groups)[:, None]).flatten(1)
        chosen = ToyState(take_samples(state.guidance, columns), take_samples(state.energy, columns))
        return record.select(columns), chosen


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize(
    "steering",
    [
        ToySteering(gradient_moves=5),
        ToySteering(num_particles=3, resampling_interval=3),
        ToySteering(num_particles=3, resampling_interval=2, gradient_moves=5),
    ],
    ids=["guidance", "particles", "both"],
)
def test_guidance_and_particles_fit_the_protocol(reference, monkeypatch, steering: ToySteering, aligned: bool) -> None:
    monkeypatch.setattr(diffusion, "get_potentials", lambda *args, **kwargs: [ToyPotential()])
    monkeypatch.setattr(reference, "alignment_reverse_diff", aligned)
    arguments = {
        "fk_steering": bool(steering.resampling_interval),
        "num_particles": steering.num_particles,
        "fk_lambda": steering.lam,
        "fk_resampling_interval": max(steering.resampling_interval, 1),
        "physical_guidance_update": bool(steering.gradient_moves),
        "num_gd_steps": steering.gradient_moves,
    }
    expected, _ = reference_sample(reference, monkeypatch, 2, 2, 20, steering_args=arguments)
    sampler = Sampler(SCHEDULE, steering=steering, max_parallel_samples=5)
    sampler = sampler if aligned else replace(sampler, align=None)
    # The denoiser is not split by structure, so the bound has to hold both.
    found = our_sample(sampler, torch.ones(2, ATOMS, dtype=torch.bool), 2, 20)
    assert found.shape == (2, 2, ATOMS, 3)
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-4)
    unsteered = our_sample(Sampler(SCHEDULE), torch.ones(2, ATOMS, dtype=torch.bool), 2, 20)
    assert not torch.allclose(found, unsteered, atol=1e-2)
