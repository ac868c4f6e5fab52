"""The installed Boltz-2's own command, and what it was asked for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from frazil.boltz.checkpoint import check_boltz_checkpoint
from frazil.errors import InputError

OLDEST: Final = (2, 2, 1)
GET_BOLTZ: Final = "`pip install boltz-community`, or `pip install boltz==2.2.1`"
INPUT_SUFFIXES: Final = (".fa", ".fas", ".fasta", ".yml", ".yaml")


def boltz_command() -> Any:
    """The click command of the installed boltz.

    Raises
    ------
    InputError
        If there is none, it cannot be imported, or it is older than the oldest that is known.
    """
    try:
        import boltz.main
    except ModuleNotFoundError as error:
        if error.name == "boltz":
            raise InputError(f"boltz is not installed here; get it with {GET_BOLTZ}") from None
        raise InputError(f"the installed boltz cannot be imported ({error}); get it anew with {GET_BOLTZ}") from error
    found = _installed_version()
    if found is not None and _numbers(found) < OLDEST:
        raise InputError(
            f"boltz {found} is not known here; known are boltz 2.2.1 and boltz-community 2.12: {GET_BOLTZ}"
        )
    return boltz.main.predict


@dataclass(frozen=True, eq=False)
class Call:
    """What Boltz's command was asked for."""

    context: Any
    """Boltz's own reading of the arguments, a click.Context."""
    data: Path
    """Input, or folder of inputs."""
    steps: int | None
    """Sampling steps, if they were given."""

    @classmethod
    def read(cls, command: Any, arguments: Sequence[str]) -> Call:
        """Have Boltz's own parser read the arguments.

        Raises
        ------
        InputError
            What it does not accept, with its message.
        """
        import click

        try:
            context = command.make_context("boltz predict", list(arguments))
        except click.ClickException as error:
            raise InputError(
                f"{error.format_message()} (see frazil boltz predict --help, boltz predict --help)"
            ) from None
        given = context.get_parameter_source("sampling_steps") == click.core.ParameterSource.COMMANDLINE
        steps = context.params["sampling_steps"] if given else None
        return cls(context, Path(context.params["data"]).expanduser(), steps)

    def __getitem__(self, name: str) -> Any:
        return self.context.params[name]

    def check(self) -> None:
        """Refuse what Boltz would accept, but Frazil cannot stand in for, or what Boltz would execute.

        Raises
        ------
        InputError
            For Boltz-1, or a checkpoint that cannot be trusted or used.
        """
        if self["model"] != "boltz2":
            way = "leave it out, or run `boltz predict` without Frazil"
            raise InputError(f"--model {self['model']}: Frazil stands in for Boltz-2 only; {way}")
        for name in ("checkpoint", "affinity_checkpoint"):
            if self[name] is not None:
                check_boltz_checkpoint(self[name])

    def invoke(self, command: Any) -> None:
        """Run the command.

        Raises
        ------
        InputError
            What it refuses in so many words.
        KeyboardInterrupt
            If Ctrl-C was pressed, which Lightning makes an exit of.
        """
        import click

        try:
            with self.context:
                command.invoke(self.context)
        except click.ClickException as error:
            raise InputError(error.format_message()) from None
        except click.Abort:
            raise KeyboardInterrupt from None
        except SystemExit as error:
            if isinstance(error.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt from None
            raise

    @property
    def inputs(self) -> dict[str, Path]:
        """Inputs by name."""
        if not self.data.is_dir():
            return {self.data.stem: self.data}
        return {path.stem: path for path in sorted(self.data.iterdir()) if path.suffix.lower() in INPUT_SUFFIXES}

    def folder(self, name: str) -> Path:
        """Where Boltz puts the predictions of an input."""
        return Path(self["out_dir"]).expanduser() / f"boltz_results_{self.data.stem}" / "predictions" / name

    @property
    def suffix(self) -> str:
        """Of structure files."""
        return ".pdb" if self["output_format"] == "pdb" else ".cif"


def _installed_version() -> str | None:
    """Of boltz, under either name; None for one that pip does not know."""
    for package in ("boltz-community", "boltz"):
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return None


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text)[:3])
