"""The sizes and hyper-parameters of the reference's modules, read off the instances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from frazil.errors import InputError
from frazil.geometry import Align, rigid_align
from frazil.nn.config import NetworkConfig
from frazil.noise import KarrasSchedule, LogNormalSigma
from frazil.sampler import StochasticEuler


@dataclass(frozen=True)
class DiffusionSettings:
    """Hyper-parameters of Boltz-2's `AtomDiffusion` besides the network's sizes."""

    sigma_data: float
    schedule: KarrasSchedule
    sigma_law: LogNormalSigma
    stepper: StochasticEuler
    align: Align | None
    num_sampling_steps: int
    step_scale_random: Sequence[float] | None
    coordinate_augmentation: bool
    augment_sampling: bool
    """Whether samples are turned at random before each step; the reference ignores this and always does."""
    synchronize_sigmas: bool


def read_settings(module: nn.Module) -> DiffusionSettings:
    """Settings of an instance of the reference's `AtomDiffusion`."""
    values = vars(module)
    sigma_data = float(values["sigma_data"])
    return DiffusionSettings(
        sigma_data=sigma_data,
        schedule=KarrasSchedule(
            sigma_max=values["sigma_max"], sigma_min=values["sigma_min"], rho=values["rho"], sigma_data=sigma_data
        ),
        sigma_law=LogNormalSigma(mean=values["P_mean"], std=values["P_std"], sigma_data=sigma_data),
        stepper=StochasticEuler(
            gamma_0=values["gamma_0"],
            gamma_min=values["gamma_min"],
            noise_scale=values["noise_scale"],
            step_scale=values["step_scale"],
        ),
        align=rigid_align if values["alignment_reverse_diff"] else None,
        num_sampling_steps=values["num_sampling_steps"],
        step_scale_random=values.get("step_scale_random"),
        coordinate_augmentation=values["coordinate_augmentation"],
        augment_sampling=values["coordinate_augmentation_inference"],
        synchronize_sigmas=values["synchronize_sigmas"],
    )


def score_model_of(structure_module: nn.Module) -> Any:
    """The reference's network, out of the wrapper of torch.compile where there is one.

    Raises
    ------
    InputError
        If the module is not Boltz-2's `AtomDiffusion`; says what it is.
    """
    score: Any = getattr(structure_module, "score_model", None)
    score = getattr(score, "_orig_mod", score)
    kind = type(structure_module).__name__
    if hasattr(score, "pairwise_conditioner"):
        raise InputError(f"{kind} is the diffusion module of Boltz-1; convert takes that of Boltz-2")
    if kind != "AtomDiffusion" or not hasattr(score, "atom_attention_encoder"):
        raise InputError(f"{kind} is not Boltz-2's AtomDiffusion; hand over model.structure_module")
    return score


def read_sizes(score: Any, conditioning: Any) -> NetworkConfig:
    """Sizes of the reference's `DiffusionModule` and `DiffusionConditioning`.

    Raises
    ------
    InputError
        If the second is not Boltz-2's `DiffusionConditioning`.
    """
    if type(conditioning).__name__ != "DiffusionConditioning" or not hasattr(conditioning, "token_trans_proj_z"):
        kind = type(conditioning).__name__
        raise InputError(f"{kind} is not Boltz-2's DiffusionConditioning; hand over model.diffusion_conditioning")
    encoder = score.atom_attention_encoder.atom_encoder.diffusion_transformer.layers
    decoder = score.atom_attention_decoder.atom_decoder.diffusion_transformer.layers
    token = score.token_transformer.layers
    embedding = conditioning.atom_encoder
    return NetworkConfig(
        token_s=score.single_conditioner.single_embed.out_features // 2,
        token_z=conditioning.pairwise_conditioner.dim_pairwise_init_proj[1].out_features,
        atom_s=embedding.embed_atom_features.out_features,
        atom_z=embedding.embed_atompair_ref_pos.out_features,
        atoms_per_window_queries=score.atoms_per_window_queries,
        atoms_per_window_keys=score.atoms_per_window_keys,
        dim_fourier=score.single_conditioner.fourier_embed.proj.out_features,
        atom_encoder_depth=len(encoder),
        atom_encoder_heads=encoder[0].pair_bias_attn.num_heads,
        token_transformer_depth=len(token),
        token_transformer_heads=token[0].pair_bias_attn.num_heads,
        atom_decoder_depth=len(decoder),
        atom_decoder_heads=decoder[0].pair_bias_attn.num_heads,
        conditioning_transition_layers=len(score.single_conditioner.transitions),
        activation_checkpointing=score.activation_checkpointing,
        transformer_post_ln=isinstance(encoder[0].post_lnorm, nn.LayerNorm),
        use_no_atom_char=embedding.use_no_atom_char,
        use_atom_backbone_feat=embedding.use_atom_backbone_feat,
        use_residue_feats_atoms=embedding.use_residue_feats_atoms,
    )
