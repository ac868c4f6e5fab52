"""The two modules that stand in for Boltz-2's: ours inside, its call signatures outside."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from frazil.boltz.features import WindowedKeys, to_features
from frazil.boltz.sampling import SamplingRecord, SamplingSettings
from frazil.boltz.settings import DiffusionSettings
from frazil.boltz.steering import Draw, GlobalMultinomial
from frazil.denoiser import BoundDenoiser, Denoiser, PlainDenoiser
from frazil.geometry import RigidMotion, center, rotation_from_normal
from frazil.loss import AtomWeights, SmoothLDDT, diffusion_loss, place_unresolved
from frazil.nn.atoms import absent_key_bias
from frazil.nn.attention import MASKED_LOGIT, AtomWindows
from frazil.nn.conditioning import Conditioning, DiffusionConditioning
from frazil.nn.config import NetworkConfig
from frazil.nn.score import ScoreNetwork
from frazil.noise import Preconditioning
from frazil.sampler import CenterOnly, PerSampleNoise, RandomMotion, ReferenceNoise, Sampler, SampleResult
from frazil.steering import Multinomial


class BoltzDiffusionConditioning(nn.Module):
    """Stands in for Boltz-2's `DiffusionConditioning`; made by `frazil.boltz.convert` or `accelerate`.

    Parameters
    ----------
    config : NetworkConfig
        Sizes.
    parity : bool
        Whether autocast around a call reaches the products of tokens, as it does in the reference; else all is float32.
    """

    def __init__(self, config: NetworkConfig, *, parity: bool) -> None:
        super().__init__()
        self.parity = parity
        self.network = DiffusionConditioning(config)

    def forward(
        self, s_trunk: Tensor, z_trunk: Tensor, relative_position_encoding: Tensor, feats: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor, WindowedKeys, Tensor, Tensor, Tensor]:
        """(q, c, to_keys, atom_enc_bias, atom_dec_bias, token_trans_bias) as the reference lays them out."""
        kind = s_trunk.device.type
        autocast = self.parity and torch.is_autocast_enabled(kind)
        network, given = self.network, (z_trunk, relative_position_encoding)
        with torch.autocast(kind, dtype=torch.get_autocast_dtype(kind), enabled=autocast):
            z = network.pair(*given) if autocast else network.pair(*(x.float() for x in given))
            with torch.autocast(kind, enabled=False):
                atom_q, atom_c, pairs = network.embed_atoms(to_features(feats), s_trunk.float(), z.float())
            return (
                atom_q,
                atom_c,
                WindowedKeys(network.windows),
                _join(tuple(layer(pairs) for layer in network.atom_encoder_bias)),
                _join(tuple(layer(pairs) for layer in network.atom_decoder_bias)),
                _join(tuple(layer(z).unsqueeze(1) for layer in network.token_bias)).squeeze(1),
            )


class BoltzStructureModule(nn.Module):
    """Stands in for Boltz-2's `AtomDiffusion`; made by `frazil.boltz.convert` or `accelerate`.

    Parameters
    ----------
    network : NetworkConfig
        Sizes.
    settings : DiffusionSettings
        The reference's own hyper-parameters.
    sampling : SamplingSettings
        How `sample` draws. Without parity one base seed is taken from the global generator for each call, and every
        sample has its own generator.
    """

    def __init__(self, network: NetworkConfig, settings: DiffusionSettings, sampling: SamplingSettings) -> None:
        super().__init__()
        self.settings = settings
        self.sampling = sampling
        self.windows = AtomWindows(network.atoms_per_window_queries, network.atoms_per_window_keys)
        self.heads = (network.atom_encoder_heads, network.token_transformer_heads, network.atom_decoder_heads)
        self.score_model = ScoreNetwork(network)
        self.denoiser = Denoiser(self.score_model, Preconditioning(settings.sigma_data))
        self.token_s = network.token_s
        self.last_sampling: SamplingRecord | None = None
        """What the last call of `sample` did; None before the first."""

    @property
    def parity(self) -> bool:
        """Whether random numbers come from the global generator in the reference's order, and centring is as there."""
        return self.sampling.parity

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.score_model.parameters()).device

    def c_skip(self, sigma: Tensor) -> Tensor:
        """See `Preconditioning.c_skip`."""
        return self.denoiser.preconditioning.c_skip(sigma)

    def c_out(self, sigma: Tensor) -> Tensor:
        """See `Preconditioning.c_out`."""
        return self.denoiser.preconditioning.c_out(sigma)

    def c_in(self, sigma: Tensor) -> Tensor:
        """See `Preconditioning.c_in`."""
        return self.denoiser.preconditioning.c_in(sigma)

    def c_noise(self, sigma: Tensor) -> Tensor:
        """See `Preconditioning.c_noise`."""
        return self.denoiser.preconditioning.c_noise(sigma)

    def loss_weight(self, sigma: Tensor) -> Tensor:
        """See `Preconditioning.loss_weight`."""
        return self.denoiser.preconditioning.loss_weight(sigma)

    def noise_distribution(self, batch_size: int) -> Tensor:
        """[batch_size] training sigmas from the global generator."""
        return self.settings.sigma_law.from_normal(torch.randn((batch_size,), device=self.device))

    def sample_schedule(self, num_sampling_steps: int | None = None) -> Tensor:
        """[N + 1] sampling sigmas, the last 0."""
        steps = self.settings.num_sampling_steps if num_sampling_steps is None else num_sampling_steps
        return self.settings.schedule.sigmas(steps, self.device)

    def preconditioned_network_forward(
        self, noised_atom_coords: Tensor, sigma: Tensor | float, network_condition_kwargs: Mapping[str, Any]
    ) -> Tensor:
        """Denoise [B * S, A, 3] at `sigma` [B * S] or a number; sample s of structure b is row b * S + s."""
        rows = noised_atom_coords.shape[0]
        samples = network_condition_kwargs.get("multiplicity", 1)
        conditioning = self._conditioning(network_condition_kwargs)
        if isinstance(sigma, float):
            sigma = torch.full((rows,), sigma, device=noised_atom_coords.device)
        shape = (rows // samples, samples)
        denoised = self.denoiser(noised_atom_coords.unflatten(0, shape), sigma.unflatten(0, shape), conditioning)
        return denoised.flatten(0, 1)

    def sample(
        self,
        atom_mask: Tensor,
        num_sampling_steps: int | None = None,
        multiplicity: int = 1,
        max_parallel_samples: int | None = None,
        steering_args: Mapping[str, Any] | None = None,
        **network_condition_kwargs: Any,
    ) -> dict[str, Tensor | None]:
        """Sample `multiplicity` structures an input; `max_parallel_samples` bounds inputs x samples in flight.

        `steering_args` are the reference's, and act as `SamplingSettings.steering` says; autocast around the call
        changes nothing. Afterwards `last_sampling` says what was done.

        Raises
        ------
        ValueError
            If a key of `steering_args` is unknown.
        InputError
            If a number in `steering_args` is out of its range.
        """
        started = perf_counter()
        draws: list[Draw] = []
        with torch.autocast(atom_mask.device.type, enabled=False):
            stepping = self.sampling.stepping(self.settings, self._step_scale(), num_sampling_steps)
            resampler = GlobalMultinomial(draws) if self.parity else Multinomial()
            steering = self.sampling.steering_for(
                steering_args, network_condition_kwargs["feats"], stepping.proposal_step_scale, resampler
            )
            sampler = Sampler(
                schedule=stepping.schedule,
                stepper=stepping.stepper,
                augmentation=RandomMotion() if self.parity or self.settings.augment_sampling else CenterOnly(),
                align=self.settings.align,
                steering=steering,
                max_parallel_samples=max_parallel_samples,
            )
            result = self._draw(sampler, atom_mask.bool(), multiplicity, stepping.steps, network_condition_kwargs)
        self.last_sampling = _record(result, draws, started)
        return {"sample_atom_coords": result.coords.flatten(0, 1), "diff_token_repr": None}

    def forward(
        self,
        s_inputs: Tensor,
        s_trunk: Tensor,
        feats: Mapping[str, Tensor],
        diffusion_conditioning: Mapping[str, Any],
        multiplicity: int = 1,
    ) -> dict[str, Tensor]:
        """One training step's denoising; `feats["coords"]` is [B * S, A, 3] already."""
        rows = feats["coords"].shape[0]
        if self.settings.synchronize_sigmas:
            sigmas = self.noise_distribution(rows // multiplicity).repeat_interleave(multiplicity, 0)
        else:
            sigmas = self.noise_distribution(rows)
        target = self._training_target(feats, multiplicity)
        noisy = target + sigmas[:, None, None] * torch.randn_like(target)
        condition = {
            "s_inputs": s_inputs,
            "s_trunk": s_trunk,
            "feats": feats,
            "multiplicity": multiplicity,
            "diffusion_conditioning": diffusion_conditioning,
        }
        with torch.autocast(noisy.device.type, enabled=False):
            denoised = self.preconditioned_network_forward(noisy, sigmas, condition)
        return {"denoised_atom_coords": denoised, "sigmas": sigmas, "aligned_true_atom_coords": target}

    def compute_loss(
        self,
        feats: Mapping[str, Tensor],
        out_dict: Mapping[str, Tensor],
        add_smooth_lddt_loss: bool = True,
        nucleotide_loss_weight: float = 5.0,
        ligand_loss_weight: float = 10.0,
        multiplicity: int = 1,
        filter_by_plddt: float = 0.0,
    ) -> dict[str, Any]:
        """Loss of what `forward` gave: {"loss", "loss_breakdown": {"mse_loss", "smooth_lddt_loss"}}."""
        features = to_features(feats)
        shape = (features.batch_size, multiplicity)
        with torch.autocast(feats["ref_pos"].device.type, enabled=False):
            loss = diffusion_loss(
                out_dict["denoised_atom_coords"].unflatten(0, shape),
                out_dict["aligned_true_atom_coords"].unflatten(0, shape),
                out_dict["sigmas"].unflatten(0, shape),
                features,
                features.resolved_mask,
                preconditioning=self.denoiser.preconditioning,
                weights=AtomWeights(nucleotide_loss_weight, ligand_loss_weight),
                smooth_lddt=SmoothLDDT() if add_smooth_lddt_loss else None,
                truth=feats["coords"].unflatten(0, shape),
                plddt_threshold=filter_by_plddt,
            )
        return {
            "loss": loss.total,
            "loss_breakdown": {"mse_loss": loss.mse, "smooth_lddt_loss": loss.smooth_lddt},
        }

    def _training_target(self, feats: Mapping[str, Tensor], multiplicity: int) -> Tensor:
        """[B * S, A, 3] truth, centred, turned and shifted."""
        coords = feats["coords"].unflatten(0, (-1, multiplicity))
        if self.parity:
            coords = center(coords, feats["atom_pad_mask"][:, None])
        else:
            features = to_features(feats)
            coords = place_unresolved(coords, features.resolved_mask.expand(coords.shape[:-1]), features)
        coords = coords.flatten(0, 1)
        if not self.settings.coordinate_augmentation:
            return coords
        rotation = rotation_from_normal(torch.randn(len(coords), 4, device=coords.device))
        return RigidMotion(rotation, torch.randn(len(coords), 1, 3, device=coords.device)[:, 0]).apply(coords)

    def _denoise(self, conditioning: Conditioning) -> BoundDenoiser | PlainDenoiser:
        # where a window has no key at all, the reference's rounding decides, and only the plain path repeats it
        if self.parity and bool((conditioning.atom_key_bias < 0).all(dim=-1).any()):
            return self.denoiser.plain(conditioning)
        return self.denoiser.bind(conditioning, self.sampling.compute)

    def _draw(
        self, sampler: Sampler, mask: Tensor, num_samples: int, steps: int, condition: Mapping[str, Any]
    ) -> SampleResult:
        """One run of the sampler, with the random numbers and the centre that parity or its absence asks for."""
        denoise = self._denoise(self._conditioning(condition))
        if self.parity:
            return sampler.sample(
                denoise, mask, num_samples, steps, ReferenceNoise(), center_mask=torch.ones_like(mask)
            )
        noise = PerSampleNoise(_base_seed(), [str(b) for b in range(len(mask))])
        return sampler.sample(denoise, mask, num_samples, steps, noise)

    def _step_scale(self) -> float:
        choices = self.settings.step_scale_random
        if self.training and choices is not None:
            return float(np.random.choice(choices))  # noqa: NPY002 - the reference draws from numpy's global state
        return self.settings.stepper.step_scale

    def _conditioning(self, condition: Mapping[str, Any]) -> Conditioning:
        """Our record from the reference's dictionary."""
        made, feats = condition["diffusion_conditioning"], condition["feats"]
        mask = feats["atom_pad_mask"].bool()
        encoder, token, decoder = self.heads
        return Conditioning(
            s_inputs=condition["s_inputs"],
            s_trunk=condition["s_trunk"],
            atom_q=made["q"].float(),
            atom_c=made["c"].float(),
            atom_encoder_bias=_part(made["atom_enc_bias"].float(), encoder),
            atom_decoder_bias=_part(made["atom_dec_bias"].float(), decoder),
            token_bias=_part(made["token_trans_bias"].float().unsqueeze(1), token),
            atom_key_bias=absent_key_bias(mask, self.windows, MASKED_LOGIT),
            token_key_bias=torch.where(feats["token_pad_mask"].bool(), 0.0, MASKED_LOGIT)[:, None, None, None, :],
            atom_token_index=feats["atom_to_token"].argmax(dim=-1),
            atom_mask=mask,
        )


def _record(result: SampleResult, draws: list[Draw], started: float) -> SamplingRecord:
    finite = result.finite.cpu()  # waits for the device: the clock is read after that
    return SamplingRecord(
        seconds=perf_counter() - started,
        steps=result.steps,
        evaluations=result.evaluations,
        samples_at_once=result.samples_at_once,
        halvings=result.halvings,
        finite=finite,
        steering=result.steering,
        draws=tuple(draws),
    )


def _base_seed() -> int:
    return int(torch.randint(2**62, ()).item())


def _join(biases: tuple[Tensor, ...]) -> Tensor:
    """One [B, K, heads, W, H] a layer -> [B, K, W, H, layers x heads]."""
    return torch.cat(biases, dim=2).movedim(2, -1)


def _part(bias: Tensor, heads: int) -> tuple[Tensor, ...]:
    """Inverse of `_join`."""
    return bias.movedim(-1, 2).split(heads, dim=2)
