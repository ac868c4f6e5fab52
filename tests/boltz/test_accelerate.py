"""A real small Boltz-2 with and without Frazil inside: the same predictions, by settings of one's own, and back."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("boltz")

from batches import POTENTIALS, PREPARED, STEERING, UNSTEERED, Batch, keeps_float32, predict, small_model, worst
from oracle import SMALL, reference_modules

from frazil.boltz import accelerate, restore
from frazil.errors import InputError


def both(batch: Batch, prepare: Callable[[Any], Any], **arguments: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a prepared model predicts, and the same model accelerated."""
    return predict(prepare(small_model()), batch, **arguments), predict(
        accelerate(prepare(small_model())), batch, **arguments
    )


def steered(arguments: dict[str, Any]) -> Callable[[Any], Any]:
    def prepare(model: Any) -> Any:
        model.steering_args = dict(arguments)
        return model

    return prepare


@pytest.mark.parametrize("name", PREPARED)
def test_a_prediction_is_the_references(prepared: dict[str, Batch], name: str) -> None:
    theirs, ours = both(prepared[name], steered(UNSTEERED), sampling_steps=20)
    assert worst(theirs, ours, prepared[name]) < 2e-3
    for value in ("plddt", "pde", "confidence_score", "s", "z"):
        torch.testing.assert_close(ours[value], theirs[value], atol=1e-3, rtol=0)


@pytest.mark.parametrize("arguments", [STEERING, POTENTIALS], ids=["default", "potentials"])
@pytest.mark.parametrize("name", PREPARED)
def test_a_steered_prediction_is_the_references(
    prepared: dict[str, Batch], name: str, arguments: dict[str, Any]
) -> None:
    # with one of the seeds: now and then rounding decides on which side of a bound a force lies, or a choice falls
    found = (worst(*both(prepared[name], steered(arguments), seed=seed), prepared[name]) for seed in range(4))
    assert any(value < 2e-3 for value in found)


@keeps_float32
@pytest.mark.parametrize("arguments", [STEERING, POTENTIALS], ids=["default", "potentials"])
def test_a_prediction_under_bf16_autocast_is_the_references(batch: Batch, arguments: dict[str, Any]) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = [both(batch, steered(arguments), seed=seed) for seed in range(3)]
    assert all(ours["coords"].dtype == torch.float32 for _, ours in found)
    assert any(worst(*pair, batch) < 2e-3 for pair in found)


