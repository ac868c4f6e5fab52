"""What becomes of the weights of a Boltz-2 with Frazil inside: names, checkpoints, averages, copies, training."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("boltz")

from batches import Batch, keeps_float32, predict, small_model, worst
from small_boltz import write_checkpoint

from frazil.boltz import accelerate, restore


def test_parameters_are_the_same_objects_under_the_same_names_in_the_same_order() -> None:
    model = small_model()
    before, modules = list(model.named_parameters()), [name for name, _ in model.named_modules()]
    after = list(accelerate(model).named_parameters())
    assert [name for name, _ in after] == [name for name, _ in before]
    assert all(one is other for (_, one), (_, other) in zip(before, after, strict=True))
    assert [name for name, _ in model.named_modules()] == modules


def test_state_dicts_are_the_references_both_ways(batch: Batch) -> None:
    plain, model = small_model(seed=1), accelerate(small_model(seed=2))
    expected, given = plain.state_dict(), model.state_dict()
    assert list(given) == list(expected)
    other = small_model(seed=3)
    other.load_state_dict(given, strict=True)
    assert worst(predict(other, batch), predict(model, batch), batch) < 2e-3
    model.load_state_dict(expected, strict=True)
    assert worst(predict(plain, batch), predict(model, batch), batch) < 2e-3


def test_parameters_that_are_replaced_are_followed(batch: Batch) -> None:
    plain, model = small_model(seed=1), accelerate(small_model(seed=2))
    model.load_state_dict(copy.deepcopy(plain.state_dict()), strict=True, assign=True)
    assert worst(predict(plain, batch), predict(model, batch), batch) < 2e-3
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        model.double().float()
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(False)
    assert worst(predict(plain, batch), predict(model, batch), batch) < 2e-3


def test_a_lightning_checkpoint_of_an_accelerated_model_loads_into_a_plain_one(tmp_path: Path, batch: Batch) -> None:
    from boltz.model.models.boltz2 import Boltz2

    model = accelerate(small_model(seed=2))
    path = write_checkpoint(model, tmp_path / "last.ckpt")
    loaded = Boltz2.load_from_checkpoint(path, strict=True, map_location="cpu", weights_only=False).eval()
    assert type(loaded.structure_module).__name__ == "AtomDiffusion"
    assert worst(predict(loaded, batch), predict(model, batch), batch) < 2e-3


def test_averages_of_the_weights_go_by_the_references_names() -> None:
    from boltz.model.optim.ema import EMA

    average, model = EMA(), small_model()
    average.on_train_start(None, model)
    accelerate(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    average._cur_step = 1
    average.apply_ema(model)
    average.replace_model_weights(model)
    average.restore_original_weights(restore(model))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_is_whole_and_its_own(duplicate: Callable[[Any], Any], batch: Batch) -> None:
    model = accelerate(small_model())
    first = predict(model, batch)
    twin = duplicate(model)
    assert torch.equal(predict(twin, batch)["coords"], first["coords"])
    with torch.no_grad():
        for parameter in twin.structure_module.parameters():
            parameter.mul_(0.5)
    assert not torch.equal(predict(twin, batch)["coords"], first["coords"])
    assert torch.equal(predict(model, batch)["coords"], first["coords"])
    assert restore(twin).structure_module.score_model is not restore(model).structure_module.score_model


def training_batch(batch: Batch) -> Batch:
    """With coordinates as the truth, some of them unresolved."""
    made, generator = dict(batch), torch.Generator().manual_seed(8)
    made["coords"] = 9 * torch.randn(made["coords"].shape, generator=generator)
    resolved = torch.rand(made["atom_pad_mask"].shape, generator=generator) < 0.9
    made["atom_resolved_mask"] = made["atom_pad_mask"].bool() & resolved
    return made


def training_loss(model: Any, batch: Batch) -> Tensor:
    """Of the diffusion module, as `training_step` has it: trunk, conditioning, a sample for confidence, the step."""
    model.train()
    feats = training_batch(batch)
    torch.manual_seed(6)
    out = model(feats, num_sampling_steps=2, multiplicity_diffusion_train=3, diffusion_samples=1)
    return model.structure_module.compute_loss(feats, out, multiplicity=3, **model.diffusion_loss_args)["loss"]


RECOMPUTED = {
    "nothing": {},
    "conditioning": {"checkpoint_diffusion_conditioning": True},
    "layers": {"score_model_args": {"activation_checkpointing": True}},
}


@pytest.mark.parametrize("name", RECOMPUTED)
def test_loss_and_gradients_of_all_parameters_are_the_references(batch: Batch, name: str) -> None:
    assert_same_training(batch, RECOMPUTED[name], 1e-3)


@keeps_float32
@pytest.mark.parametrize("name", ["nothing", "conditioning"])
def test_loss_and_gradients_under_bf16_autocast_are_the_references(batch: Batch, name: str) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_same_training(batch, RECOMPUTED[name], 0.1)


def assert_same_training(batch: Batch, changes: dict[str, Any], tolerance: float) -> None:
    losses, gradients = [], []
    for model in (small_model(**changes), accelerate(small_model(**changes))):
        losses.append(training_loss(model, batch))
        with torch.autocast("cpu", enabled=False):
            losses[-1].backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    torch.testing.assert_close(losses[1], losses[0], rtol=tolerance, atol=0)
    theirs, ours = gradients
    assert ours.keys() == theirs.keys()
    assert any(name.startswith("pairformer_module") for name in ours)
    largest = max(float(gradient.norm()) for gradient in theirs.values())
    for name, gradient in theirs.items():
        assert float((ours[name] - gradient).norm()) < tolerance * max(float(gradient.norm()), 1e-3 * largest), name


def test_training_steps_made_while_accelerated_stay_when_restored(batch: Batch) -> None:
    plain, model = small_model(), small_model()
    optimisers = [torch.optim.SGD(one.parameters(), lr=1e-4) for one in (plain, model)]
    accelerate(model)  # the optimiser is older, and goes on
    for one, optimiser in zip((plain, model), optimisers, strict=True):
        for _ in range(2):
            optimiser.zero_grad()
            training_loss(one, batch).backward()
            optimiser.step()
    before = small_model().structure_module.score_model.a_norm.weight
    after, expected = (one.structure_module.score_model.a_norm.weight for one in (restore(model), plain))
    assert not torch.equal(before, after)
    torch.testing.assert_close(after, expected, atol=1e-5, rtol=1e-4)
    assert worst(predict(plain.eval(), batch), predict(model.eval(), batch), batch) < 1e-2


def test_sampling_follows_a_training_step(batch: Batch) -> None:
    model = accelerate(small_model())
    before = predict(model, batch)
    training_loss(model, batch).backward()
    torch.optim.SGD(model.parameters(), lr=1e-3).step()
    after, plain = predict(model.eval(), batch), predict(restore(model), batch)
    assert worst(before, after, batch) > 1e-2
    assert worst(plain, after, batch) < 2e-3
