"""What all commands share: their look, errors as one line with an exit code, and a console wide enough for tables."""

from __future__ import annotations

import errno
import functools
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from frazil.errors import FrazilError

if TYPE_CHECKING:
    from rich.console import Console

BAD_INPUT = 2
INTERRUPTED = 130
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EFBIG, errno.ENAMETOOLONG)
WIDE = 200
"""Columns of a table that goes into a file or a pipe."""


def command_group() -> typer.Typer:
    """A group of commands; plain help is compact enough to fit a screen, boxes are not."""
    return typer.Typer(
        rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False, no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )  # fmt: skip


def one_line_errors(command: Callable[..., None]) -> Callable[..., None]:
    """The command with every foreseen error as one line on stderr, and an exit code that says which kind."""

    @functools.wraps(command)
    def guarded(**options: Any) -> None:
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _warn
                command(**options)
        except FrazilError as error:
            _fail(str(error), BAD_INPUT)
        except OSError as error:
            if error.errno not in UNWRITABLE:
                raise
            where = error.filename or "the output"
            _fail(f"{where}: cannot be written ({error.strerror}); free some space or choose another place", BAD_INPUT)
        except KeyboardInterrupt:
            _fail("interrupted; finished files are whole", INTERRUPTED)

    return guarded


def _warn(message: Warning | str, *where: object, **more: object) -> None:
    typer.echo(f"warning: {' '.join(str(message).split())}", err=True)


def _fail(line: str, code: int) -> None:
    typer.echo(f"error: {' '.join(line.split())}", err=True)
    raise typer.Exit(code)


def wide_console(*, stderr: bool) -> Console:
    """A console as wide as the terminal, or wide enough for a table in a file or a pipe."""
    from rich.console import Console

    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=WIDE)


@contextmanager
def counted(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar with the time left, on a terminal only; told how many of how many are done."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = wide_console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
