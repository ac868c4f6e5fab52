"""The `constraints:` and `templates:` of a Boltz input file -> requests."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

from frazil.chemistry import NONPOLYMER
from frazil.data.restraints.places import existing_file
from frazil.data.restraints.requests import Contact, CovalentBond, Pocket, Request, TemplateRequest
from frazil.data.restraints.selection import nearest
from frazil.data.structure import Structure
from frazil.errors import InputError

_KEYS = {
    "bond": ("atom1", "atom2"),
    "pocket": ("binder", "contacts", "max_distance", "force"),
    "contact": ("token1", "token2", "max_distance", "force"),
    "template": ("cif", "pdb", "chain_id", "template_id", "force", "threshold"),
}
_DEFAULT_DISTANCE = 6.0
_SELECTORS = ":,"


def document_requests(document: Mapping[str, Any], structure: Structure, path: Path) -> tuple[Request, ...]:
    """What an input file asks of its samples.

    A token is `[chain, residue]`, counted from 1, or of a ligand `[chain, atom name]`; `force: false` makes a request
    that is reported and does not steer. Template files are sought from the folder of the input file.

    Parameters
    ----------
    document : mapping
        The file's content; other keys are not looked at.
    structure : Structure
        Built from its `sequences`.
    path : Path
        Of the file, for messages and relative paths.

    Raises
    ------
    InputError
        If an entry is not understood; one line that names it.
    """
    reader = _Reader(structure, path)
    constraints = _listed(document, "constraints", path)
    templates = _listed(document, "templates", path)
    requests: list[Request] = [reader.constraint(item, number) for number, item in enumerate(constraints, start=1)]
    requests += [reader.template(item, number) for number, item in enumerate(templates, start=1)]
    return tuple(requests)


def _listed(document: Mapping[str, Any], key: str, path: Path) -> list[Any]:
    value = document.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise InputError(f"{path}: {key} must be a list, not {str(value)[:40]!r}")
    return value


@final
class _Reader:
    """Turns entries into requests, knowing the chains of the structure."""

    def __init__(self, structure: Structure, path: Path) -> None:
        self._chains = {chain.chain_id: chain for chain in structure.chains}
        self._path = path

    def constraint(self, item: Any, number: int) -> Request:
        """One entry of `constraints`."""
        where = f"{self._path}: entry {number} of constraints"
        if not isinstance(item, dict) or len(item) != 1:
            raise InputError(f"{where}: must have one key of bond, pocket, contact")
        [(kind, body)] = item.items()
        if kind not in ("bond", "pocket", "contact") or not isinstance(body, dict):
            raise InputError(f"{where}: {str(kind)[:40]!r} is not one of bond, pocket, contact with keys below it")
        _check_keys(kind, body, where)
        with _naming(where):
            if kind == "bond":
                return CovalentBond(self._atom(body.get("atom1"), where), self._atom(body.get("atom2"), where))
            distance, enforced = body.get("max_distance", _DEFAULT_DISTANCE), _force(body, where)
            if kind == "contact":
                first, second = (self._token(body.get(key), where) for key in ("token1", "token2"))
                return Contact(first, second, distance, enforced)
            contacts = body.get("contacts")
            if not isinstance(contacts, list):
                raise InputError(f"{where}: 'contacts' must be a list of [chain, residue], not {str(contacts)[:40]!r}")
            binder = self._chain(body.get("binder"), where)
            return Pocket(binder, tuple(self._token(one, where) for one in contacts), distance, enforced)

    def template(self, item: Any, number: int) -> Request:
        """One entry of `templates`."""
        where = f"{self._path}: entry {number} of templates"
        file = item.get("cif") or item.get("pdb") if isinstance(item, dict) else None
        if not isinstance(file, str):
            raise InputError(f"{where}: needs the path of a file under 'cif' or 'pdb'")
        _check_keys("template", item, where)
        if item.get("force") and item.get("threshold") is None:
            raise InputError(f"{where}: 'force: true' needs a 'threshold' in angstrom")
        with _naming(where):
            found = existing_file(file, self._path.parent)
        threshold = {} if item.get("threshold") is None else {"threshold": item["threshold"]}
        chains = tuple(self._chain(name, where) for name in _names(item.get("chain_id"), where))
        theirs = _names(item.get("template_id"), where)
        with _naming(where):
            return TemplateRequest(str(found), chains, theirs, enforced=_force(item, where), **threshold)

    def _chain(self, name: Any, where: str) -> str:
        text = str(name)
        if isinstance(name, (list, dict)) or text not in self._chains:
            raise InputError(f"{where}: no chain {text[:20]!r}; {nearest(text, self._chains)}")
        if any(letter in text for letter in _SELECTORS):
            raise InputError(f"{where}: chain {text[:20]!r}: a name with ':' or ',' cannot be selected; rename it")
        return text

    def _token(self, token: Any, where: str) -> str:
        """A residue of a polymer or an atom of a ligand as a selection."""
        if not isinstance(token, (list, tuple)) or len(token) != 2:
            raise InputError(f"{where}: {str(token)[:40]!r} must be [chain, residue number] or [ligand, atom name]")
        chain = self._chain(token[0], where)
        if isinstance(token[1], int) and not isinstance(token[1], bool):
            return f"{chain}:{token[1]}"
        if not isinstance(token[1], str) or self._chains[chain].mol_type != NONPOLYMER:
            raise InputError(f"{where}: {str(token[1])[:20]!r} of chain {chain} must be a residue number, from 1")
        return self._named(chain, 1, token[1])

    def _atom(self, atom: Any, where: str) -> str:
        if not isinstance(atom, (list, tuple)) or len(atom) != 3:
            raise InputError(f"{where}: {str(atom)[:40]!r} must be [chain, residue number, atom name]")
        chain = self._chain(atom[0], where)
        if not isinstance(atom[1], int) or isinstance(atom[1], bool) or not isinstance(atom[2], str):
            raise InputError(f"{where}: {str(atom)[:40]!r} must be [chain, residue number, atom name]")
        return self._named(chain, atom[1], atom[2])

    def _named(self, chain: str, residue: int, atom: str) -> str:
        if self._chains[chain].label is not None:
            warnings.warn(
                f"{self._path}: atom {atom} of chain {chain}: atoms of a SMILES are counted by element in its own "
                "order (C1, C2, O1, ...); other programs may count them otherwise",
                stacklevel=5,
            )
        return f"{chain}:{residue}:{atom}"


@contextmanager
def _naming(where: str) -> Iterator[None]:
    """Put the entry before the message of an `InputError` that does not name it."""
    try:
        yield
    except InputError as error:
        raise error if str(error).startswith(where) else InputError(f"{where}: {error}") from None


def _check_keys(kind: str, body: Mapping[Any, Any], where: str) -> None:
    for key in body:
        if key not in _KEYS[kind]:
            raise InputError(f"{where}: unknown key {str(key)[:40]!r}; {nearest(str(key), _KEYS[kind])}")


def _force(body: Mapping[str, Any], where: str) -> bool:
    """Whether a request steers: unless `force: false` says that it does not."""
    force = body.get("force", True)
    if not isinstance(force, bool):
        raise InputError(f"{where}: 'force' must be true or false, not {str(force)[:40]!r}")
    return force


def _names(value: Any, where: str) -> tuple[str, ...]:
    names = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(name, (str, int)) and not isinstance(name, bool) for name in names):
        raise InputError(f"{where}: {str(value)[:40]!r} must be a chain name or a list of them")
    return tuple(str(name) for name in names)
