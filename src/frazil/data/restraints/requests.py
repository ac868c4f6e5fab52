"""What a person asks of samples, as frozen records of selections and numbers; checked when made."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any, ClassVar, final

from frazil.errors import InputError

MAX_DISTANCE = 1000.0
"""Angstrom; a threshold above holds for every structure that is one."""

_TURN = 360.0


class Request(ABC):
    """One restraint asked for; selections are texts such as `A:12:CA`, see `selection.select`.

    Raises
    ------
    InputError
        When made with a number that cannot be meant.
    """

    kind: ClassVar[str]
    enforced: bool
    """False for what is judged and reported, but does not steer."""

    @property
    @abstractmethod
    def label(self) -> str:
        """The request as one text, the name of its restraint in reports."""

    @property
    @abstractmethod
    def selections(self) -> tuple[str, ...]:
        """The selections in it, each of which must name atoms."""

    @abstractmethod
    def check(self) -> None:
        """Refuse what cannot be meant."""

    def __post_init__(self) -> None:
        if not isinstance(self.enforced, bool):
            raise InputError(f"{self.kind}: enforced must be true or false, not {self.enforced!r}")
        for selection in self.selections:
            if not isinstance(selection, str) or not selection.isprintable() or not selection.strip():
                raise InputError(f"{self.kind}: {str(selection)[:60]!r} is no selection; write CHAIN:NUMBER:ATOM")
        self.check()


@final
@dataclass(frozen=True)
class Contact(Request):
    """Some atom of one selection within `max_distance` angstrom of some atom of the other.

    >>> Contact(first="A:12:CA", second="B:40", max_distance=8.0).label
    'A:12:CA,B:40,8'
    """

    kind = "contact"
    first: str
    second: str
    max_distance: float
    enforced: bool = True

    @property
    def label(self) -> str:
        """As on the command line."""
        return f"{self.first},{self.second},{self.max_distance:g}"

    @property
    def selections(self) -> tuple[str, ...]:
        """Both ends."""
        return (self.first, self.second)

    def check(self) -> None:
        """Refuse a distance outside (0, 1000]."""
        _distance(self, "max_distance", self.max_distance)


@final
@dataclass(frozen=True)
class Pocket(Request):
    """Each of the `contacts` within `max_distance` angstrom of some atom of the binder."""

    kind = "pocket"
    binder: str
    contacts: tuple[str, ...]
    max_distance: float = 6.0
    enforced: bool = True

    @property
    def label(self) -> str:
        """Binder, contacts and distance."""
        return f"{self.binder},{'+'.join(self.contacts)},{self.max_distance:g}"

    @property
    def selections(self) -> tuple[str, ...]:
        """The binder, then the contacts."""
        return (self.binder, *self.contacts)

    def check(self) -> None:
        """Refuse a distance outside (0, 1000], or no contact."""
        _distance(self, "max_distance", self.max_distance)
        if not self.contacts:
            raise InputError(f"pocket of {self.binder}: no contacts; name at least one residue")


@final
@dataclass(frozen=True)
class DistanceWindow(Request):
    """Every pair of atoms of two selections at least `lower` apart, and one of them at most `upper`; angstrom."""

    kind = "distance"
    first: str
    second: str
    lower: float = 0.0
    upper: float = math.inf
    enforced: bool = True

    @property
    def label(self) -> str:
        """As on the command line."""
        upper = f",{self.upper:g}" if self.upper < math.inf else ""
        return f"{self.first},{self.second},{self.lower:g}{upper}"

    @property
    def selections(self) -> tuple[str, ...]:
        """Both ends."""
        return (self.first, self.second)

    def check(self) -> None:
        """Refuse bounds that are no window."""
        _window(self, self.lower, self.upper)


@final
@dataclass(frozen=True)
class Dihedral(Request):
    """The dihedral of four atoms between two angles, degrees, taken modulo one turn; 170 to -170 is a window of 20."""

    kind = "dihedral"
    atoms: tuple[str, str, str, str]
    lower: float
    upper: float
    enforced: bool = True

    @property
    def label(self) -> str:
        """The four atoms and the window."""
        return f"{','.join(self.atoms)},{self.lower:g},{self.upper:g}"

    @property
    def selections(self) -> tuple[str, ...]:
        """The four atoms."""
        return self.atoms

    def check(self) -> None:
        """Refuse anything but four atoms and less than a turn."""
        if len(self.atoms) != 4:
            raise InputError(f"dihedral {','.join(self.atoms)}: {len(self.atoms)} atoms; a dihedral has four")
        lower, upper = _number(self, "lower", self.lower), _number(self, "upper", self.upper)
        if not (abs(lower) <= _TURN and abs(upper) <= _TURN and 0 < abs(upper - lower) < _TURN):
            raise InputError(
                f"dihedral {self.label}: from {lower:g} to {upper:g} is no window; give degrees, less than a turn apart"
            )


@final
@dataclass(frozen=True)
class Position(Request):
    """Atoms within `tolerance` angstrom of where they are in `file`, or in the input's own coordinates.

    Where `aligned`, the places are first fitted onto the sample, so only the shape of the selection is held.
    """

    kind = "position"
    selection: str
    file: str | None = None
    tolerance: float = 1.0
    aligned: bool = True
    enforced: bool = True

    @property
    def label(self) -> str:
        """The selection, the file and the tolerance."""
        return f"{self.selection},{Path(self.file).name if self.file else 'input'},{self.tolerance:g}"

    @property
    def selections(self) -> tuple[str, ...]:
        """The one selection."""
        return (self.selection,)

    def check(self) -> None:
        """Refuse a tolerance outside (0, 1000]."""
        if self.file is not None:
            _file(self, self.file)
        _distance(self, "tolerance", self.tolerance)


@final
@dataclass(frozen=True)
class RadiusOfGyration(Request):
    """Radius of gyration of a selection, every atom counted alike, between `lower` and `upper` angstrom."""

    kind = "gyration"
    selection: str
    lower: float = 0.0
    upper: float = math.inf
    enforced: bool = True

    @property
    def label(self) -> str:
        """The selection and the window."""
        return f"{self.selection},{self.lower:g},{self.upper:g}"

    @property
    def selections(self) -> tuple[str, ...]:
        """The one selection."""
        return (self.selection,)

    def check(self) -> None:
        """Refuse bounds that are no window."""
        _window(self, self.lower, self.upper)


@final
@dataclass(frozen=True)
class TemplateRequest(Request):
    """Representative atoms within `threshold` angstrom of an aligned template structure.

    Without `chains`, every polymer that has a partner of equal sequence in the file; without `template_chains`, the
    partner is the first chain of equal sequence that is still free.
    """

    kind = "template"
    file: str
    chains: tuple[str, ...] = ()
    template_chains: tuple[str, ...] = ()
    threshold: float = 2.0
    enforced: bool = True

    @property
    def label(self) -> str:
        """The file, the chains and the threshold."""
        chains = f",{'+'.join(self.chains)}" if self.chains else ""
        return f"{Path(self.file).name}{chains},{self.threshold:g}"

    @property
    def selections(self) -> tuple[str, ...]:
        """The chains."""
        return self.chains

    def check(self) -> None:
        """Refuse a threshold outside (0, 1000], and chains that do not pair up."""
        _file(self, self.file)
        _distance(self, "threshold", self.threshold)
        if self.template_chains and len(self.template_chains) != len(self.chains):
            raise InputError(
                f"template {self.label}: {len(self.chains)} chains and {len(self.template_chains)} template chains; "
                "name as many of both"
            )


@final
@dataclass(frozen=True)
class CovalentBond(Request):
    """A covalent bond between two atoms, which becomes part of the molecule."""

    kind = "bond"
    first: str
    second: str
    enforced: bool = True

    @property
    def label(self) -> str:
        """Both atoms."""
        return f"{self.first},{self.second}"

    @property
    def selections(self) -> tuple[str, ...]:
        """Both ends."""
        return (self.first, self.second)

    def check(self) -> None:
        """Nothing to refuse: there is no number."""


REQUEST_KINDS: dict[str, type[Request]] = {
    one.kind: one
    for one in (
        Contact, Pocket, DistanceWindow, Dihedral, Position, RadiusOfGyration, TemplateRequest, CovalentBond,
    )
}  # fmt: skip
"""By the name under which a settings file lists them."""


def _number(request: Request, name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InputError(f"{request.kind}: {name} {str(value)[:40]!r} must be a number")
    try:
        return float(value)
    except OverflowError:
        raise InputError(f"{request.kind}: {name} is beyond every distance; give at most {MAX_DISTANCE:g}") from None


def _file(request: Request, value: Any) -> None:
    if not isinstance(value, str) or not value.isprintable() or not value:
        raise InputError(f"{request.kind}: {str(value)[:60]!r} is no file; name an mmCIF or PDB file")


def _distance(request: Request, name: str, value: Any) -> None:
    number = _number(request, name, value)
    if not 0 < number <= MAX_DISTANCE:
        raise InputError(
            f"{request.kind} {request.label}: {name} {number:g}; give a distance above 0 and up to {MAX_DISTANCE:g} A"
        )


def _window(request: Request, lower: Any, upper: Any) -> None:
    least, greatest = _number(request, "lower", lower), _number(request, "upper", upper)
    if not (0 <= least <= MAX_DISTANCE and least < greatest and (greatest <= MAX_DISTANCE or greatest == math.inf)):
        raise InputError(
            f"{request.kind} {request.label}: {least:g} to {greatest:g} A is no window; "
            f"give 0 <= lower < upper <= {MAX_DISTANCE:g}"
        )
    if least == 0 and greatest == math.inf:
        raise InputError(
            f"{request.kind} {request.label}: holds for everything; give a lower or an upper bound above 0"
        )
