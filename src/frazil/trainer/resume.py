"""The state of a stopped run in one safetensors file: tensors as tensors, everything else as JSON in the header.

Lightning hands over a nested dictionary and would pickle it; this keeps it exact without pickle.
"""

from __future__ import annotations

import math
import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import CheckpointIO
from torch import Tensor

from frazil.checkpoint import load_tensors, save_tensors
from frazil.errors import InputError

_SEQUENCES: dict[type, str] = {list: "list", tuple: "tuple"}
_MAPPINGS: dict[type, str] = {dict: "dict", OrderedDict: "ordered"}
_BUILD = {"list": list, "tuple": tuple, "dict": dict, "ordered": OrderedDict}


def flatten(value: Any) -> tuple[Any, dict[str, Tensor]]:
    """Split nested plain values into a JSON-able tree and the tensors in it.

    Plain are None, bool, int, float, str, tensors, and lists, tuples and dictionaries of plain values; a subclass of
    one of these is not, since it would not come back as itself.

    Raises
    ------
    TypeError
        If anything in it is not plain.

    Examples
    --------
    >>> tree, tensors = flatten({1: (None, 2.5)})
    >>> unflatten(tree, tensors)
    {1: (None, 2.5)}
    """
    tensors: dict[str, Tensor] = {}
    return _encode(value, tensors, "state"), tensors


def _encode(value: Any, tensors: dict[str, Tensor], where: str) -> Any:
    kind = type(value)
    if value is None or kind in (bool, int, str) or (kind is float and math.isfinite(value)):
        return value
    if kind is float:
        return {"float": repr(value)}
    if kind is Tensor:
        name = str(len(tensors))
        tensors[name] = value
        return {"tensor": name}
    if kind in _SEQUENCES:
        return {_SEQUENCES[kind]: [_encode(item, tensors, f"{where}[{i}]") for i, item in enumerate(value)]}
    if kind in _MAPPINGS:
        pairs = [
            [_encode(key, tensors, where), _encode(item, tensors, f"{where}.{key}")] for key, item in value.items()
        ]
        return {_MAPPINGS[kind]: pairs}
    raise TypeError(f"{where} is a {kind.__name__}: only plain values and tensors are saved")


def unflatten(tree: Any, tensors: dict[str, Tensor]) -> Any:
    """Inverse of `flatten`."""
    if not isinstance(tree, dict):
        return tree
    ((tag, content),) = tree.items()
    if tag == "float":
        return float(content)
    if tag == "tensor":
        return tensors[content]
    if tag in _SEQUENCES.values():
        return _BUILD[tag](unflatten(item, tensors) for item in content)
    return _BUILD[tag]((unflatten(key, tensors), unflatten(item, tensors)) for key, item in content)


class SafetensorsCheckpointIO(CheckpointIO):
    """Lightning plug-in that reads and writes checkpoints as safetensors, atomically and without pickle."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write the nested dictionary; the earlier file stays whole until the new one is on disk."""
        tree, tensors = flatten(checkpoint)
        save_tensors(Path(path), tensors, {"resume": tree})

    def load_checkpoint(
        self, path: str | os.PathLike[str], map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read it back, bit for bit, on the CPU or where `map_location` says."""
        tensors, header = load_tensors(Path(path))
        if not isinstance(header, dict) or "resume" not in header:
            raise InputError(f"{path}: holds no state to resume from (it may be a file of weights)")
        if isinstance(map_location, str | torch.device):
            tensors = {name: tensor.to(map_location) for name, tensor in tensors.items()}
        try:
            return unflatten(header["resume"], tensors)
        except (KeyError, ValueError, TypeError) as error:
            raise InputError(f"{path}: damaged resume state ({error!r}); train anew in another folder") from error

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Delete the file, if it is there."""
        Path(path).unlink(missing_ok=True)
