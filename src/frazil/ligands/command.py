"""What `frazil sample` does with small molecules: which inputs are, who draws them, and what is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console

from frazil.checkpoint import read_record
from frazil.data.files import suffix_of
from frazil.data.ligand_files import LIST_SUFFIXES, is_ligand_input
from frazil.errors import InputError
from frazil.ligands.pages import MOST_PAGES, write_pages
from frazil.predictor import PredictSettings
from frazil.predictor.engine import DONE, Engine, LocalEngine, Outcome
from frazil.predictor.finishing import Finishing
from frazil.predictor.ligands import LigandJob
from frazil.predictor.many import plan_ligands, sample_ligands
from frazil.predictor.ray_engine import RayEngine
from frazil.processors import usable_cores

MANY: Final = 64
"""Inputs from which processes of their own pay: each takes seconds to start."""


@dataclass(frozen=True)
class SampleChoices:
    """What is chosen besides the settings of sampling.

    Raises
    ------
    InputError
        If a choice does not exist, or does not go with another.
    """

    finishing: Finishing = Finishing()  # noqa: RUF009 (frozen)
    engine: str = "local"
    """`local` or `ray`."""
    address: str | None = None
    """Of the Ray cluster."""
    processes: int | None = None
    """Of the local engine; None for one, or one a core where there are many inputs."""
    pages: bool = True
    """Whether pages are made, for up to `MOST_PAGES` inputs."""

    def __post_init__(self) -> None:
        if self.engine not in ("local", "ray"):
            raise InputError(f"--engine {self.engine[:40]!r}: there is none of that name; give local or ray")
        if self.address is not None and self.engine != "ray":
            raise InputError(f"--address {self.address}: belongs to a Ray cluster; add --engine ray")
        if self.processes is not None and self.processes < 1:
            raise InputError(f"--processes is {self.processes}: give at least 1")

    def engine_for(self, num_inputs: int, device: str | None = None) -> Engine:
        """Who draws so many inputs."""
        if self.engine == "ray":
            return RayEngine(self.address, gpus=int((device or "").startswith("cuda")))
        return LocalEngine(self.processes or (usable_cores() if num_inputs >= MANY else 1))

    def refuse_for_structures(self) -> None:
        """Refuse what only ligands can be given.

        Raises
        ------
        InputError
            Naming the first such choice.
        """
        chosen = {
            "--hydrogens": self.finishing.hydrogens,
            "--minimize": self.finishing.minimize,
            "--cluster": self.finishing.cluster is not None,
            "--engine": self.engine != "local",
            "--processes": self.processes is not None,
        }
        for option, is_given in chosen.items():
            if is_given:
                raise InputError(f"{option}: is for small molecules, drawn by the built-in model or one of its kind")


def draws_ligands(inputs: Sequence[str | Path], checkpoint: str | Path | None) -> bool:
    """Whether inputs are drawn as small molecules, many together.

    They are without a checkpoint, from lists (.smi, .csv), and by a model that reads the graphs of molecules.

    Raises
    ------
    InputError
        If there are others among them and no checkpoint for those, or a list.
    """
    others = [str(source) for source in inputs if not is_ligand_input(source)]
    lists = [str(source) for source in inputs if suffix_of(Path(source)) in LIST_SUFFIXES]
    if checkpoint is None:
        if others:
            raise InputError(
                f"{others[0]}: the built-in model draws small molecules alone (SMILES, CCD codes, .smi, .csv, .sdf); "
                "give --checkpoint RUN for anything else"
            )
        return True
    if others and lists:
        raise InputError(f"{others[0]}: cannot be drawn together with a list of ligands, {lists[0]}; do one at a time")
    if others or not inputs:
        return False
    # read in any case: a checkpoint that is none is refused here, before anything is made
    reads = reads_molecules(checkpoint)
    return bool(lists) or reads


def reads_molecules(checkpoint: str | Path | None) -> bool:
    """Whether a model reads the graphs of molecules, as the built-in one (None) does, and is used as that one is."""
    if checkpoint is None:
        return True
    trunk = read_record(checkpoint).config.trunk
    return trunk is not None and trunk.molecule_graph


def sample(
    inputs: Sequence[str | Path],
    checkpoint: str | Path | None,
    out: str | Path,
    settings: PredictSettings,
    choices: SampleChoices,
    *,
    console: Console | None = None,
) -> list[Outcome]:
    """Draw conformers of small molecules and write them: `OUT/<name>/`, `OUT/summary.csv`, pages.

    Parameters
    ----------
    inputs : sequence of str or Path
        As for `frazil.data.ligand_files.read_ligand_texts`.
    checkpoint : str or Path or None
        RUN folder or file of weights; None for the built-in model.
    out : str or Path
        Folder of the results.
    settings : PredictSettings
    choices : SampleChoices
    console : rich.console.Console, optional
        Where progress and a summary go; silent without.

    Returns
    -------
    list of Outcome
        One for each input, bad ones included.

    Raises
    ------
    FrazilError
        If no input can be used at all, or the checkpoint or the output folder cannot.
    """
    out = Path(out)
    plan = plan_ligands(inputs)
    # other processes may have another working folder
    job = LigandJob(
        None if checkpoint is None else Path(checkpoint).absolute(), out.absolute(), settings, choices.finishing
    )
    outcomes = sample_ligands(plan, job, choices.engine_for(len(plan.entries), settings.device), console=console)
    if choices.pages and len(outcomes) <= MOST_PAGES:
        drawn = [out / one.name for one in outcomes if one.status == DONE]
        write_pages(drawn, out if len(outcomes) > 1 else None, console)
    return outcomes
