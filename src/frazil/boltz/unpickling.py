"""Pickles of strangers, read without running them: torch's `weights_only` unpickler with a list of inert classes.

Each class of omegaconf that is pickled with hyper-parameters has a stand-in of ours; every other global is refused.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch

from frazil.errors import InputError

_ZIP: Final = b"PK\x03\x04"
_ASKED_FOR: Final = re.compile(r"GLOBAL (\S+)")


class _Inert:
    """Stands for a class that is named in a pickle: holds what was pickled of it, and does nothing."""

    content: Any = None

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.content = state.get("_content", state.get("_val"))


class _PlainDictionary:
    """Stands for a `defaultdict`: calling it gives a plain dictionary."""

    def __new__(cls, *_: Any) -> Any:
        return {}


_STAND_INS: Final = tuple(
    type(name, (base,), {"__module__": module})
    for base, module, names in (
        (_Inert, "omegaconf.dictconfig", ("DictConfig",)),
        (_Inert, "omegaconf.listconfig", ("ListConfig",)),
        (_Inert, "omegaconf.nodes", (
            "AnyNode", "BooleanNode", "BytesNode", "FloatNode", "IntegerNode", "InterpolationResultNode", "StringNode",
        )),
        (_Inert, "omegaconf.base", ("ContainerMetadata", "Metadata", "UnionNode")),
        # what omegaconf's metadata name as types
        (_Inert, "typing", ("Any", "Dict", "List", "Optional", "Tuple", "Union")),
        (_Inert, "builtins", ("bool", "bytes", "dict", "float", "int", "list", "str", "tuple")),
        (_PlainDictionary, "collections", ("defaultdict",)),
    )
    for name in names
)  # fmt: skip
"""The whole of what a checkpoint may name besides tensors; torch finds each by its module and name."""


def unpickled(path: Path) -> Any:
    """The content of a file that `torch.save` wrote, tensors mapped from it; omegaconf's nodes become inert ones.

    Raises
    ------
    InputError
        If it cannot be read, or names any class or function that is not on the list.
    """
    _refuse_no_archive(path)
    try:
        with _only(_STAND_INS), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except InputError:
        raise
    except Exception as error:
        # a foreign pickle may fail in any way
        asked = _ASKED_FOR.search(str(error))
        if asked:
            raise InputError(
                f"{path}: refused: it names {asked[1][:80]}, which is neither a tensor nor one of omegaconf's nodes, "
                "and unpickling might run it; get the checkpoint from its makers"
            ) from error
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise InputError(f"{path}: truncated, or not a checkpoint ({reason}); fetch it again") from error


@contextmanager
def _only(stand_ins: tuple[type, ...]) -> Iterator[None]:
    """Inside the block torch's unpickler knows these classes and none that others have allowed."""
    serialization: Any = torch.serialization
    if not hasattr(serialization, "clear_safe_globals"):
        raise InputError(f"PyTorch {torch.__version__} cannot read checkpoints safely; install 2.4 or later")
    allowed = serialization.get_safe_globals()
    serialization.clear_safe_globals()
    try:
        serialization.add_safe_globals(list(stand_ins))
        yield
    finally:
        serialization.clear_safe_globals()
        serialization.add_safe_globals(allowed)


def _refuse_no_archive(path: Path) -> None:
    """Refuse what is not the zip archive that torch writes, before torch tries its older formats."""
    if path.is_dir():
        raise InputError(f"{path}: is a folder; name the .ckpt file in it")
    try:
        with path.open("rb") as file:
            start = file.read(len(_ZIP))
        if start == _ZIP:
            with zipfile.ZipFile(path) as archive:
                weights = [one for one in archive.infolist() if "/data/" in one.filename]
            if all(one.compress_type == zipfile.ZIP_STORED for one in weights):
                return
            # mapped as they lie, packed weights would be noise
            raise InputError(f"{path}: its weights were packed after it was saved; fetch the checkpoint again")
    except (zipfile.BadZipFile, NotImplementedError, ValueError):
        raise InputError(f"{path}: truncated or damaged archive; fetch the checkpoint again") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check path and permissions") from None
    if not start:
        raise InputError(f"{path}: empty file; fetch the checkpoint again")
    raise InputError(f"{path}: not a checkpoint that torch.save wrote (no zip archive); give a .ckpt of Boltz-2")


def plain(value: Any) -> Any:
    """Dictionaries, lists and scalars, inert nodes unwrapped.

    Raises
    ------
    RecursionError
        If they are nested too deeply.
    """
    return _plain(value, {})


def _plain(value: Any, seen: dict[int, Any]) -> Any:
    """Nodes unwrapped; what is shared stays shared, so that a pickle that refers to itself ends."""
    if isinstance(value, _Inert):
        return _plain(value.content, seen)
    if id(value) in seen:
        return seen[id(value)]
    if isinstance(value, dict):
        found: dict[Any, Any] = seen.setdefault(id(value), {})
        found.update({key: _plain(item, seen) for key, item in value.items() if isinstance(key, (str, int, float))})
        return found
    if isinstance(value, (list, tuple)):
        items: list[Any] = seen.setdefault(id(value), [])
        items.extend(_plain(item, seen) for item in value)
        return items
    return value
