"""Strict TOML -> settings: a misspelt key or a wrong type is refused by name, never ignored.

Sections: [model] (`preset`, `sigma_data`, `coordinate_augmentation`), [model.network], [model.trunk], [train],
[sample], [steering] (whose restraints are lists: [[steering.contact]], ...), [steering.weights.POTENTIAL]. Flags of the
command line come on top of the file, the file on top of the preset; restraints of both count.
"""

from frazil.config.loading import Config, load_config, parse_config, predict_settings, train_settings
from frazil.config.steering import requests_from_flags, steering_flags

__all__ = [
    "Config",
    "load_config",
    "parse_config",
    "predict_settings",
    "requests_from_flags",
    "steering_flags",
    "train_settings",
]
