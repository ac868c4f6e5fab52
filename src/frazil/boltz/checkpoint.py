"""Lightning checkpoints of Boltz-2, read without running what they pickle; and the diffusion module out of them.

Such a file is a pickle of tensors and hyper-parameters, and the latter hold omegaconf's nodes; see `unpickling`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from frazil.boltz.names import CONDITIONING_NAMES, SCORE_NAMES, matching_names
from frazil.boltz.settings import HYPER_PARAMETERS
from frazil.boltz.unpickling import plain, unpickled
from frazil.checkpoint import HEADER_KEY, MODEL_FILE, RunRecord, save_model
from frazil.denoiser import ModelConfig, StructureModel
from frazil.errors import InputError
from frazil.nn.config import NetworkConfig

SCORE_PREFIX, CONDITIONING_PREFIX = "structure_module.score_model.", "diffusion_conditioning."
_MODULES = ("structure_module.", CONDITIONING_PREFIX)
_COMPILED = re.compile(r"\b_orig_mod\.")

_REQUIRED_SIZES = ("token_s", "token_z", "atom_s", "atom_z")
_OPTIONAL_SIZES = (
    "atoms_per_window_queries", "atoms_per_window_keys", "use_no_atom_char", "use_atom_backbone_feat",
    "use_residue_feats_atoms",
)  # fmt: skip
_DEPTHS = (
    "atom_encoder_depth", "token_transformer_depth", "atom_decoder_depth", "conditioning_transition_layers",
)  # fmt: skip
_REQUIRED_SCORE_ARGS = (*_DEPTHS, "atom_encoder_heads", "token_transformer_heads", "atom_decoder_heads")
_OPTIONAL_SCORE_ARGS = ("dim_fourier", "activation_checkpointing", "transformer_post_ln")
_SHARED_ARGS = ("token_s", "atom_s", "atoms_per_window_queries", "atoms_per_window_keys")
"""Of `score_model_args` and of the model: a value that differs would make two unlike halves."""
_SCORE_ARGS = HYPER_PARAMETERS["DiffusionModule"]
# the published checkpoints have one that no version takes as a parameter
_PROCESS_ARGS = HYPER_PARAMETERS["AtomDiffusion"] - {"score_model_args"} | {"mse_rotational_alignment"}


@dataclass(frozen=True, eq=False)
class ForeignCheckpoint:
    """What is of use in a checkpoint of Boltz-2."""

    state: dict[str, Tensor]
    """Parameters of the two diffusion modules by Boltz-2's names, those of compiled modules too; mapped from the file
    as they are read."""
    hyper_parameters: dict[str, Any]
    """Of the whole model: plain dictionaries, lists and scalars."""
    steps: int = 0
    """Optimiser steps of its training."""


def read_boltz_checkpoint(path: str | Path) -> ForeignCheckpoint:
    """Read a Lightning checkpoint of Boltz-2 without running anything in it; omegaconf need not be installed.

    Parameters
    ----------
    path : str or Path
        A `.ckpt`, such as `boltz2_conf.ckpt`.

    Raises
    ------
    InputError
        If there is no such file, it is truncated or foreign, its pickle asks for any class or function besides
        tensors and omegaconf's nodes (which is named), or it is a checkpoint of Boltz-1.

    Examples
    --------
    >>> found = read_boltz_checkpoint("boltz2_conf.ckpt")                                    # doctest: +SKIP
    >>> found.hyper_parameters["token_s"]                                                    # doctest: +SKIP
    384
    """
    path = Path(path)
    content = unpickled(path)
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), dict):
        raise InputError(f"{path}: not a Lightning checkpoint (no state_dict); give a .ckpt of Boltz-2")
    named = {name: tensor for name, tensor in content["state_dict"].items() if isinstance(name, str)}
    state = {
        _COMPILED.sub("", name): tensor.detach()
        for name, tensor in named.items()
        if name.startswith(_MODULES) and isinstance(tensor, Tensor)
    }
    _refuse_others(path, state, named)
    try:
        hyper_parameters = plain(content.get("hyper_parameters"))
    except RecursionError:
        raise InputError(f"{path}: its hyper-parameters are nested too deeply; fetch the checkpoint again") from None
    if not isinstance(hyper_parameters, dict):
        raise InputError(f"{path}: holds no hyper_parameters, from which the network's sizes come; give a whole .ckpt")
    steps = content.get("global_step")
    return ForeignCheckpoint(state, hyper_parameters, steps if type(steps) is int and steps > 0 else 0)


def check_boltz_checkpoint(path: str | Path) -> None:
    """Refuse what `read_boltz_checkpoint` refuses, without reading the weights.

    Boltz's own loader runs whatever a checkpoint pickles; this comes before it.

    Raises
    ------
    InputError
        As `read_boltz_checkpoint`.
    """
    read_boltz_checkpoint(path)


def extract(checkpoint: str | Path, out: str | Path) -> Path:
    """Write the diffusion module of a Boltz-2 checkpoint as a model of ours, whose trunk is read from a file.

    Parameters
    ----------
    checkpoint : str or Path
        Lightning checkpoint; nothing in it is run.
    out : str or Path
        Folder to write `model.safetensors` into, or the file itself if it ends in `.safetensors`.

    Returns
    -------
    Path
        The file, for `frazil sample X_conditioning.safetensors --checkpoint FILE`.

    Raises
    ------
    InputError
        As `read_boltz_checkpoint`; if hyper-parameters or parameters are missing or unknown, which are named, weights
        hold NaN, or the file cannot be written, or exists and is anything but an earlier extract.

    Examples
    --------
    >>> extract("boltz2_conf.ckpt", "diffusion")                                             # doctest: +SKIP
    PosixPath('diffusion/model.safetensors')
    """
    path, file = Path(checkpoint), _target(Path(out))
    _refuse_replacing(file)
    found = read_boltz_checkpoint(path)
    try:
        config = model_config(found.hyper_parameters)
        _refuse_unknown_parameters(found.state)
        _refuse_depth(config.network, len(found.state))
        # sizes alone: hyper-parameters that do not fit the weights must not decide how much memory is taken
        with torch.device("meta"):
            model = StructureModel(config)
        weights = _weights(model, found.state)
    except (InputError, RuntimeError, MemoryError, ArithmeticError, ValueError, TypeError) as error:
        raise InputError(f"{path}: {' '.join(str(error).split())[:400]}") from error
    _make_folder(file.parent)
    save_model(file, model, RunRecord(config=config, steps=found.steps), weights)
    return file


def model_config(hyper_parameters: Mapping[str, Any]) -> ModelConfig:
    """Sizes of the diffusion module from the hyper-parameters of Boltz-2; the trunk is `None`, from a file.

    Raises
    ------
    InputError
        If a hyper-parameter is missing, unknown, or of the wrong type.
    """
    score = _arguments(hyper_parameters, "score_model_args")
    process = _arguments(hyper_parameters, "diffusion_process_args")
    _refuse_unknown("score_model_args", score, _SCORE_ARGS)
    _refuse_unknown("diffusion_process_args", process, _PROCESS_ARGS)
    for name in _SHARED_ARGS:
        if name in score and score[name] != hyper_parameters.get(name, score[name]):
            raise InputError(f"score_model_args has {name} = {score[name]!r}, the model {hyper_parameters[name]!r}")
    network = {name: _required(hyper_parameters, name) for name in _REQUIRED_SIZES}
    network |= {name: hyper_parameters[name] for name in _OPTIONAL_SIZES if name in hyper_parameters}
    network |= {name: _required(score, name, " of score_model_args") for name in _REQUIRED_SCORE_ARGS}
    network |= {name: score[name] for name in _OPTIONAL_SCORE_ARGS if name in score}
    turned = process.get("coordinate_augmentation_inference")
    turned = process.get("coordinate_augmentation", True) if turned is None else turned
    values = {"network": network, "trunk": None, "coordinate_augmentation": turned}
    return ModelConfig.from_dict(values | {key: process[key] for key in ("sigma_data",) if key in process})


def _refuse_others(path: Path, state: Mapping[str, Tensor], named: Mapping[str, Any]) -> None:
    """Refuse Boltz-1, and what holds no diffusion module."""
    if any(name.startswith(f"{SCORE_PREFIX}pairwise_conditioner.") for name in state):
        raise InputError(f"{path}: a checkpoint of Boltz-1; only the diffusion module of Boltz-2 is read")
    if not all(any(name.startswith(prefix) for name in state) for prefix in (SCORE_PREFIX, CONDITIONING_PREFIX)):
        held = ", ".join(sorted({name.partition(".")[0] for name in named})[:5]) or "nothing"
        raise InputError(
            f"{path}: not a checkpoint of Boltz-2 (no structure_module and diffusion_conditioning; holds {held[:120]})"
        )


def _arguments(hyper_parameters: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = hyper_parameters.get(name)
    if not isinstance(value, dict):
        raise InputError(f"the hyper-parameters lack {name}; give a checkpoint of Boltz-2")
    return value


def _required(values: Mapping[str, Any], name: str, where: str = "") -> Any:
    if name not in values:
        raise InputError(f"the hyper-parameters lack {name}{where}; give a checkpoint of Boltz-2")
    return values[name]


def _refuse_unknown(where: str, given: Mapping[str, Any], known: frozenset[str]) -> None:
    unknown = sorted(map(str, given.keys() - known))
    if unknown:
        raise InputError(
            f"{where} has {unknown[0][:60]!r}, which this frazil does not know: a later model than Boltz-2's 2.12; "
            "update frazil"
        )


def _refuse_unknown_parameters(state: Mapping[str, Tensor]) -> None:
    unknown = sorted(name for name in state if not name.startswith((SCORE_PREFIX, CONDITIONING_PREFIX)))
    if unknown:
        raise InputError(f"the Boltz-2 checkpoint has unknown parameters: {', '.join(unknown[:5])}")


def _refuse_depth(network: NetworkConfig, count: int) -> None:
    """Refuse more layers than there are parameters, before they are made."""
    for name in _DEPTHS:
        if getattr(network, name) > count:
            raise InputError(f"{name} = {getattr(network, name)}, but the Boltz-2 checkpoint has {count} parameters")


def _weights(model: StructureModel, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights by our names, all of a model without a trunk."""
    weights: dict[str, Tensor] = {}
    for home, prefix, patterns in (
        ("denoiser.network", SCORE_PREFIX, SCORE_NAMES),
        ("conditioner", CONDITIONING_PREFIX, CONDITIONING_NAMES),
    ):
        given = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
        for theirs, ours in matching_names(model.get_submodule(home), given, patterns).items():
            if not given[theirs].is_floating_point():
                raise InputError(f"the weight {theirs} is {given[theirs].dtype}; use a checkpoint of float32")
            weights[f"{home}.{ours}"] = given[theirs].float()
            if not bool(torch.isfinite(weights[f"{home}.{ours}"]).all()):
                raise InputError(f"the weight {theirs} holds NaN or infinity; use another checkpoint")
    return weights


def _target(out: Path) -> Path:
    return out if out.suffix == ".safetensors" else out / MODEL_FILE


def _refuse_replacing(file: Path) -> None:
    """Refuse to write over a trained model, or anything else that another command made."""
    if not file.is_file():
        return
    try:
        with safe_open(file, framework="pt") as content:
            header = json.loads((content.metadata() or {})[HEADER_KEY])
        if header["config"]["trunk"] is None:
            return
    except (SafetensorError, OSError, ValueError, LookupError, TypeError):
        pass
    raise InputError(f"{file}: exists, and is no earlier extract; choose another OUT")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror}); choose another folder") from error
