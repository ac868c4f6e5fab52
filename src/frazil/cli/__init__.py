"""The commands: they read options, call one function each, and turn errors into one line. No logic of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from frazil._version import __version__
from frazil.cli.boltz import app as boltz_app
from frazil.cli.shared import command_group, one_line_errors, wide_console

app = command_group()
app.add_typer(boltz_app, name="boltz")


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"frazil {__version__}")
        raise typer.Exit


@app.callback()
def frazil(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """Train, sample and evaluate all-atom diffusion models of molecular structures.

    Example: frazil train --data 1as5.cif.gz --out run --max-minutes 3
    """


ContactOption = Annotated[
    list[str] | None, typer.Option("--contact", metavar="A:1,B:2,D", help="Atoms within D angstrom.")
]
MinDistanceOption = Annotated[
    list[str] | None, typer.Option("--min-distance", metavar="A:1,B:2,D", help="Atoms at least D apart.")
]
TemplateOption = Annotated[
    str | None, typer.Option("--template", metavar="FILE", help="Structure to stay near, aligned.")
]
ConfigOption = Annotated[Path | None, typer.Option("--config", metavar="TOML", help="Settings; flags override them.")]


class _ManyPaths(TyperCommand):
    """A command whose `--data` and `--val-data` take all the paths that follow them."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeat the option before each of its further paths: `--data a b` becomes `--data a --data b`."""
        spread: list[str] = []
        option = ""
        for position, word in enumerate(args):
            if word.startswith("-"):
                option = word if word in ("--data", "--val-data") else ""
            elif option and args[position - 1] != option:
                spread.append(option)
            spread.append(word)
        return super().parse_args(ctx, spread)


