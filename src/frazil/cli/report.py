"""`frazil report`: pages to look at, made again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from frazil.cli.shared import one_line_errors


def add_report(app: typer.Typer) -> None:
    """Give the application this command."""
    app.command(epilog="Example: frazil report samples/1as5")(report)


@one_line_errors
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of frazil sample, or RUN of frazil train.")],
    pages: Annotated[
        int, typer.Option(metavar="N", min=0, help="Of many inputs, most that get a page of their own.")
    ] = 20,
) -> None:
    """Make report.html: molecules to turn and play, tables and plots, in one file that needs no network."""
    from frazil.page import write_report

    made = write_report(folder, most_pages=pages)
    more = f" and {len(made) - 1} of single inputs" if len(made) > 1 else ""
    typer.echo(f"{made[0]}: {made[0].stat().st_size / 1e6:.1f} MB{more}; open it in a browser")
