"""Potentials that a user wrote: from `module:Class` to the class, and from the class to a potential."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from frazil.errors import InputError
from frazil.features import Features
from frazil.potentials import Potential
from frazil.predictor.settings import PotentialFactory, potential_name


def potential_class(text: str) -> PotentialFactory:
    """The potential's class that `module:Class` names; modules of the current folder count too.

    Raises
    ------
    InputError
        If it is not of that form, the module cannot be imported, or has no such subclass of `Potential`.

    Examples
    --------
    >>> potential_class("frazil.potentials:Contacts").__name__
    'Contacts'
    """
    module_name, _, class_name = text.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), class_name)):
        raise InputError(f"--potential {text[:80]!r}: not of the form module:Class")
    module = _imported(module_name, text)
    found = getattr(module, class_name, None)
    if found is None:
        known = [name for name, value in vars(module).items() if _is_potential(value)]
        nearest = difflib.get_close_matches(class_name, known, n=1, cutoff=0.0)
        hint = f"did you mean {nearest[0]}?" if nearest else "it has no subclass of frazil.potentials.Potential"
        raise InputError(f"--potential {text}: {module_name} has no {class_name}; {hint}")
    if not _is_potential(found):
        raise InputError(f"--potential {text}: {class_name} is no subclass of frazil.potentials.Potential")
    return found


def built(factory: PotentialFactory, features: Features) -> Potential:
    """The potential of a factory for these features.

    Raises
    ------
    InputError
        If the factory fails or gives something else, or the potential has no name or number of terms.
    """
    name = potential_name(factory)
    try:
        potential = factory(features)
    except (Exception, SystemExit) as error:
        raise InputError(f"potential {name}: cannot be made of the features: {_reason(error)}") from error
    if not isinstance(potential, Potential):
        raise InputError(f"potential {name}: gives {type(potential).__name__}, not a frazil.potentials.Potential")
    for part, kind, what in (("name", str, "a text"), ("num_terms", int, "a whole number")):
        try:
            value = getattr(potential, part)
        except (Exception, SystemExit) as error:
            raise InputError(f"potential {name}: its {part} failed: {_reason(error)}") from error
        if not isinstance(value, kind):
            raise InputError(f"potential {name}: its {part} is {str(value)[:60]!r}, not {what}")
    return potential


def _imported(name: str, text: str) -> ModuleType:
    try:
        with _current_folder_first():
            return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        # a module of somebody else's may fail in any way
        raise InputError(f"--potential {text}: {name} cannot be imported: {_reason(error)}") from error


@contextmanager
def _current_folder_first() -> Iterator[None]:
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(folder)


def _is_potential(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Potential) and value is not Potential


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error) or 'no message').splitlines()[0][:200]}"
