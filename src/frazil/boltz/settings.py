"""The sizes and hyper-parameters of the reference's modules, read off the instances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter, signature
from types import MappingProxyType
from typing import Any, Final

from torch import nn

from frazil.errors import InputError
from frazil.geometry import Align, rigid_align
from frazil.nn.config import NetworkConfig
from frazil.noise import KarrasSchedule, LogNormalSigma
from frazil.sampler import StochasticEuler

_SIZES: Final = """
    token_s atom_s atoms_per_window_queries atoms_per_window_keys atom_encoder_depth atom_encoder_heads
    token_transformer_depth token_transformer_heads atom_decoder_depth atom_decoder_heads conditioning_transition_layers
"""
_PROCESS: Final = """
    score_model_args num_sampling_steps sigma_min sigma_max sigma_data rho P_mean P_std gamma_0 gamma_min noise_scale
    step_scale step_scale_random coordinate_augmentation coordinate_augmentation_inference compile_score
    alignment_reverse_diff synchronize_sigmas
"""
_SCORE: Final = f"{_SIZES} sigma_data dim_fourier activation_checkpointing transformer_post_ln"
_CONDITIONING: Final = f"""
    {_SIZES} token_z atom_z atom_feature_dim use_no_atom_char use_atom_backbone_feat use_residue_feats_atoms
"""
HYPER_PARAMETERS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "AtomDiffusion": frozenset(_PROCESS.split()),
        "DiffusionModule": frozenset(_SCORE.split()),
        "DiffusionConditioning": frozenset(_CONDITIONING.split()),
    }
)
"""What the constructors of boltz 2.2.1 and boltz-community 2.12.0 take, by class; both take the same."""


def check_hyper_parameters(module: nn.Module) -> None:
    """Refuse a module of another version of Boltz-2, whose hyper-parameters may mean what nobody here knows.

    Raises
    ------
    InputError
        If the constructor of the module's class takes other names than `HYPER_PARAMETERS`; names them.
    """
    kind = type(module).__name__
    taken = signature(type(module)).parameters.values()
    names = {one.name for one in taken if one.kind not in (Parameter.VAR_KEYWORD, Parameter.VAR_POSITIONAL)}
    for verb, strange in (("has", names - HYPER_PARAMETERS[kind]), ("lacks", HYPER_PARAMETERS[kind] - names)):
        if strange:
            raise InputError(
                f"{kind} of this boltz {verb} hyper-parameters otherwise than known: {', '.join(sorted(strange))}; "
                "use boltz-community 2.12 or boltz 2.2, or a newer frazil"
            )


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
        If the module is not Boltz-2's `AtomDiffusion` as known; says what it is.
    """
    score: Any = getattr(structure_module, "score_model", None)
    score = getattr(score, "_orig_mod", score)
    kind = type(structure_module).__name__
    if hasattr(score, "pairwise_conditioner"):
        raise InputError(f"{kind} is the diffusion module of Boltz-1; give a model of Boltz-2")
    if kind != "AtomDiffusion" or not hasattr(score, "atom_attention_encoder"):
        raise InputError(f"{kind} is not Boltz-2's AtomDiffusion; give the structure_module of a Boltz2")
    check_hyper_parameters(structure_module)
    check_hyper_parameters(score)
    return score


def read_sizes(score: Any, conditioning: Any) -> NetworkConfig:
    """Sizes of the reference's `DiffusionModule` and `DiffusionConditioning`.

    Raises
    ------
    InputError
        If the second is not Boltz-2's `DiffusionConditioning` as known; says what it is.
    """
    if type(conditioning).__name__ != "DiffusionConditioning" or not hasattr(conditioning, "token_trans_proj_z"):
        kind = type(conditioning).__name__
        raise InputError(f"{kind} is not Boltz-2's DiffusionConditioning; give the diffusion_conditioning of a Boltz2")
    check_hyper_parameters(conditioning)
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
