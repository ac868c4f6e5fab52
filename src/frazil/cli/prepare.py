"""`frazil prepare`: structures featurised once, for training on many of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from frazil.cli.shared import one_line_errors, wide_console


def add_prepare(app: typer.Typer) -> None:
    """Give the application this command."""
    app.command(epilog="Example: frazil prepare ccd --out ligands; frazil train --data ligands --out run")(prepare)


@one_line_errors
def prepare(
    sources: Annotated[
        list[str], typer.Argument(metavar="SOURCE...", help="ccd (the ligands of the PDB), SDFs, structures, folders.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the store; an earlier run in it goes on.")],
    ids: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Entries to take: .tsv, .csv, or one id a line.")
    ] = None,
    split: Annotated[str | None, typer.Option(metavar="NAME", help="Part of the list: train, val or test.")] = None,
    conformers: Annotated[int, typer.Option(metavar="N", help="Reference conformers of each ligand.")] = 2,
    min_atoms: Annotated[int, typer.Option(metavar="N", help="Leave out what has fewer heavy atoms.")] = 1,
    max_atoms: Annotated[int | None, typer.Option(metavar="N", help="Leave out what has more.")] = None,
    workers: Annotated[int | None, typer.Option(metavar="N", help="Processes (as many as processors).")] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try again what failed before.")] = False,
) -> None:
    """Featurise structures once, in parallel, into a store for frazil train --data.

    What cannot be used is listed in DIR/failed.csv with the reason. A second run adds what is missing.
    """
    from frazil.preparer import PrepareSettings
    from frazil.preparer import prepare as run

    settings = PrepareSettings(conformers, min_atoms, max_atoms, workers, retry_failed)
    done = run(sources, out, settings, ids=ids, split=split, console=wide_console(stderr=True))
    typer.echo(done.text())
