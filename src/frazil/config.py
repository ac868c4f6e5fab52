"""Strict TOML -> settings: a misspelt key or a wrong type is refused by name, never ignored.

Sections: [model] (`preset`, `sigma_data`, `coordinate_augmentation`), [model.network], [model.trunk], [train],
[sample]. Flags of the command line come on top of the file, the file on top of the preset.
"""

from __future__ import annotations

import difflib
import tomllib
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

from frazil.denoiser import ModelConfig
from frazil.errors import InputError
from frazil.nn.config import NetworkConfig, TrunkConfig
from frazil.predictor import PredictSettings
from frazil.trainer import TrainSettings

# what the command line alone decides
_NOT_IN_FILE = {TrainSettings: {"model"}, PredictSettings: {"start", "start_sigma", "overwrite"}}
_MODEL_OWN = {"preset": str, "sigma_data": float, "coordinate_augmentation": bool}
_SECTIONS = ("model", "train", "sample")
_LARGEST_INT = 2**53


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
        _known(name, _SECTIONS, source, "section")
        _is_table(table, f"[{name}]", source)
    model = dict(content.get("model", {}))
    tables = {}
    for name, record in (("network", NetworkConfig), ("trunk", TrunkConfig)):
        table = model.pop(name, {})
        _is_table(table, f"[model.{name}]", source)
        tables[name] = _checked(table, get_type_hints(record), f"[model.{name}]", source)
    own = _checked(model, _MODEL_OWN, "[model]", source, extra=("network", "trunk"))
    preset = own.pop("preset", None)
    return Config(
        preset=preset,
        model=own | {name: table for name, table in tables.items() if table},
        train=_checked(content.get("train", {}), _keys(TrainSettings), "[train]", source),
        sample=_checked(content.get("sample", {}), _keys(PredictSettings), "[sample]", source),
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


def predict_settings(config: Config, flags: Mapping[str, Any]) -> PredictSettings:
    """Settings of sampling: flags (None means not given) on top of the file.

    Raises
    ------
    InputError
        If a value is out of range.
    """
    return PredictSettings(**{**config.sample, **_given(flags)})


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


def _checked(
    table: Mapping[str, Any], hints: Mapping[str, Any], section: str, source: str, extra: tuple[str, ...] = ()
) -> dict[str, Any]:
    checked = {}
    for key, value in table.items():
        _known(key, (*hints, *extra), source, f"{section} key")
        checked[key] = _typed(value, hints[key], f"{source}: {section} {key}")
    return checked


def _known(key: str, known: Iterable[str], source: str, what: str) -> None:
    known = tuple(known)
    if key not in known:
        nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.0)[0]
        raise InputError(f"{source}: unknown {what} {key!r}; did you mean {nearest!r}?")


def _is_table(value: Any, section: str, source: str) -> None:
    if not isinstance(value, Mapping):
        raise InputError(f"{source}: {section} is {_shown(value)}, not a section; write it in brackets, keys below")


def _typed(value: Any, hint: Any, where: str) -> Any:
    """The value as one of the hinted types; an integer may stand for a float, a bool for nothing else."""
    allowed = get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if isinstance(value, int) and abs(value) > _LARGEST_INT:
        raise InputError(f"{where} = {_shown(value)} is too large a number")
    if type(value) in allowed:
        return value
    if type(value) is int and float in allowed:
        return float(value)
    names = " or ".join(kind.__name__ for kind in allowed if kind is not type(None))
    raise InputError(f"{where} = {_shown(value)} is {_kind(value)}, not {names}")


def _kind(value: Any) -> str:
    names = {"str": "text", "dict": "a table", "list": "a list", "bool": "true or false", "int": "a whole number"}
    return names.get(type(value).__name__, type(value).__name__)


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:
        # Python refuses to print integers of thousands of digits
        return "a huge number"
    return text if len(text) <= 60 else text[:57] + "..."