@app.command(cls=_ManyPaths, epilog="Example: frazil train --data structures/ --out run --max-minutes 60")
@one_line_errors
def train(
    data: Annotated[
        list[Path] | None, typer.Option("--data", metavar="PATH...", help="Structure files and folders of them.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="RUN", help="Folder of the run: weights, state, log, plot.")] = ...,  # type: ignore[assignment]
    preset: Annotated[str | None, typer.Option(metavar="NAME", help="Model: mini (the default) or boltz2.")] = None,
    max_minutes: Annotated[float | None, typer.Option(metavar="M", help="Stop after M minutes, save included.")] = None,
    max_steps: Annotated[int | None, typer.Option(metavar="N", help="Stop after N steps.")] = None,
    crop_tokens: Annotated[int | None, typer.Option(metavar="N", help="Crop larger structures to N tokens.")] = None,
    val_data: Annotated[
        list[Path] | None, typer.Option(metavar="PATH...", help="Held-out structure files and folders.")
    ] = None,
    val_fraction: Annotated[float | None, typer.Option(metavar="F", help="Hold out this part of the data.")] = None,
    seed: Annotated[int | None, typer.Option(metavar="S", help="Same seed, same run.")] = None,
    precision: Annotated[str | None, typer.Option(metavar="P", help="float32, tf32 or bf16.")] = None,
    devices: Annotated[int | None, typer.Option(metavar="N", help="Devices that train together.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in RUN.")] = False,
    config: ConfigOption = None,
) -> None:
    """Train a model on structures; Ctrl-C ends the run with a whole checkpoint."""
    from frazil.config import load_config, train_settings
    from frazil.errors import InputError
    from frazil.trainer import read_run
    from frazil.trainer import train as run

    paths = list(data or [])
    flags = {
        "max_minutes": max_minutes,
        "max_steps": max_steps,
        "crop_tokens": crop_tokens,
        "seed": seed,
        "precision": precision,
        "devices": devices,
    }
    stored = read_run(out) if resume else None
    settings = train_settings(load_config(config), flags, preset=preset, base=stored.settings if stored else None)
    if stored:
        paths = paths or list(stored.paths)
        val_data = val_data or list(stored.val_paths)
        val_fraction = stored.val_fraction if val_fraction is None else val_fraction
    if not paths:
        raise InputError("--data is missing: give structure files or folders")
    result = run(paths, out, settings, val_data=val_data or [], val_fraction=val_fraction or 0.0, resume=resume)
    if result.signal is not None:
        raise typer.Exit(128 + result.signal)


@app.command(epilog="Example: frazil sample x.yaml --checkpoint run --out y --sampler fast --contact A:3,B:21,8")
@one_line_errors
def sample(
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT...", hidden=True)],
    checkpoint: Annotated[Path, typer.Option(metavar="RUN", help="Folder of `frazil train`, or weights.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for one folder per input.")],
    num_samples: Annotated[int | None, typer.Option(metavar="N", help="Samples of each input (5).")] = None,
    sampler: Annotated[str | None, typer.Option(metavar="NAME", help="reference, balanced, fast, or a method.")] = None,
    steps: Annotated[int | None, typer.Option(metavar="N", help="Steps of the sampler (its own).")] = None,
    precision: Annotated[str | None, typer.Option(metavar="P", help="float32, tf32 or bf16.")] = None,
    compile_: Annotated[bool, typer.Option("--compile", help="Compile the network where that pays.")] = False,
    seed: Annotated[int | None, typer.Option(metavar="S", help="Same seed, same samples (0).")] = None,
    max_parallel_samples: Annotated[int | None, typer.Option(metavar="N", help="Most samples at once.")] = None,
    start: Annotated[Path | None, typer.Option(metavar="FILE", help="Start from this structure, not noise.")] = None,
    start_sigma: Annotated[float | None, typer.Option(metavar="S", help="Noise put on it, angstrom.")] = None,
    trajectory: Annotated[int | None, typer.Option(metavar="K", help="Write every K-th step as well.")] = None,
    steering: Annotated[
        str | None,
        typer.Option(metavar="SETS", help="physical,contacts or none."),
    ] = None,
    particles: Annotated[int | None, typer.Option(metavar="N", help="Particles of each sample (1).")] = None,
    contact: ContactOption = None,
    min_distance: MinDistanceOption = None,
    template: TemplateOption = None,
    fix: Annotated[str | None, typer.Option(metavar="A,B", help="Chains that stay where they are.")] = None,
    potential: Annotated[
        list[str] | None, typer.Option(metavar="MODULE:CLASS", help="A potential of your own.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace earlier results in DIR.")] = False,
    config: ConfigOption = None,
) -> None:
    """Draw structures of INPUT: file, SMILES, CCD code, FASTA, YAML, conditioning."""
    from frazil.config import load_config, predict_settings, requests_from_flags, steering_flags
    from frazil.predictor import predict

    flags = {
        "num_samples": num_samples,
        "sampler": sampler,
        "steps": steps,
        "precision": precision,
        "compile": compile_ or None,
        "seed": seed,
        "max_parallel_samples": max_parallel_samples,
        "start": start,
        "start_sigma": start_sigma,
        "trajectory": trajectory,
        "overwrite": overwrite,
    }
    requests = requests_from_flags(contact, min_distance, template)
    held_to = steering_flags(steering, particles, fix, potential, requests)
    predict(
        inputs,
        checkpoint,
        out,
        predict_settings(load_config(config), flags, held_to),
        console=wide_console(stderr=True),
    )


@app.command(epilog="Example: frazil evaluate samples/1as5 --reference 1as5.cif.gz")
@one_line_errors
def evaluate(
    samples: Annotated[Path, typer.Argument(metavar="SAMPLES", help="Folder of samples, or one structure file.")],
    reference: Annotated[Path, typer.Option(metavar="FILE", help="True structure; every model in it counts.")],
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where evaluation.json and .csv go (beside the samples).")
    ] = None,
    contact: ContactOption = None,
    min_distance: MinDistanceOption = None,
    template: TemplateOption = None,
) -> None:
    """Compare samples with a reference: RMSD, lDDT, clashes, stereo, restraints; as table, JSON and CSV."""
    from frazil.config import requests_from_flags
    from frazil.evaluator import evaluate as run

    report = run(samples, reference, out, requests=requests_from_flags(contact, min_distance, template))
    wide_console(stderr=False).print(report.table())


@app.command(epilog="Example: frazil bench --checkpoint run --json speed.json")
@one_line_errors
def bench(
    checkpoint: Annotated[Path | None, typer.Option(metavar="RUN", help="Your own model, not mini and boltz2.")] = None,
    tokens: Annotated[list[int] | None, typer.Option(metavar="N", help="A size to measure (64, 256 and 512).")] = None,
    seconds: Annotated[float, typer.Option(metavar="S", help="Time for all of it, about.")] = 60.0,
    device: Annotated[str, typer.Option(metavar="NAME", help="cpu, or cuda.")] = "cpu",
    compile_: Annotated[bool, typer.Option("--compile", help="See whether compiling pays; takes longer.")] = False,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the figures there.")] = None,
) -> None:
    """Measure this machine in a minute: what samples cost in time and memory, and which precision to choose.

    Networks of random weights stand in for trained ones; their cost is the same. Times in brackets are estimates.
    """
    from frazil.bench.run import BenchSettings, benchmark

    sizes = tuple(tokens or BenchSettings.tokens)
    settings = BenchSettings(seconds, checkpoint, sizes, device=device, compile=compile_, out=json)
    report = benchmark(settings, console=wide_console(stderr=True))
    wide_console(stderr=False).print(report.table())
    for line in report.advice():
        typer.echo(line)


def main() -> None:
    """Run the command line."""
    app(prog_name="frazil")
