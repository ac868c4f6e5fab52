"""`frazil sample`: small molecules go one way, everything else another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from frazil import predictor
from frazil.config import Config, predict_settings
from frazil.data.ligand_files import refuse_folder
from frazil.data.reading import refuse_missing
from frazil.errors import InputError
from frazil.ligands import (
    SampleChoices,
    draws_ligands,
    ligand_defaults,
    ligand_steering,
    reads_molecules,
    sample,
    write_pages,
)
from frazil.ligands.pages import MOST_PAGES
from frazil.predictor.engine import FAILED


def sample_inputs(
    inputs: Sequence[str],
    checkpoint: Path | None,
    out: Path,
    config: Config,
    flags: Mapping[str, Any],
    steering: Mapping[str, Any],
    choices: SampleChoices,
    console: Console,
) -> bool:
    """Draw samples of all inputs; False if some of them failed."""
    for source in inputs:
        refuse_missing(source)
        if checkpoint is None:
            refuse_folder(source)
    if draws_ligands(inputs, checkpoint):
        if reads_molecules(checkpoint):
            asked = bool(config.steering.get("requests") or steering.get("requests"))
            config = replace(
                config,
                sample={**ligand_defaults(), **config.sample},
                steering={**ligand_steering(asked=asked), **config.steering},
            )
        settings = predict_settings(config, flags, steering)
        outcomes = sample(inputs, checkpoint, out, settings, choices, console=console)
        return not any(one.status == FAILED for one in outcomes)
    choices.refuse_for_structures()
    if checkpoint is None:
        raise InputError("--checkpoint is missing: give a RUN folder of `frazil train`")
    summaries = predictor.predict(inputs, checkpoint, out, predict_settings(config, flags, steering), console=console)
    if choices.pages and len(summaries) <= MOST_PAGES:
        write_pages([summary.folder for summary in summaries], None, console)
    return True
