"""`frazil boltz`: Frazil inside an installed Boltz-2."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from frazil.cli.shared import command_group, one_line_errors, wide_console

app = command_group()


@app.callback()
def boltz() -> None:
    """Frazil inside Boltz-2: its predictions sooner, its diffusion module for frazil sample.

    Example: frazil boltz predict input.yaml --use_potentials
    """


class _PassingThrough(TyperCommand):
    """A command that keeps words which are not its own, in their order; what follows `--` is never its own."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Set `ctx.args` to the words for Boltz."""
        cut = args.index("--") if "--" in args else len(args)
        super().parse_args(ctx, args[:cut])
        ctx.args = [*ctx.args, *args[cut:]]
        return list(ctx.args)


@app.command(
    cls=_PassingThrough,
    options_metavar="DATA [OPTIONS OF BOLTZ] [OPTIONS]",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    no_args_is_help=True,
    epilog="Example: frazil boltz predict input.yaml --use_potentials --diffusion_samples 5 --sampler fast",
)
@one_line_errors
def predict(
    ctx: typer.Context,
    precision: Annotated[str, typer.Option(metavar="P", help="float32, tf32 or bf16.")] = "float32",
    sampler: Annotated[
        str, typer.Option(metavar="NAME", help="reference (Boltz's own), balanced, fast, or a method.")
    ] = "reference",
    steering_engine: Annotated[
        str, typer.Option(metavar="NAME", help="Whose potentials act: reference or ours.")
    ] = "reference",
    report: Annotated[bool, typer.Option(help="samples.json beside the structures; restraints on the screen.")] = True,
    write_conditioning: Annotated[
        bool, typer.Option("--write-conditioning", help="Also store what `frazil sample` needs to go on without boltz.")
    ] = False,
) -> None:
    """Run `boltz predict` with Frazil inside: same weights, same seed, same structures and files.

    Every option of Boltz is passed on as it is; `boltz predict --help` lists them. Steps are --sampling_steps.
    """
    from frazil.boltz.predict import InsideSettings
    from frazil.boltz.predict import predict as run

    settings = InsideSettings(precision, sampler, steering_engine, report, write_conditioning)
    run(ctx.args, settings, console=wide_console(stderr=True))


@app.command(epilog="Example: frazil boltz extract ~/.boltz/boltz2_conf.ckpt boltz2")
@one_line_errors
def extract(
    checkpoint: Annotated[Path, typer.Argument(metavar="CKPT", help="Checkpoint of Boltz-2.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for model.safetensors, or a .safetensors file.")],
) -> None:
    """Take the diffusion module out of a checkpoint of Boltz-2, for `frazil sample` without boltz.

    Nothing in the checkpoint is run. Inputs are the files of `frazil boltz predict --write-conditioning`.
    """
    from frazil.boltz.checkpoint import extract as run

    typer.echo(f"{run(checkpoint, out)}: give it to frazil sample --checkpoint")