def test_autocast_changes_nothing_without_parity(batch: Batch) -> None:
    model = accelerate(small_model(), parity=False)
    plain = conditioned(model, batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = conditioned(model, batch)
    assert all(torch.equal(plain[name], cast[name]) for name in plain)


def conditioned(model: Any, batch: Batch) -> dict[str, Tensor]:
    """What the conditioning and a sample from it make of a random trunk."""
    generator = torch.Generator().manual_seed(5)
    tokens = batch["token_pad_mask"].shape[1]
    s, z, positions = (torch.randn(1, *size, generator=generator) for size in _trunk(tokens))
    names = ("q", "c", "to_keys", "atom_enc_bias", "atom_dec_bias", "token_trans_bias")
    with torch.no_grad():
        made = dict(zip(names, model.diffusion_conditioning(s, z, positions, batch), strict=True))
        torch.manual_seed(4)
        drawn = model.structure_module.sample(
            batch["atom_pad_mask"], 4, s_trunk=s, s_inputs=s, feats=batch, diffusion_conditioning=made
        )
    return {name: value for name, value in (made | drawn).items() if isinstance(value, Tensor)}


def _trunk(tokens: int) -> tuple[tuple[int, ...], ...]:
    return (tokens, 32), (tokens, tokens, 16), (tokens, tokens, 16)


def test_no_random_number_is_drawn_by_accelerating_and_as_many_as_by_the_reference_in_a_prediction(
    batch: Batch,
) -> None:
    model, states = small_model(), []
    torch.manual_seed(7)
    accelerate(model)
    assert torch.equal(torch.get_rng_state(), torch.Generator().manual_seed(7).get_state())
    for one in (small_model(), model):
        predict(one, batch, sampling_steps=3)
        states.append(torch.get_rng_state())
    assert torch.equal(*states)


@pytest.mark.parametrize("steering", ["reference", "ours"])
@pytest.mark.parametrize("parity", [True, False])
def test_either_steering_runs_with_and_without_parity(batch: Batch, parity: bool, steering: str) -> None:
    model = accelerate(steered(POTENTIALS)(small_model()), parity=parity, steering=steering)
    assert predict(model, batch)["coords"].isfinite().all()
    record = model.structure_module.last_sampling
    guided = record.steps if steering == "ours" else record.steps - 1
    assert record.steering.guided_steps == guided
    assert [step for step, _ in record.steering.effective_sizes] == [0, 3, 9]
    assert bool(record.draws) == (parity and steering == "reference")
    assert record.samples_at_once == 2 * 3


def test_steering_without_a_name_goes_with_parity(batch: Batch) -> None:
    for parity, named in ((True, "reference"), (False, "ours")):
        unnamed = accelerate(steered(POTENTIALS)(small_model()), parity=parity)
        given = accelerate(steered(POTENTIALS)(small_model()), parity=parity, steering=named)
        assert torch.equal(predict(unnamed, batch)["coords"], predict(given, batch)["coords"])


SAMPLERS = {
    "the caller's steps": ({}, 10, 10),
    "own steps": ({"steps": 7}, 7, 7),
    "preset": ({"sampler": "fast"}, 20, 20),
    "method": ({"sampler": "heun", "steps": 6}, 6, 11),
    "other method": ({"sampler": "dpm2m", "steps": 5, "parity": False}, 5, 5),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_sampler_and_its_steps_are_as_asked_for(batch: Batch, name: str) -> None:
    options, steps, evaluations = SAMPLERS[name]
    model = accelerate(small_model(), **options)
    predict(model, batch)
    record = model.structure_module.last_sampling
    assert (record.steps, record.evaluations) == (steps, evaluations)


@pytest.mark.parametrize("sampler", ["euler", "heun", "dpm2m-sde"])
@pytest.mark.parametrize("steering", ["reference", "ours"])
def test_every_method_is_steered(batch: Batch, sampler: str, steering: str) -> None:
    model = accelerate(steered(POTENTIALS)(small_model()), sampler=sampler, steps=6, steering=steering)
    assert predict(model, batch)["coords"].isfinite().all()
    assert model.structure_module.last_sampling.steering.guided_steps > 0


def test_the_last_sampling_is_on_record(batch: Batch) -> None:
    model = accelerate(small_model())
    assert model.structure_module.last_sampling is None
    predict(model, batch, diffusion_samples=3, max_parallel_samples=2)
    record = model.structure_module.last_sampling
    assert record.seconds > 0
    assert record.finite.tolist() == [[True, True, True]]
    assert (record.samples_at_once, record.halvings) == (2, 0)
    assert (record.steering, record.draws) == (None, ())


@pytest.mark.parametrize("arguments", [STEERING, POTENTIALS], ids=["default", "potentials"])
def test_a_bound_on_parallel_samples_changes_no_bit_without_parity(batch: Batch, arguments: dict[str, Any]) -> None:
    model = accelerate(steered(arguments)(small_model()), parity=False)
    found = [predict(model, batch, diffusion_samples=3, max_parallel_samples=bound) for bound in (None, 2)]
    assert all(torch.equal(one["coords"], found[0]["coords"]) for one in found)


def test_a_bound_on_parallel_samples_gives_the_references_samples(batch: Batch) -> None:
    assert worst(*both(batch, steered(UNSTEERED), diffusion_samples=3, max_parallel_samples=2), batch) < 2e-3


def test_reduced_products_stay_near(batch: Batch) -> None:
    exact, reduced = (predict(accelerate(small_model(), precision=name), batch) for name in ("float32", "bf16"))
    assert 1e-4 < (exact["coords"] - reduced["coords"]).abs().median() < 0.5


def test_an_affinity_model_gives_the_references_affinity(prepared: dict[str, Batch]) -> None:
    batch = dict(prepared["affinity"])
    batch |= {name + "_affinity": batch[name] for name in ("profile", "deletion_mean")}
    batch["affinity_mw"] = torch.tensor([[150.0]])
    theirs, ours = (predict(model, batch) for model in (affinity_model(), accelerate(affinity_model())))
    assert worst(theirs, ours, batch) < 2e-3
    for name in ("affinity_pred_value", "affinity_probability_binary", "affinity_pred_value1"):
        torch.testing.assert_close(ours[name], theirs[name], atol=1e-3, rtol=0)


def affinity_model() -> Any:
    return small_model(seed=1, affinity=True)


def test_restoring_gives_back_the_very_modules() -> None:
    model = small_model()
    before = model.structure_module, model.diffusion_conditioning
    assert accelerate(model) is model
    assert model.structure_module is not before[0]
    for _ in range(2):
        assert restore(model) is model
        assert (model.structure_module, model.diffusion_conditioning) == before
    assert restore(small_model()).structure_module.training is False


def test_accelerating_again_replaces_the_settings(batch: Batch) -> None:
    model = small_model()
    before = model.structure_module
    predict(accelerate(accelerate(model, steps=3), steps=4), batch)
    assert model.structure_module.last_sampling.steps == 4
    assert restore(model).structure_module is before


def test_the_mode_follows() -> None:
    model = accelerate(small_model())
    model.train()
    assert model.structure_module.training and model.structure_module.denoiser.network.encoder.training
    assert accelerate(model).diffusion_conditioning.training
    restore(model)
    assert model.structure_module.training and model.structure_module.score_model.training
    accelerate(model).eval()
    assert not restore(model).structure_module.training


def test_a_compiled_structure_module_is_looked_into(batch: Batch) -> None:
    plain, compiled = small_model(), small_model(compile_structure=True)
    named = {
        name.replace("score_model.", "score_model._orig_mod."): value for name, value in plain.state_dict().items()
    }
    accelerate(compiled).load_state_dict(named, strict=True)
    assert worst(predict(plain, batch), predict(compiled, batch), batch) < 2e-3
    assert hasattr(restore(compiled).structure_module.score_model, "_orig_mod")


class Boltz1(nn.Module):
    """Holds what Boltz-1 holds."""

    def __init__(self) -> None:
        super().__init__()
        self.structure_module = nn.Linear(2, 2)


class Holder(nn.Module):
    """Two modules under the names that Boltz-2 gives them."""

    def __init__(self, structure_module: nn.Module, diffusion_conditioning: nn.Module) -> None:
        super().__init__()
        self.structure_module = structure_module
        self.diffusion_conditioning = diffusion_conditioning


@pytest.mark.parametrize("model", [Boltz1(), nn.Linear(2, 2), "boltz2_conf.ckpt"])
def test_another_model_is_refused_by_name(model: Any) -> None:
    with pytest.raises(
        InputError, match=rf"^{type(model).__name__} is not a model of Boltz-2; give a Boltz2"
    ) as refusal:
        accelerate(model)
    assert "\n" not in str(refusal.value)


def test_the_diffusion_module_of_boltz_1_is_refused_by_name() -> None:
    from boltz.model.modules.diffusion import AtomDiffusion

    sizes = SMALL | {"token_z": 12, "atom_z": 8, "atom_feature_dim": 128}
    conditioning = reference_modules(SMALL)[1]
    with pytest.raises(InputError, match="AtomDiffusion is the diffusion module of Boltz-1"):
        accelerate(Holder(AtomDiffusion(sizes), conditioning))


def test_a_hyper_parameter_of_a_later_version_is_refused_by_name() -> None:
    structure, conditioning = reference_modules(SMALL)
    known = type(structure)

    def later(self: Any, score_model_args: Any, *, quantum_gates: int = 0, **options: Any) -> None: ...

    structure.__class__ = type("AtomDiffusion", (known,), {"__init__": later})
    with pytest.raises(InputError, match="quantum_gates"):
        accelerate(Holder(structure, conditioning))


UNKNOWN = {
    "precision": ("float16", "float16"),
    "sampler": ("fastest", "'fastest' is unknown"),
    "steps": (0, "number of sampling steps is 0"),
    "steering": ("theirs", "'theirs' is unknown: give reference or ours"),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_unknown_setting_is_refused_and_changes_nothing(name: str) -> None:
    value, message = UNKNOWN[name]
    model = Holder(*reference_modules(SMALL))
    before = model.structure_module
    with pytest.raises(InputError, match=message):
        accelerate(model, **{name: value})
    assert model.structure_module is before


def test_a_hyper_parameter_is_read_but_not_set_while_accelerated() -> None:
    model = accelerate(Holder(*reference_modules(SMALL)))
    assert math.isclose(model.structure_module.step_scale, 1.5)
    with pytest.raises(InputError, match=r"step_scale = 1\.2 while accelerated: restore"):
        model.structure_module.step_scale = 1.2
    restore(model).structure_module.step_scale = 1.2
    assert accelerate(model).structure_module.settings.stepper.step_scale == 1.2
