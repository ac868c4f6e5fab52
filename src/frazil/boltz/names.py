"""Parameter names of Boltz-2's two diffusion modules, mapped onto ours; every tensor keeps its shape."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from frazil.errors import InputError

_LAYER = [
    (r"\badaln\.cond_norm\b", "adaln.s_norm"),
    (r"\badaln\.scale\b", "adaln.s_scale"),
    (r"\badaln\.shift\b", "adaln.s_bias"),
    (r"\battention\.query\b", "pair_bias_attn.proj_q"),
    (r"\battention\.key\b", "pair_bias_attn.proj_k"),
    (r"\battention\.value\b", "pair_bias_attn.proj_v"),
    (r"\battention\.gate\b", "pair_bias_attn.proj_g"),
    (r"\battention\.out\b", "pair_bias_attn.proj_o"),
    (r"\btransition\.value_and_gate\b", "transition.swish_gate.0"),
    (r"\btransition\.factor\b", "transition.a_to_b"),
    (r"\btransition\.out\b", "transition.b_to_a"),
    (r"\btransition\.gate_logits\b", "transition.output_projection.0"),
    (r"(layers\.\d+)\.gate_logits\b", r"\1.output_projection_linear"),
    (r"\bpost_norm\b", "post_lnorm"),
]
_TRANSITIONS = [
    (r"(transitions\.\d+)\.gate\b", r"\1.fc1"),
    (r"(transitions\.\d+)\.value\b", r"\1.fc2"),
    (r"(transitions\.\d+)\.out\b", r"\1.fc3"),
]
SCORE_NAMES = [
    *_LAYER,
    *_TRANSITIONS,
    (r"^single\.norm\b", "single_conditioner.norm_single"),
    (r"^single\.embed\b", "single_conditioner.single_embed"),
    (r"^single\.fourier\.projection\b", "single_conditioner.fourier_embed.proj"),
    (r"^single\.fourier_norm\b", "single_conditioner.norm_fourier"),
    (r"^single\.fourier_embed\b", "single_conditioner.fourier_to_single"),
    (r"^single\.transitions\b", "single_conditioner.transitions"),
    (r"^single_norm\b", "s_to_a_linear.0"),
    (r"^single_to_token\b", "s_to_a_linear.1"),
    (r"^transformer\b", "token_transformer"),
    (r"^token_norm\b", "a_norm"),
    (r"^encoder\.position\b", "atom_attention_encoder.r_to_q_trans"),
    (r"^encoder\.transformer\b", "atom_attention_encoder.atom_encoder.diffusion_transformer"),
    (r"^encoder\.to_token\b", "atom_attention_encoder.atom_to_token_trans.0"),
    (r"^decoder\.from_token\b", "atom_attention_decoder.a_to_q_trans"),
    (r"^decoder\.transformer\b", "atom_attention_decoder.atom_decoder.diffusion_transformer"),
    (r"^decoder\.norm\b", "atom_attention_decoder.atom_feat_to_atom_pos_update.0"),
    (r"^decoder\.update\b", "atom_attention_decoder.atom_feat_to_atom_pos_update.1"),
]
"""Our name -> theirs, for `ScoreNetwork` and `DiffusionModule`: patterns applied in order."""

CONDITIONING_NAMES = [
    *_TRANSITIONS,
    (r"^pair\.norm\b", "pairwise_conditioner.dim_pairwise_init_proj.0"),
    (r"^pair\.embed\b", "pairwise_conditioner.dim_pairwise_init_proj.1"),
    (r"^pair\.transitions\b", "pairwise_conditioner.transitions"),
    (r"^atom_features\.linear\b", "atom_encoder.embed_atom_features"),
    (r"^single_norm\b", "atom_encoder.s_to_c_trans.0"),
    (r"^single_to_atom\b", "atom_encoder.s_to_c_trans.1"),
    (r"^atom_pair\.offset\b", "atom_encoder.embed_atompair_ref_pos"),
    (r"^atom_pair\.inverse_distance\b", "atom_encoder.embed_atompair_ref_dist"),
    (r"^atom_pair\.same_reference\b", "atom_encoder.embed_atompair_mask"),
    (r"^atom_pair\.token_pair_norm\b", "atom_encoder.z_to_p_trans.0"),
    (r"^atom_pair\.token_pair\b", "atom_encoder.z_to_p_trans.1"),
    (r"^atom_pair\.query_atom\b", "atom_encoder.c_to_p_trans_q.1"),
    (r"^atom_pair\.key_atom\b", "atom_encoder.c_to_p_trans_k.1"),
    (r"^atom_pair\.mlp\b", "atom_encoder.p_mlp"),
    (r"^atom_encoder_bias\.(\d+)\.norm\b", r"atom_enc_proj_z.\1.0"),
    (r"^atom_encoder_bias\.(\d+)\.project\b", r"atom_enc_proj_z.\1.1"),
    (r"^atom_decoder_bias\.(\d+)\.norm\b", r"atom_dec_proj_z.\1.0"),
    (r"^atom_decoder_bias\.(\d+)\.project\b", r"atom_dec_proj_z.\1.1"),
    (r"^token_bias\.(\d+)\.norm\b", r"token_trans_proj_z.\1.0"),
    (r"^token_bias\.(\d+)\.project\b", r"token_trans_proj_z.\1.1"),
]
"""Our name -> theirs, for our and their `DiffusionConditioning`."""

_ALIAS = re.compile(r"(layers\.\d+)\.output_projection\.0\.")


def reference_name(name: str, patterns: Iterable[tuple[str, str]]) -> str:
    """Boltz-2's name of one of our parameters.

    >>> reference_name("transformer.layers.3.attention.query.bias", SCORE_NAMES)
    'token_transformer.layers.3.pair_bias_attn.proj_q.bias'
    """
    for pattern, replacement in patterns:
        name = re.sub(pattern, replacement, name)
    return name


def load_reference_weights(
    module: nn.Module, weights: Mapping[str, Tensor], patterns: Iterable[tuple[str, str]]
) -> None:
    """Copy Boltz-2's weights into one of our modules.

    Parameters
    ----------
    module : nn.Module
        `ScoreNetwork` or `DiffusionConditioning`.
    weights : mapping of str to Tensor
        State of the reference's module, under its own names.
    patterns : iterable of pairs
        `SCORE_NAMES` or `CONDITIONING_NAMES`.

    Raises
    ------
    InputError
        If a parameter is missing, left over or of another shape; names the first few.
    """
    wanted = matching_names(module, weights, patterns)
    module.load_state_dict({ours: weights[theirs] for theirs, ours in wanted.items()})


def matching_names(
    module: nn.Module, weights: Mapping[str, Tensor], patterns: Iterable[tuple[str, str]]
) -> dict[str, str]:
    """Boltz-2's name of each of our parameters -> ours, for all of `module`.

    Parameters
    ----------
    module, weights, patterns
        As for `load_reference_weights`.

    Raises
    ------
    InputError
        If a parameter is missing, left over or of another shape; names the first few.
    """
    patterns, ours = list(patterns), module.state_dict()
    given = {name: tensor for name, tensor in weights.items() if not _ALIAS.search(name)}
    wanted = {reference_name(name, patterns): name for name in ours}
    differences = {
        "lacks": sorted(wanted.keys() - given.keys()),
        "has unknown": sorted(given.keys() - wanted.keys()),
        "has misshapen": [name for name in given if name in wanted and given[name].shape != ours[wanted[name]].shape],
    }
    told = [f"{what} parameters: {_few(names)}" for what, names in differences.items() if names]
    if told:
        raise InputError(f"the Boltz-2 checkpoint {'; '.join(told)}")
    return wanted


def _few(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{', '.join(names[:5])}{more}"
