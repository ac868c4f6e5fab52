"""`frazil boltz predict`: the installed Boltz-2's own command, run here with Frazil's diffusion module in its model."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from pytorch_lightning.utilities.exceptions import MisconfigurationException
from rich.console import Console
from torch import nn

from frazil.boltz.call import Call, boltz_command
from frazil.boltz.capture import TrunkCapture
from frazil.boltz.drop_in import accelerate
from frazil.boltz.hooks import Made, brief, entered
from frazil.boltz.report import SAMPLES_JSON, described, reports, table, write_samples_json
from frazil.boltz.sampling import REFERENCE, SamplingSettings
from frazil.errors import FrazilError, InputError
from frazil.features import Features
from frazil.nn.compute import Compute
from frazil.predictor.conditioned import write_conditioning
from frazil.predictor.report import unsatisfied
from frazil.progress import teller


@dataclass(frozen=True)
class InsideSettings:
    """What `frazil boltz predict` adds to the options of `boltz predict`.

    Raises
    ------
    InputError
        If a name is unknown.

    Examples
    --------
    >>> InsideSettings(sampler="fast").precision
    'float32'
    """

    precision: str = "float32"
    """Of the products in sampling: float32, tf32 or bf16."""
    sampler: str = REFERENCE
    """A preset or method of stepping; `reference` for Boltz-2's own. Another takes its own number of steps, unless
    `--sampling_steps` is among the arguments."""
    steering_engine: str = REFERENCE
    """Whose potentials act: `reference` or `ours`."""
    report: bool = True
    """Whether `samples.json` is written, and what became of the restraints is told."""
    write_conditioning: bool = False
    """Whether `<input>_conditioning.safetensors` is written, which `frazil sample` reads."""
    parity: bool = True
    """Whether random numbers are the reference's, see `accelerate`."""

    def __post_init__(self) -> None:
        Compute(self.precision)
        SamplingSettings(sampler=self.sampler, steering=self.steering_engine)


def predict(
    arguments: Sequence[str], settings: InsideSettings | None = None, *, console: Console | None = None
) -> None:
    """Run `boltz predict` in this process with Frazil inside.

    Files, folders and names are Boltz's; `samples.json` and the like are put beside them. Affinity is predicted with
    the same values as without Frazil, whatever the settings.

    Parameters
    ----------
    arguments : sequence of str
        As for `boltz predict`, handed to it unchanged.
    settings : InsideSettings, optional
        By default the same samples as without Frazil.
    console : rich.console.Console, optional
        Where times, tables and warnings go; silent without.

    Raises
    ------
    FrazilError
        If there is no boltz, or one that is too old; if Boltz refuses its arguments or an input, with its message; if
        a checkpoint cannot be used; if nothing was predicted for an input (the others are then done), or Boltz kept an
        earlier prediction that has no conditioning where that is wanted. As `InputError` where the user can mend it.

    Examples
    --------
    >>> predict(["input.yaml", "--use_potentials"], InsideSettings(sampler="fast"))    # doctest: +SKIP
    """
    settings = settings or InsideSettings()
    command = boltz_command()
    call = Call.read(command, arguments)
    call.check()
    run = _Run(call, settings, console)
    with entered(run):
        try:
            call.invoke(command)
        except FrazilError as error:
            raise type(error)(brief(error)) from error
        except MisconfigurationException as error:
            way = "give --accelerator cpu where there is no GPU"
            raise InputError(f"--accelerator {call['accelerator']}: {brief(error)}; {way}") from error
        except Exception as error:
            # before there is a model, Boltz only looks at what it was given; later it asserts what it can do
            if run.has_model and not isinstance(error, AssertionError):
                raise
            raise InputError(f"boltz predict {call.data}: {brief(error)}") from error
    run.tell_kept()
    run.refuse_nothing()


