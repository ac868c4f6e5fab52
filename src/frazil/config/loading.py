"""TOML -> `Config` -> settings of training and sampling."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_type_hints

from frazil.config.steering import parse_steering, refuse_unknown_weights
from frazil.config.tables import checked, is_table, known_key
from frazil.denoiser import ModelConfig
from frazil.errors import InputError
from frazil.nn.config import NetworkConfig, TrunkConfig
from frazil.predictor import PredictSettings, SteeringSettings
from frazil.trainer import TrainSettings

# what the command line alone decides, and what has a section of its own
_NOT_IN_FILE = {TrainSettings: {"model"}, PredictSettings: {"start", "start_sigma", "overwrite", "steering"}}
_MODEL_OWN = {"preset": str, "sigma_data": float, "coordinate_augmentation": bool, "reference_frame": bool}
_SECTIONS = ("model", "train", "sample", "steering")


@dataclass(frozen=True)
class Config:
    """The content of a TOML file, checked: only known keys, values of the right type."""

    preset: str | None = None
    """Preset that the model's sizes start from."""
    model: Mapping[str, Any] = field(default_factory=dict)
    """Sizes of the model that differ from the preset, nested."""
    train: Mapping[str, Any] = field(default_factory=dict)
    """Settings of training that the file gives."""
    sample: Mapping[str, Any] = field(default_factory=dict)
    """Settings of sampling that the file gives."""
    steering: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `SteeringSettings` that the file gives."""


def load_config(path: Path | None) -> Config:
    """Read a TOML file; None gives an empty `Config`.

    Raises
    ------
    InputError
        If the file cannot be read, is no TOML, holds an unknown key or a value of the wrong type.
    """
    if path is None:
        return Config()
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: not valid TOML ({reason})") from error
    return parse_config(content, str(path))


def parse_config(content: Mapping[str, Any], source: str) -> Config:
    """Check the nested tables of a TOML file.

    Raises
    ------
    InputError
        If there is an unknown key or a value of the wrong type.

    Examples
    --------
    >>> parse_config({"train": {"copies": 8}}, "run.toml").train
    {'copies': 8}
    """
    for name, table in content.items():
        known_key(name, _SECTIONS, source, "section")
        is_table(table, f"[{name}]", source)
    model = dict(content.get("model", {}))
    tables = {}
    for name, record in (("network", NetworkConfig), ("trunk", TrunkConfig)):
        table = model.pop(name, {})
        is_table(table, f"[model.{name}]", source)
        tables[name] = checked(table, get_type_hints(record), f"[model.{name}]", source)
    own = checked(model, _MODEL_OWN, "[model]", source, extra=("network", "trunk"))
    preset = own.pop("preset", None)
    return Config(
        preset=preset,
        model=own | {name: table for name, table in tables.items() if table},
        train=checked(content.get("train", {}), _keys(TrainSettings), "[train]", source),
        sample=checked(content.get("sample", {}), _keys(PredictSettings), "[sample]", source),
        steering=parse_steering(content.get("steering", {}), source),
    )


def train_settings(
    config: Config, flags: Mapping[str, Any], *, preset: str | None = None, base: TrainSettings | None = None
) -> TrainSettings:
    """Settings of a training run.

    Parameters
    ----------
    config : Config
        Content of the TOML file.
    flags : mapping
        Settings from the command line; None means not given.
    preset : str, optional
        Model preset from the command line.
    base : TrainSettings, optional
        What holds where neither says anything: the settings of a run that is resumed.

    Raises
    ------
    InputError
        If a value is out of range or the preset is unknown.
    """
    base = base or TrainSettings()
    preset = preset or config.preset
    start = base.model if preset is None else ModelConfig.preset(preset)
    return replace(base, model=_model(start, config.model), **{**config.train, **_given(flags)})


def predict_settings(
    config: Config, flags: Mapping[str, Any], steering: Mapping[str, Any] | None = None
) -> PredictSettings:
    """Settings of sampling: flags (None means not given) on top of the file.

    Parameters
    ----------
    config : Config
        Content of the TOML file.
    flags : mapping
        Fields of `PredictSettings`.
    steering : mapping, optional
        Fields of `SteeringSettings`; `requests` and `potentials` are added to those of the file.

    Raises
    ------
    InputError
        If a value is out of range, or weights are given of a potential that there is not.
    """
    given = _given(steering or {})
    for name in ("requests", "potentials"):
        given[name] = (*config.steering.get(name, ()), *given.get(name, ()))
    refuse_unknown_weights(config.steering.get("weights", {}), given["potentials"])
    steered = SteeringSettings(**{**config.steering, **given})
    return PredictSettings(**{**config.sample, **_given(flags)}, steering=steered)


def _given(flags: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in flags.items() if value is not None}


def _model(start: ModelConfig, changes: Mapping[str, Any]) -> ModelConfig:
    values = start.to_dict()
    for key, value in changes.items():
        values[key] = {**values[key], **value} if isinstance(value, Mapping) else value
    return ModelConfig.from_dict(values)


def _keys(record: type) -> dict[str, Any]:
    """Keys of a section and their types."""
    hints = get_type_hints(record)
    return {key: hint for key, hint in hints.items() if key not in _NOT_IN_FILE[record]}
