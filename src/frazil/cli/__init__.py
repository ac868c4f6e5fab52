"""The commands: they read options, call one function each, and turn errors into one line. No logic of their own."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from frazil._version import __version__
from frazil.cli.boltz import app as boltz_app
from frazil.cli.prepare import add_prepare
from frazil.cli.report import add_report
from frazil.cli.shared import command_group, counted, one_line_errors, wide_console
from frazil.processors import workers_asked

app = command_group()
app.add_typer(boltz_app, name="boltz")
add_prepare(app)
add_report(app)


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
        list[Path] | None,
        typer.Option("--data", metavar="PATH...", help="Structure files, folders, or a store."),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="RUN", help="Folder of the run: weights, state, logs, plot.")] = ...,  # type: ignore[assignment]
    preset: Annotated[str | None, typer.Option(metavar="NAME", help="Model: mini (default), ligand or boltz2.")] = None,
    max_minutes: Annotated[float | None, typer.Option(metavar="M", help="Stop after M minutes, save included.")] = None,
    max_steps: Annotated[int | None, typer.Option(metavar="N", help="Stop after N steps.")] = None,
    crop_tokens: Annotated[int | None, typer.Option(metavar="N", help="Crop larger structures to N tokens.")] = None,
    val_data: Annotated[
        list[Path] | None, typer.Option(metavar="PATH...", help="Held-out structures, as --data.")
    ] = None,
    val_fraction: Annotated[float | None, typer.Option(metavar="F", help="Hold out this part of the data.")] = None,
    seed: Annotated[int | None, typer.Option(metavar="S", help="Same seed, same run.")] = None,
    precision: Annotated[str | None, typer.Option(metavar="P", help="float32, tf32 or bf16.")] = None,
    devices: Annotated[int | None, typer.Option(metavar="N", help="Devices of each node that train together.")] = None,
    num_nodes: Annotated[int | None, typer.Option(metavar="N", help="Nodes: by torchrun, srun or MASTER_ADDR.")] = None,
    strategy: Annotated[str | None, typer.Option(metavar="NAME", help="auto, ddp, or fsdp: a divided model.")] = None,
    init: Annotated[
        Path | None, typer.Option(metavar="CHECKPOINT", help="Start from the weights of a RUN or file.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in RUN.")] = False,
    config: ConfigOption = None,
) -> None:
    """Train a model on structures; Ctrl-C ends the run with a whole checkpoint."""
    from frazil.config import load_config, train_settings
    from frazil.errors import InputError
    from frazil.trainer import read_run, starting_settings
    from frazil.trainer import train as run

    paths = list(data or [])
    flags = {
        "max_minutes": max_minutes,
        "max_steps": max_steps,
        "crop_tokens": crop_tokens,
        "seed": seed,
        "precision": precision,
        "devices": devices,
        "num_nodes": num_nodes,
        "strategy": strategy,
    }
    stored = read_run(out) if resume else None
    base = stored.settings if stored else starting_settings(init)
    settings = train_settings(load_config(config), flags, preset=preset, base=base)
    if stored:
        paths = paths or list(stored.paths)
        val_data = val_data or list(stored.val_paths)
        val_fraction = stored.val_fraction if val_fraction is None else val_fraction
    if not paths:
        raise InputError("--data is missing: give structure files or folders")
    result = run(
        paths, out, settings, val_data=val_data or [], val_fraction=val_fraction or 0.0, init=init, resume=resume
    )
    if result.signal is not None:
        raise typer.Exit(128 + result.signal)


@app.command(epilog='Example: frazil sample "CC(C)Cc1ccc(cc1)[C@H](C)C(=O)O" --out y')
@one_line_errors
def sample(
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT...", hidden=True)],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for one folder per input.")],
    checkpoint: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Of `frazil train`; built in for ligands.")
    ] = None,
    num_samples: Annotated[int | None, typer.Option(metavar="N", help="Samples of each input (5; ligands 10).")] = None,
    sampler: Annotated[str | None, typer.Option(metavar="NAME", help="reference, balanced, fast, or a method.")] = None,
    steps: Annotated[int | None, typer.Option(metavar="N", help="Steps of the sampler (its own).")] = None,
    precision: Annotated[str | None, typer.Option(metavar="P", help="float32, tf32 or bf16.")] = None,
    compile_: Annotated[bool, typer.Option("--compile", help="Compile where that pays.", hidden=True)] = False,
    seed: Annotated[int | None, typer.Option(metavar="S", help="Same seed, same samples (0).")] = None,
    max_parallel_samples: Annotated[
        int | None, typer.Option(metavar="N", help="Most samples at once.", hidden=True)
    ] = None,
    start: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Start from it, not noise; --start-sigma S.")
    ] = None,
    start_sigma: Annotated[float | None, typer.Option(metavar="S", help="Noise on it, angstrom.", hidden=True)] = None,
    trajectory: Annotated[int | None, typer.Option(metavar="K", help="Write every K-th step as well.")] = None,
    hydrogens: Annotated[bool, typer.Option("--hydrogens", help="Ligands: write hydrogens, too.")] = False,
    minimize: Annotated[bool, typer.Option("--minimize", help="Ligands: to the minimum of MMFF94s.")] = False,
    cluster: Annotated[
        float | None, typer.Option(metavar="RMSD", help="Ligands: the best of each cluster alone.")
    ] = None,
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
        list[str] | None, typer.Option(metavar="MODULE:CLASS", help="A potential of your own.", hidden=True)
    ] = None,
    engine: Annotated[
        str, typer.Option(metavar="NAME", help="Ligands: local, or ray (--address A).", show_default=False)
    ] = "local",
    address: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Of a Ray cluster.", hidden=True)] = None,
    processes: Annotated[
        int | None, typer.Option(metavar="N", help="Of the local engine (cores).", hidden=True)
    ] = None,
    no_report: Annotated[bool, typer.Option("--no-report", help="No pages (made up to 20 inputs).")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace earlier results in DIR.")] = False,
    config: ConfigOption = None,
) -> None:
    """Draw structures of INPUT: SMILES, CCD codes, .smi, .csv, SDF, mmCIF, YAML."""
    from frazil.cli.sampling import sample_inputs
    from frazil.config import load_config, requests_from_flags, steering_flags
    from frazil.ligands import SampleChoices
    from frazil.predictor.finishing import Finishing

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
    choices = SampleChoices(Finishing(hydrogens, minimize, cluster), engine, address, processes, not no_report)
    requests = requests_from_flags(contact, min_distance, template)
    held_to = steering_flags(steering, particles, fix, potential, requests)
    console = wide_console(stderr=True)
    if not sample_inputs(inputs, checkpoint, out, load_config(config), flags, held_to, choices, console):
        raise typer.Exit(1)


@app.command(epilog="Example: frazil evaluate samples/1as5 --reference 1as5.cif.gz")
@one_line_errors
def evaluate(
    samples: Annotated[
        Path, typer.Argument(metavar="SAMPLES", help="Folder of samples or of many inputs' folders, or one file.")
    ],
    reference: Annotated[
        Path, typer.Option(metavar="FILE", help="True structures (all models; SDF records by title), or their folder.")
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where evaluation.json and .csv go (beside the samples).")
    ] = None,
    posebusters: Annotated[
        str | None, typer.Option(metavar="NAME", help="PoseBusters' checks: mol, mol_fast (no energy) or none (mol).")
    ] = None,
    workers: Annotated[int | None, typer.Option(metavar="N", help="Processes for many inputs (all cores).")] = None,
    contact: ContactOption = None,
    min_distance: MinDistanceOption = None,
    template: TemplateOption = None,
) -> None:
    """Compare samples with references: RMSD, lDDT, TM-score, coverage, clashes, stereo, restraints, PoseBusters."""
    from frazil.config import requests_from_flags
    from frazil.data.checks import pose_checks
    from frazil.evaluator import evaluate as evaluate_one
    from frazil.evaluator import evaluate_inputs, result_folders

    requests, checks = requests_from_flags(contact, min_distance, template), pose_checks(posebusters)
    size = workers_asked(workers)
    if len(result_folders(samples)) < 2:
        with counted("samples") as told:
            report = evaluate_one(samples, reference, out, requests=requests, checks=checks, progress=told)
        wide_console(stderr=False).print(report.table())
        return
    with counted("inputs") as told:
        summary = evaluate_inputs(
            samples, reference, out, requests=requests, checks=checks, workers=size, progress=told
        )
    wide_console(stderr=False).print(summary.table())
    for line in summary.notes():
        typer.echo(line, err=True)
    if summary.failed:
        raise typer.Exit(1)


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
    try:
        app(prog_name="frazil")
    finally:
        # what waits for its processes while Python ends is not to answer one more Ctrl-C by a traceback
        signal.signal(signal.SIGINT, signal.SIG_DFL)