class _Run:
    """One run of Boltz's command, as told by its hooks."""

    def __init__(self, call: Call, settings: InsideSettings, console: Console | None) -> None:
        self.has_model = False
        self._call = call
        self._asked = settings
        self._settings = settings
        self._console = console
        self._say = teller(console)
        self._trunk: TrunkCapture | None = None
        self._skipped: list[str] = []
        self._kept = set() if call["override"] else {name for name in call.inputs if self._has_models(name)}

    def loaded(self, model: nn.Module) -> None:
        """Put Frazil into the model; one for affinity keeps its values."""
        self.has_model = True
        affinity = getattr(model, "affinity_prediction", False)
        self._settings = settings = InsideSettings(report=self._asked.report) if affinity else self._asked
        accelerate(
            model,
            parity=settings.parity,
            precision=settings.precision,
            sampler=settings.sampler,
            steps=None if settings.sampler == REFERENCE else self._call.steps,
            steering=settings.steering_engine,
        )
        if settings.write_conditioning:
            self._trunk = TrunkCapture(model)

    def skipped(self, names: list[str]) -> None:
        """Remember them; Boltz has said why."""
        self._skipped += names

    def predicted(self, made: Made) -> None:
        """What an earlier run told of files that are about to be replaced goes first."""
        self._kept -= set(made.names)
        for name in made.names:
            for ours in (SAMPLES_JSON, _conditioning_name(name)):
                (self._call.folder(name) / ours).unlink(missing_ok=True)

    def written(self, made: Made) -> None:
        """Put our files beside Boltz's, and tell."""
        told = made.model.structure_module.last_sampling
        together = f", {len(made.names)} inputs together" if len(made.names) > 1 else ""
        for index, name in enumerate(made.names):
            took = f"{told.seconds:.1f} s for {made.num_samples} samples x {told.steps} steps{together}"
            self._say(f"frazil: {name}: diffusion {took}")
            if not (self._settings.report or self._settings.write_conditioning):
                continue
            features = described(made, index)
            if self._settings.report:
                self._report(made, index, features)
            if self._trunk is not None:
                self._keep_conditioning(made, index, features, self._trunk)

    def tell_kept(self) -> None:
        """Say which inputs Boltz left as they were, so that no option of this run has reached them."""
        if self._kept:
            self._say(f"frazil: kept from an earlier run: {_some(self._kept)}; give --override to predict anew")

    def refuse_nothing(self) -> None:
        """Say so where nothing was predicted for an input, or its conditioning was wanted and is not there.

        Raises
        ------
        FrazilError
            Naming the inputs.
        """
        inputs = self._call.inputs
        if not inputs:
            raise InputError(f"{self._call.data}: no input in this folder; put FASTA or YAML files there")
        lacking = [name for name in self._kept if not (self._call.folder(name) / _conditioning_name(name)).exists()]
        if self._asked.write_conditioning and lacking:
            raise InputError(f"{_some(lacking)}: kept from an earlier run without conditioning; give --override")
        empty = [name for name in inputs if name in self._skipped or not self._has_models(name)]
        if not empty:
            return
        line = f"boltz predicted nothing for {', '.join(str(inputs[name]) for name in empty)}; its lines above say why"
        if self._call.context.params.get("skip_bad_inputs") and len(empty) < len(inputs) and not self._skipped:
            self._say(f"warning: {line}")
            return
        raise FrazilError(line)

    def _has_models(self, name: str) -> bool:
        folder = self._call.folder(name)
        return folder.is_dir() and any(path.name.startswith(f"{name}_model_0.") for path in folder.iterdir())

    def _report(self, made: Made, index: int, features: Features) -> None:
        told, name = made.model.structure_module.last_sampling, made.names[index]
        found = reports(made, index, features, told.finite[index])
        origin = {
            "input": str(self._call.inputs.get(name, self._call.data)),
            "name": name,
            "seed": self._call["seed"],
            "sampler": self._settings.sampler,
            "precision": self._settings.precision,
            "steering_engine": self._settings.steering_engine,
            "parity": self._settings.parity,
        }
        write_samples_json(self._call.folder(name), origin, self._call.suffix, told, found, index)
        if self._console is not None:
            self._console.print(table(name, found))
        lost = sum(not one.finite for one in found)
        if lost:
            self._say(f"warning: {name}: {lost} of {len(found)} samples are not finite; their files are of no use")
        for line in unsatisfied(name, [one for one in found if one.finite]):
            self._say(line)

    def _keep_conditioning(self, made: Made, index: int, features: Features, trunk: TrunkCapture) -> None:
        name, one = made.names[index], trunk.last.one(index)
        write_conditioning(
            self._call.folder(name) / _conditioning_name(name),
            cif=made.mmcif(index),
            features=features,
            s_inputs=one.s_inputs,
            s=one.s,
            z=one.z,
            relative_positions=one.relative_positions,
        )


def _some(names: Collection[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{', '.join(sorted(names)[:5])}{more}"


def _conditioning_name(name: str) -> str:
    return f"{name}_conditioning.safetensors"
