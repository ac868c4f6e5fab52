"""The two modules that `convert` returns: ours inside, Boltz-2's call signatures outside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from frazil.boltz.features import WindowedKeys, to_features
from frazil.boltz.settings import DiffusionSettings
from frazil.boltz.steering import Draw, GlobalMultinomial, SteeringArguments, our_steering, reference_steering
from frazil.denoiser import BoundDenoiser, Denoiser, PlainDenoiser
from frazil.geometry import RigidMotion, center, rotation_from_normal
from frazil.loss import AtomWeights, SmoothLDDT, diffusion_loss, place_unresolved
from frazil.nn.atoms import absent_key_bias
from frazil.nn.attention import MASKED_LOGIT, AtomWindows
from frazil.nn.compute import Compute
from frazil.nn.conditioning import Conditioning, DiffusionConditioning, TrunkOutput
from frazil.nn.config import NetworkConfig
from frazil.nn.score import ScoreNetwork
from frazil.noise import Preconditioning
from frazil.sampler import (
    CenterOnly,
    PerSampleNoise,
    RandomMotion,
    ReferenceNoise,
    Sampler,
    Steering,
    SteeringReport,
)


class BoltzDiffusionConditioning(nn.Module):
    """Stands in for Boltz-2's `DiffusionConditioning`; made by `frazil.boltz.convert`."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.network = DiffusionConditioning(config)

    def forward(
        self, s_trunk: Tensor, z_trunk: Tensor, relative_position_encoding: Tensor, feats: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor, WindowedKeys, Tensor, Tensor, Tensor]:
        """(q, c, to_keys, atom_enc_bias, atom_dec_bias, token_trans_bias) as the reference lays them out."""
        with torch.autocast(s_trunk.device.type, enabled=False):
            single, pair = s_trunk.float(), z_trunk.float()
            trunk = TrunkOutput(single, single, pair, relative_position_encoding.float())
            made = self.network(to_features(feats), trunk)
        return (
            made.atom_q,
            made.atom_c,
            WindowedKeys(self.network.windows),
            _join(made.atom_encoder_bias),
            _join(made.atom_decoder_bias),
            _join(made.token_bias).squeeze(1),
        )


class BoltzStructureModule(nn.Module):
    """Stands in for Boltz-2's `AtomDiffusion`; made by `frazil.boltz.convert`.

    Parameters
    ----------
    network : NetworkConfig
        Sizes.
    settings : DiffusionSettings
        The reference's own hyper-parameters.
    parity : bool
        Whether randomness comes from the global generator in the reference's order, with the reference's centring;
        else one base seed is taken from it for each call, and every sample has its own generator.
    compute : Compute
        How `sample` computes the network.
    """

    def __init__(self, network: NetworkConfig, settings: DiffusionSettings, *, parity: bool, compute: Compute) -> None:
        super().__init__()
        self.compute = compute
        self.settings = settings
        self.parity = parity
        self.windows = AtomWindows(network.atoms_per_window_queries, network.atoms_per_window_keys)
        self.heads = (network.atom_encoder_heads, network.token_transformer_heads, network.atom_decoder_heads)
        self.score_model = ScoreNetwork(network)
        self.denoiser = Denoiser(self.score_model, Preconditioning(settings.sigma_data))
        self.token_s = network.token_s
        self.last_steering_report: SteeringReport | None = None
        """What steering did in the last call of `sample`; None without any."""
        self.last_draws: tuple[Draw, ...] = ()
        """Weights and choices of each resampling in the last call of `sample` with parity."""

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

        `steering_args` are the reference's; with parity they act as there, else as `our_steering` says. Afterwards
        `last_steering_report` says what was done, and `last_draws` what was drawn among particles with parity: where
        rounding flips a choice, the samples differ from the reference's from there on.

        Raises
        ------
        ValueError
            If a key of `steering_args` is unknown.
        InputError
            If a number in `steering_args` is out of its range.
        """
        settings, mask = self.settings, atom_mask.bool()
        resampler = GlobalMultinomial()
        steering = self._steering(SteeringArguments.read(steering_args), network_condition_kwargs["feats"], resampler)
        sampler = Sampler(
            schedule=settings.schedule,
            stepper=replace(settings.stepper, step_scale=self._step_scale()),
            augmentation=RandomMotion() if self.parity or settings.augment_sampling else CenterOnly(),
            align=settings.align,
            steering=steering,
            max_parallel_samples=max_parallel_samples,
        )
        result = sampler.sample(
            self._denoise(self._conditioning(network_condition_kwargs)),
            mask,
            multiplicity,
            settings.num_sampling_steps if num_sampling_steps is None else num_sampling_steps,
            ReferenceNoise() if self.parity else PerSampleNoise(_base_seed(), [str(b) for b in range(len(mask))]),
            center_mask=torch.ones_like(mask) if self.parity else mask,
        )
        self.last_steering_report, self.last_draws = result.steering, tuple(resampler.draws)
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
        return self.denoiser.bind(conditioning, self.compute)

    def _steering(
        self, arguments: SteeringArguments, feats: Mapping[str, Tensor], resampler: GlobalMultinomial
    ) -> Steering[Any] | None:
        if not arguments.sets:
            return None
        if self.parity:
            return reference_steering(arguments, feats, self.settings.stepper.step_scale, resampler)
        return our_steering(arguments, feats)

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


def _base_seed() -> int:
    return int(torch.randint(2**62, ()).item())


def _join(biases: tuple[Tensor, ...]) -> Tensor:
    """One [B, K, heads, W, H] a layer -> [B, K, W, H, layers x heads]."""
    return torch.cat(biases, dim=2).movedim(2, -1)


def _part(bias: Tensor, heads: int) -> tuple[Tensor, ...]:
    """Inverse of `_join`."""
    return bias.movedim(-1, 2).split(heads, dim=2)
