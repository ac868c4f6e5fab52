"""The run: plan, load, draw, write; one input after the other."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from frazil.checkpoint import load_model
from frazil.denoiser import StructureModel
from frazil.errors import FrazilError
from frazil.predictor.drawing import Drawn, draw
from frazil.predictor.output import clear_leftovers, write_samples
from frazil.predictor.placing import placed
from frazil.predictor.progress import StepProgress
from frazil.predictor.report import SampleReport, report, table, unsatisfied
from frazil.predictor.requests import Request, plan, refuse_unfit, unseen_entities
from frazil.predictor.settings import PredictSettings
from frazil.progress import teller
from frazil.scores import RANKED_BY


@dataclass(frozen=True)
class PredictionSummary:
    """What was made of one input."""

    name: str
    """Name of the input, and of its folder."""
    folder: Path
    """Where the files are."""
    files: tuple[str, ...]
    """Their names, `samples.json` last."""
    num_samples: int
    """Samples drawn."""
    num_finite: int
    """Samples that are finite, and so written."""
    samples_at_once: int
    """Most samples in one call of the network."""
    halvings: int
    """How often memory ran out, so that fewer were drawn at once."""
    seconds: float
    """Wall time."""
    reports: tuple[SampleReport, ...] = ()
    """Of the finite samples: restraints, stereo, clashes, agreement, rank."""

    def text(self) -> str:
        """One line for a person."""
        lost = self.num_samples - self.num_finite
        broken = f", {lost} not finite and not written" if lost else ""
        tight = f", {self.samples_at_once} at once for want of memory" if self.halvings else ""
        return f"{self.name}: {self.num_samples} samples{broken}{tight} in {self.folder} ({self.seconds:.1f} s)"


def predict(
    inputs: Sequence[str | Path],
    checkpoint: str | Path,
    out: str | Path,
    settings: PredictSettings | None = None,
    *,
    console: Console | None = None,
) -> list[PredictionSummary]:
    """Draw samples of every input and write them to `out/<name>/`.

    A complex gets `sample_<k>.cif` each, a lone ligand one `samples.sdf`; both get `samples.json`, one object a sample,
    with what each keeps of its restraints. A table and warnings of restraints that do not hold go to the console.

    Parameters
    ----------
    inputs : sequence of str or Path
        Structure files, SDF, SMILES, CCD codes, FASTA or YAML; conditioning files for an extracted model.
    checkpoint : str or Path
        RUN folder of `frazil train`, or its file of weights, or what `frazil boltz extract` made.
    out : str or Path
        Folder of the results.
    settings : PredictSettings, optional
        Five samples by the reference's sampler by default.
    console : rich.console.Console, optional
        Where progress, warnings and a line for each input go; silent without.

    Returns
    -------
    list of PredictionSummary
        One for each input.

    Raises
    ------
    FrazilError
        If an input, the checkpoint or the output folder cannot be used (`InputError`), memory does not suffice, or no
        sample of an input is finite (all files are then written).
    """
    settings = settings or PredictSettings()
    say = teller(console)
    requests = plan(inputs, Path(out), settings, say)
    clear_leftovers(Path(out))
    model, record = load_model(checkpoint)
    refuse_unfit(requests, record.config, Path(checkpoint))
    unseen_entities(requests, record, Path(checkpoint), say)
    summaries = run(placed(model, settings.device), requests, settings, console=console)
    refuse_nothing(summaries)
    return summaries


def refuse_nothing(summaries: Sequence[PredictionSummary]) -> None:
    """Say so where not one sample of an input is finite; what there is has been written.

    Raises
    ------
    FrazilError
        Naming the first such input.
    """
    empty = [summary for summary in summaries if not summary.num_finite]
    if empty:
        more = f" (and of {len(empty) - 1} more inputs)" if len(empty) > 1 else ""
        raise FrazilError(
            f"{empty[0].name}: none of {empty[0].num_samples} samples{more} is finite, with all particles; "
            "see samples.json, lower the weights of the potentials, or train on"
        )


def run(
    model: StructureModel, requests: Sequence[Request], settings: PredictSettings, *, console: Console | None = None
) -> list[PredictionSummary]:
    """Draw and write what was planned, with a model that is at hand; see `predict`."""
    summaries = []
    with StepProgress(console, len(requests)) as progress:
        progress.say(settings.text())
        for request in requests:
            progress.begin(request.name)
            began = time.monotonic()
            drawn = draw(model, request, settings, progress.step, lambda plan: progress.say(plan.text()))
            reports = report(request, drawn)
            files = write_samples(request, drawn, settings, reports)
            summaries.append(replace(_summary(request, drawn, files, time.monotonic() - began), reports=reports))
            if reports:
                progress.show(table(request.name, reports))
                progress.say(f"{request.name}: {RANKED_BY}")
            for line in (*_lost(request, drawn), *unsatisfied(request.name, reports), summaries[-1].text()):
                progress.say(line)
    return summaries


def _summary(request: Request, drawn: Drawn, files: tuple[str, ...], seconds: float) -> PredictionSummary:
    return PredictionSummary(
        name=request.name,
        folder=request.folder,
        files=files,
        num_samples=len(drawn.finite),
        num_finite=int(drawn.finite.sum()),
        samples_at_once=drawn.samples_at_once,
        halvings=drawn.halvings,
        seconds=seconds,
    )


def _lost(request: Request, drawn: Drawn) -> list[str]:
    """Warnings of samples that were lost on the way, with all their particles."""
    if drawn.steering is None:
        return []
    who = f"all {drawn.all_particles} particles" if drawn.all_particles > 1 else "it"
    return [
        f"warning: {request.name}: sample {group * drawn.particles} is lost: {who} became non-finite by step {step + 1}"
        " under steering; lower the weights of the potentials, or try another seed"
        for group, step in enumerate(drawn.steering.lost[0].tolist())
        if step >= 0
    ]
