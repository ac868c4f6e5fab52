"""What is said of the samples that Boltz-2 predicted with Frazil inside: `samples.json`, a table, warnings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any, Final

import torch
from rich.table import Table
from torch import Tensor

from frazil.atomic import write_text
from frazil.boltz.asked import asked_contacts, atom_names
from frazil.boltz.features import restrained_features
from frazil.boltz.hooks import Made
from frazil.boltz.sampling import SamplingRecord
from frazil.boltz.steering import SteeringArguments
from frazil.chemistry import CONTACT_RADII
from frazil.features import Features
from frazil.metrics import count_clashes
from frazil.predictor.report import MOST_ROWS, verdicts
from frazil.steering.judge import GIVEN, Judgement, Verdict

SAMPLES_JSON: Final = "samples.json"


@dataclass(frozen=True)
class ModelReport:
    """One sample of one input."""

    sample: int
    """Index, from 0, in the order drawn."""
    model: int
    """Number in the names of Boltz's files: 0 for the highest confidence."""
    confidence: float | None
    """Boltz's confidence score; None without a confidence head, or if it is not finite."""
    finite: bool
    """Whether all coordinates are."""
    verdict: Verdict = field(default_factory=Verdict)
    """What it keeps of its restraints; nothing is judged of a sample that is not finite."""
    clashes: int | None = None
    """Pairs of atoms that are too close; None if it is not finite."""

    def to_dict(self) -> dict[str, Any]:
        """For `samples.json`."""
        judged = {"clashes": self.clashes, **self.verdict.to_dict()} if self.finite else {}
        return {
            "sample": self.sample,
            "model": self.model,
            "confidence_score": self.confidence,
            "finite": self.finite,
            **judged,
        }


def described(made: Made, index: int) -> Features:
    """Features of one input of a batch (B = 1, on the CPU), contacts and pockets under their names, enforced or not."""
    features = restrained_features(made.feats(index))
    contacts = asked_contacts(made.batch["record"][index], features)
    return replace(features, restraints=replace(features.restraints, contacts=contacts))


def reports(made: Made, index: int, features: Features, finite: Tensor) -> tuple[ModelReport, ...]:
    """Of the samples of one input, the most confident first.

    Parameters
    ----------
    made : Made
        A batch that Boltz has written.
    index : int
        The input's place in it.
    features : Features
        The input's, from `described`.
    finite : Tensor
        [S] bool.
    """
    coords, confidence = made.coords(index).cpu().double(), made.confidence(index)
    scores = [None] * len(coords) if confidence is None else confidence.tolist()
    names = atom_names(made.batch["record"][index], features)
    sets = SteeringArguments.read(made.model.steering_args).sets
    usable = torch.nonzero(finite).flatten().tolist()
    found = verdicts(features.restraints, coords[usable], names, partial(_as_steered, sets=sets))
    kept = dict(zip(usable, found, strict=True))
    rows = [
        ModelReport(
            sample=sample,
            model=rank,
            confidence=score if score is not None and isfinite(score) else None,
            finite=sample in kept,
            verdict=kept.get(sample, Verdict()),
            clashes=_clashes(features, coords[sample]) if sample in kept else None,
        )
        for sample, (rank, score) in enumerate(zip(made.ranks(index), scores, strict=True))
    ]
    return tuple(sorted(rows, key=lambda one: one.model))


def write_samples_json(
    folder: Path, origin: Mapping[str, Any], suffix: str, told: SamplingRecord, found: Sequence[ModelReport], index: int
) -> None:
    """Write `samples.json` of one input, one object a sample, whole or not at all.

    Parameters
    ----------
    folder : Path
        Of Boltz's files.
    origin : mapping
        What all samples share: input, name, seed and how they were drawn.
    suffix : str
        Of Boltz's structure files.
    told : SamplingRecord
        What sampling did.
    found : sequence of ModelReport
        Of the samples.
    index : int
        The input's place in its batch.

    Raises
    ------
    InputError
        If the disk does not take it.
    """
    drawn = {
        "steps": told.steps,
        "evaluations": told.evaluations,
        "seconds": round(told.seconds, 3),
        "samples_at_once": told.samples_at_once,
        "halvings": told.halvings,
    }
    rows = [
        {
            **origin,
            "file": f"{origin['name']}_model_{one.model}{suffix}",
            **drawn,
            **_steered(told, index, one.sample),
            **one.to_dict(),
        }
        for one in found
    ]
    write_text(folder / SAMPLES_JSON, json.dumps(rows, indent=1, allow_nan=False) + "\n")


def table(name: str, found: Sequence[ModelReport]) -> Table:
    """A table to print: one row a sample, the most confident first."""
    shown = found[:MOST_ROWS]
    some = f", the first {len(shown)} of {len(found)} samples" if len(shown) < len(found) else ""
    made = Table(title=f"{name}{some}")
    for heading in ("model", "sample", "confidence", "restraints", "stereo violations", "clashes"):
        made.add_column(heading, justify="right", overflow="fold")
    for one in shown:
        total = one.verdict.total
        met = f"{one.verdict.satisfied}/{total}" if total else "-"
        sure = "-" if one.confidence is None else f"{one.confidence:.3f}"
        counts = (met, str(one.verdict.stereo_violations), str(one.clashes)) if one.finite else ("not finite", "-", "-")
        made.add_row(str(one.model), str(one.sample), sure, *counts)
    return made


def _as_steered(judgement: Judgement, sets: Sequence[str]) -> Judgement:
    """Enforced is only what a potential of one of these sets acts on."""
    acting = ("contacts" if judgement.kind in GIVEN else "physical") in sets
    return replace(judgement, enforced=judgement.enforced & acting)


def _clashes(features: Features, coords: Tensor) -> int:
    exists = features.atom_mask[0]
    placed = torch.where(exists[:, None], coords, torch.nan)
    radii = torch.tensor(CONTACT_RADII)[features.ref_element[0]]
    return count_clashes(placed.numpy(), radii.numpy(), features.restraints.bonds.atoms.numpy())


def _steered(told: SamplingRecord, index: int, sample: int) -> dict[str, Any]:
    if told.steering is None:
        return {"steps_guided": 0}
    row: dict[str, Any] = {"steps_guided": told.steering.guided_steps}
    if int(told.steering.lost[index, sample]) >= 0:
        row["lost_at_step"] = int(told.steering.lost[index, sample])
    return row
