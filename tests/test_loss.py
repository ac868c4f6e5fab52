"""The training loss: parity with the reference, analytic cases, noised copies, memory."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from boltz.model.loss.diffusionv2 import smooth_lddt_loss as reference_lddt
from boltz.model.modules.diffusionv2 import AtomDiffusion
from torch import Tensor

from frazil.chemistry import DNA, NONPOLYMER, PROTEIN, RNA
from frazil.errors import InputError
from frazil.features import Features, axes_of
from frazil.geometry import RigidMotion
from frazil.loss import (
    AtomWeights,
    DiffusionTraining,
    SmoothLDDT,
    TrainingNoise,
    diffusion_loss,
    noised_copies,
    place_unresolved,
    smooth_lddt_loss,
)
from frazil.noise import LogNormalSigma, Preconditioning
from random_features import random_features

DEFAULTS = {"preconditioning": Preconditioning(), "weights": AtomWeights(), "smooth_lddt": SmoothLDDT()}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make_features(
    structures: int = 2, tokens: int = 12, per_token: int = 5, models: int = 1, seed: int = 0
) -> Features:
    """Random structures: four kinds of molecules, some atoms unresolved, the last structure padded by one token."""
    g, atoms = seeded(seed), tokens * per_token
    sizes = {"token": tokens, "atom": atoms, "model": models, "bond": 0}
    fields = {
        name: torch.zeros(structures, *(sizes[axis] for axis in axes_of(name)), dtype=torch.int64)
        for name in Features.__dataclass_fields__
    }
    atom_token = torch.arange(atoms) // per_token
    token_mask = torch.ones(structures, tokens, dtype=torch.bool)
    token_mask[-1, -1] = False
    atom_mask = token_mask[:, atom_token]
    resolved = (torch.rand(structures, models, atoms, generator=g) > 0.2) & atom_mask[:, None]
    coords = torch.randn(structures, models, atoms, 3, generator=g) * 12 * resolved[..., None]
    fields |= {
        "token_mask": token_mask,
        "mol_type": torch.randint(0, 4, (structures, tokens), generator=g) * token_mask,
        "atom_mask": atom_mask,
        "atom_token_index": atom_token.expand(structures, atoms) * atom_mask,
        "plddt": torch.rand(structures, atoms, generator=g) * 100,
        "coords": coords,
        "resolved_mask": resolved,
        "ensemble_size": torch.full((structures,), models),
    }
    return Features(**fields)


def reference_module() -> AtomDiffusion:
    network = {
        "token_s": 4, "atom_s": 4, "atom_encoder_depth": 1, "atom_encoder_heads": 1, "token_transformer_depth": 1,
        "token_transformer_heads": 1, "atom_decoder_depth": 1, "atom_decoder_heads": 1, "dim_fourier": 4,
    }  # fmt: skip
    return AtomDiffusion(network)


def reference_features(features: Features, copies: int) -> dict[str, Tensor]:
    """What the reference's loss reads."""
    one_hot = torch.nn.functional.one_hot(features.atom_token_index, features.num_tokens)
    return {
        "atom_resolved_mask": features.resolved_mask[:, 0],
        "plddt": features.plddt,
        "atom_to_token": one_hot * features.atom_mask[..., None],
        "mol_type": features.mol_type,
        "coords": features.coords[:, 0].repeat_interleave(copies, 0),
    }


def make_prediction(features: Features, copies: int, seed: int = 1) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Truth [B, 1, A, 3], a moved target, a noisy denoised prediction and sigmas."""
    g, shape = seeded(seed), (features.batch_size, copies)
    truth = features.coords[:, :1]
    target = RigidMotion.random(shape, g).apply(truth)
    denoised = RigidMotion.random(shape, g).apply(truth) + torch.randn(target.shape, generator=g)
    return truth, target, denoised, LogNormalSigma().sample(shape, g)


def relative(ours: Tensor, theirs: Tensor) -> float:
    return ((ours - theirs).norm() / theirs.norm()).item()


@pytest.mark.parametrize("threshold", [0.0, 60.0])
@pytest.mark.parametrize("with_lddt", [True, False])
@pytest.mark.parametrize("extra", [(5.0, 10.0), (0.0, 2.5)])
def test_loss_and_gradient_are_the_references(threshold, with_lddt, extra):
    copies, features = 3, make_features(structures=3)
    truth, target, denoised, sigma = make_prediction(features, copies)
    denoised.requires_grad_()
    ours = diffusion_loss(
        denoised, target, sigma, features, features.resolved_mask.expand(-1, copies, -1), truth=truth,
        preconditioning=Preconditioning(), weights=AtomWeights(*extra), plddt_threshold=threshold,
        smooth_lddt=SmoothLDDT() if with_lddt else None,
    )  # fmt: skip
    (gradient,) = torch.autograd.grad(ours.total, denoised)
    result = reference_module().compute_loss(
        reference_features(features, copies),
        {
            "denoised_atom_coords": denoised.flatten(0, 1),
            "sigmas": sigma.flatten(),
            "aligned_true_atom_coords": target.flatten(0, 1),
        },
        add_smooth_lddt_loss=with_lddt, nucleotide_loss_weight=extra[0], ligand_loss_weight=extra[1],
        multiplicity=copies, filter_by_plddt=threshold,
    )  # fmt: skip
    (reference_gradient,) = torch.autograd.grad(result["loss"], denoised)
    assert ours.total.item() == pytest.approx(result["loss"].item(), rel=1e-5)
    assert ours.mse.item() == pytest.approx(result["loss_breakdown"]["mse_loss"].item(), rel=1e-5)
    assert ours.smooth_lddt.item() == pytest.approx(result["loss_breakdown"]["smooth_lddt_loss"].item(), rel=1e-5)
    assert relative(gradient, reference_gradient) < 1e-4


@pytest.mark.parametrize("atoms", [30, 300])
@pytest.mark.parametrize("spread", [0.3, 3.0])
@pytest.mark.parametrize("max_pairs", [1000, 2**20])
def test_smooth_lddt_is_the_references(atoms, spread, max_pairs):
    g = seeded(atoms)
    truth = torch.randn(2, 1, atoms, 3, generator=g) * 12
    denoised = (truth + torch.randn(2, 3, atoms, 3, generator=g) * spread).requires_grad_()
    nucleotide, mask = (torch.rand(2, 2, atoms, generator=g) > 0.3).unbind(0)

    def theirs(dtype: torch.dtype) -> Tensor:
        return reference_lddt(
            denoised.flatten(0, 1).to(dtype), truth.expand(-1, 3, -1, -1).flatten(0, 1).to(dtype),
            nucleotide.to(dtype), coords_mask=mask.to(dtype), multiplicity=3,
        )  # fmt: skip

    ours = SmoothLDDT(max_pairs=max_pairs)(denoised, truth, nucleotide, mask)
    (gradient,) = torch.autograd.grad(ours, denoised)
    # The gradient jumps where a predicted distance equals the true one: among 1e5 pairs with small errors one or two
    # fall on the other side of the jump by rounding. Float32 distances of the reference are off by up to 1e-3 A.
    for dtype, exact in ((torch.float64, 2e-5), (torch.float32, 1e-4)):
        loss, tolerance = theirs(dtype), exact if spread > 1 else 2e-3
        assert ours.item() == pytest.approx(loss.item(), rel=1e-5)
        assert relative(gradient, torch.autograd.grad(loss, denoised)[0]) < tolerance


def test_smooth_lddt_one_row_at_a_time_is_the_same():
    truth, denoised = torch.randn(2, 1, 2, 25, 3, generator=seeded())
    nucleotide, mask = torch.arange(25)[None] < 9, torch.arange(25)[None] != 3
    slow, fast = (SmoothLDDT(max_pairs=n)(denoised, truth, nucleotide, mask) for n in (1, 2**20))
    torch.testing.assert_close(slow, fast)


def test_smooth_lddt_of_the_truth_is_its_known_value():
    truth = torch.randn(1, 1, 20, 3, generator=seeded()) * 3
    motion = RigidMotion.random((1, 4), seeded(1))
    everything, nothing = torch.ones(1, 20, dtype=torch.bool), torch.zeros(1, 20, dtype=torch.bool)
    loss = smooth_lddt_loss(motion.apply(truth), truth, nothing, everything)
    expected = 1 - torch.sigmoid(torch.tensor([0.5, 1.0, 2.0, 4.0])).mean()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-4)


@pytest.mark.parametrize(("nucleotides", "orders"), [((), 0), ((0,), 1), ((1,), 1), ((0, 1), 2)])
def test_the_first_atom_of_a_pair_decides_the_cutoff(nucleotides, orders):
    # Two atoms 20 A apart, predicted 20 A + 1 A; a third pair at 10 A, predicted exactly, always counts twice.
    truth = torch.tensor([[0.0, 0, 0], [20, 0, 0], [0, 1e4, 0], [0, 1e4, 10]])[None, None]
    denoised = truth.clone()
    denoised[..., 1, 0] += 1
    is_nucleotide = torch.zeros(1, 4, dtype=torch.bool)
    is_nucleotide[0, list(nucleotides)] = True
    loss = smooth_lddt_loss(denoised, truth, is_nucleotide, torch.ones(1, 4, dtype=torch.bool))
    thresholds = torch.tensor([0.5, 1.0, 2.0, 4.0])
    exact, off = torch.sigmoid(thresholds).mean(), torch.sigmoid(thresholds - 1).mean()
    assert 1 - loss.item() == pytest.approx(((2 * exact + orders * off) / (2 + orders)).item(), rel=1e-4)


def test_smooth_lddt_without_pairs_is_one_and_finite():
    denoised = torch.zeros(1, 2, 3, 3, requires_grad=True)
    loss = smooth_lddt_loss(denoised, torch.zeros(1, 1, 3, 3), *torch.zeros(2, 1, 3, dtype=torch.bool))
    loss.backward()
    assert loss == 1 and torch.equal(denoised.grad, torch.zeros(1, 2, 3, 3))


def test_smooth_lddt_gradient_is_finite_for_coincident_atoms():
    truth = torch.randn(1, 1, 6, 3, generator=seeded())
    denoised = torch.zeros(1, 1, 6, 3, requires_grad=True)
    smooth_lddt_loss(
        denoised, truth, torch.zeros(1, 6, dtype=torch.bool), torch.ones(1, 6, dtype=torch.bool)
    ).backward()
    assert denoised.grad.isfinite().all()


def test_smooth_lddt_gradient_is_the_finite_difference():
    g = seeded(3)
    truth = torch.randn(1, 1, 9, 3, generator=g) * 5
    denoised = (truth + torch.randn(1, 2, 9, 3, generator=g)).requires_grad_()
    nucleotide, mask = torch.arange(9)[None] < 3, torch.arange(9)[None] != 5
    (gradient,) = torch.autograd.grad(smooth_lddt_loss(denoised, truth, nucleotide, mask), denoised)
    direction = torch.randn(denoised.shape, generator=g)
    step = 1e-2
    up, down = (smooth_lddt_loss(denoised.detach() + s * direction, truth, nucleotide, mask) for s in (step, -step))
    assert ((up - down) / (2 * step)).item() == pytest.approx((gradient * direction).sum().item(), rel=2e-2)


def test_smooth_lddt_does_not_read_masked_atoms():
    g = seeded(4)
    truth, denoised = torch.randn(2, 1, 3, 8, 3, generator=g)
    mask = torch.arange(8)[None, None] < torch.tensor([4, 6, 8])[None, :, None]
    nucleotide = torch.zeros(1, 8, dtype=torch.bool)
    spoiled = torch.where(mask[..., None], denoised, torch.nan).requires_grad_()
    loss = smooth_lddt_loss(spoiled, torch.where(mask[..., None], truth, torch.nan), nucleotide, mask)
    assert loss == smooth_lddt_loss(denoised, truth, nucleotide, mask)
    loss.backward()
    assert spoiled.grad.isfinite().all()


@pytest.mark.parametrize("shared_truth", [True, False])
@pytest.mark.parametrize("shared_mask", [True, False])
def test_smooth_lddt_takes_shared_and_single_truths_and_masks(shared_truth, shared_mask):
    g = seeded(5)
    truth = torch.randn(2, 1, 10, 3, generator=g)
    denoised = torch.randn(2, 4, 10, 3, generator=g)
    mask = torch.rand(2, 1, 10, generator=g) > 0.3
    nucleotide = torch.zeros(2, 10, dtype=torch.bool)
    base = smooth_lddt_loss(denoised, truth, nucleotide, mask[:, 0])
    again = smooth_lddt_loss(
        denoised, truth if shared_truth else truth.expand(-1, 4, -1, -1), nucleotide,
        mask if shared_mask else mask.expand(-1, 4, -1),
    )  # fmt: skip
    torch.testing.assert_close(base, again)


def test_loss_is_zero_for_a_moved_truth():
    features = make_features()
    _, target, _, sigma = make_prediction(features, 4)
    moved = RigidMotion.random((2, 4), seeded(9)).apply(target)
    terms = diffusion_loss(
        moved, target, sigma.clamp(min=1.0), features, features.resolved_mask.expand(-1, 4, -1),
        **DEFAULTS | {"smooth_lddt": None},
    )  # fmt: skip
    assert terms.total == terms.mse < 1e-8 and terms.smooth_lddt == 0


def test_mse_of_a_symmetric_stretch_is_its_closed_form():
    # Two balanced pairs on the axes, both stretched alike: alignment changes nothing, each |d|^2 is 1.
    truth = torch.tensor([[3.0, 0, 0], [-3, 0, 0], [0, 5, 0], [0, -5, 0]])[None, None]
    denoised = truth + truth.sign()
    features = make_features(1, tokens=4, per_token=1)
    features = replace(features, mol_type=torch.zeros(1, 4, dtype=torch.int64))
    features = replace(features, atom_mask=torch.ones(1, 4, dtype=torch.bool))
    features = replace(features, atom_token_index=torch.arange(4)[None])
    sigma = torch.tensor([[16.0]])
    terms = diffusion_loss(
        denoised, truth, sigma, features, torch.ones(1, 1, 4, dtype=torch.bool), **DEFAULTS | {"smooth_lddt": None}
    )
    assert terms.mse.item() == pytest.approx(1 / 3 * 2 / 16**2, rel=1e-5)


def test_weights_of_molecule_types():
    features = make_features(1, tokens=4, per_token=2)
    features = replace(features, mol_type=torch.tensor([[PROTEIN, DNA, RNA, NONPOLYMER]]))
    features = replace(features, atom_token_index=(torch.arange(8) // 2)[None])
    features = replace(features, atom_mask=torch.arange(8)[None] != 7)
    assert AtomWeights()(features).tolist() == [[1, 1, 6, 6, 6, 6, 11, 0]]
    assert AtomWeights(0.5, 2.0)(features).tolist() == [[1, 1, 1.5, 1.5, 1.5, 1.5, 3, 0]]


def test_loss_of_a_structure_without_resolved_atoms_is_finite():
    features = make_features()
    _, target, denoised, sigma = make_prediction(features, 2)
    resolved = features.resolved_mask.expand(-1, 2, -1).clone()
    resolved[0] = False
    denoised.requires_grad_()
    terms = diffusion_loss(denoised, target, sigma, features, resolved, **DEFAULTS)
    terms.total.backward()
    assert terms.total.isfinite() and denoised.grad.isfinite().all() and (denoised.grad[0] == 0).all()


def test_loss_is_float32_from_bfloat16_predictions():
    features = make_features()
    _, target, denoised, sigma = make_prediction(features, 2)
    resolved = features.resolved_mask.expand(-1, 2, -1)
    low = diffusion_loss(denoised.bfloat16(), target.bfloat16(), sigma, features, resolved, **DEFAULTS)
    assert low.total.dtype == torch.float32 and low.total.isfinite()
    with torch.autocast("cpu", torch.bfloat16):
        inside = diffusion_loss(denoised, target, sigma, features, resolved, **DEFAULTS)
    assert inside.total == diffusion_loss(denoised, target, sigma, features, resolved, **DEFAULTS).total


def test_copies_are_centred_over_resolved_atoms():
    features = make_features(models=3)
    copies = TrainingNoise(copies=5, augmentation=False).draw(features, seeded())
    means = (copies.target * copies.resolved[..., None]).sum(-2) / copies.resolved.sum(-1, keepdim=True)
    assert means.abs().max() < 1e-5


def test_unresolved_atoms_start_at_their_tokens_mean():
    features = make_features(1, tokens=3, per_token=4)
    coords = torch.arange(36.0).reshape(1, 1, 12, 3)
    resolved = torch.tensor([1, 1, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0], dtype=torch.bool)[None, None]
    features = replace(features, atom_mask=torch.ones(1, 12, dtype=torch.bool))
    features = replace(features, atom_token_index=(torch.arange(12) // 4)[None])
    placed = place_unresolved(torch.where(resolved[..., None], coords, torch.nan), resolved, features)[0, 0]
    shown = resolved[0, 0]
    torch.testing.assert_close(placed[shown], (coords[0, 0] - coords[0, 0][shown].mean(0))[shown])
    torch.testing.assert_close(placed[2:4], placed[:2].mean(0).expand(2, 3))
    torch.testing.assert_close(placed[11], placed[8:11].mean(0))
    assert (placed[4:8] == 0).all()


def test_copies_are_the_given_draws():
    features, shape = make_features(models=2), (2, 3)
    motion, noise = RigidMotion.random(shape, seeded(1)), torch.randn(*shape, 60, 3, generator=seeded(2))
    conformer, sigma = torch.tensor([[0, 1, 1], [1, 0, 0]]), torch.rand(shape, generator=seeded(3)) + 0.1
    copies = noised_copies(features, conformer, sigma, motion, noise)
    torch.testing.assert_close((copies.noisy - copies.target) / sigma[..., None, None], noise, atol=1e-3, rtol=0)
    back = motion.inverse().apply(copies.target)
    torch.testing.assert_close(back, copies.truth, atol=1e-4, rtol=0)
    shown = features.resolved_mask[torch.arange(2)[:, None], conformer]
    assert torch.equal(copies.resolved, shown)
    distances, original = (
        (points[:, None] - points).norm(dim=-1)
        for points in (copies.target[1, 0][shown[1, 0]], features.coords[1, 1][shown[1, 0]])
    )
    torch.testing.assert_close(distances, original, atol=1e-4, rtol=0)


def test_every_model_of_the_ensemble_is_drawn_and_no_other():
    features = make_features(models=4)
    features = replace(features, ensemble_size=torch.tensor([4, 2]))
    conformer = TrainingNoise(copies=4000).draw(features, seeded()).conformer
    counts = torch.stack([torch.bincount(row, minlength=4) for row in conformer])
    assert (counts[0] > 900).all() and (counts[1, :2] > 1900).all() and (counts[1, 2:] == 0).all()


def test_one_model_has_one_truth():
    copies = TrainingNoise(copies=3).draw(make_features(), seeded())
    assert copies.truth.shape == (2, 1, 60, 3) and copies.target.shape == (2, 3, 60, 3)
    assert TrainingNoise(copies=3).draw(make_features(models=2), seeded()).truth.shape == (2, 3, 60, 3)


def test_shared_sigmas_are_shared_within_a_structure_only():
    features = make_features()
    shared = TrainingNoise(copies=4, shared_sigma=True).draw(features, seeded()).sigma
    assert shared.shape == (2, 1) and shared[0, 0] != shared[1, 0]
    assert len(TrainingNoise(copies=4).draw(features, seeded()).sigma.unique()) == 8


def test_a_shared_sigma_has_the_loss_of_one_repeated():
    features = make_features()
    preconditioning = Preconditioning()
    shared = TrainingNoise(copies=4, shared_sigma=True).draw(features, seeded())
    repeated = shared.sigma.expand(2, 4)
    losses = [
        diffusion_loss(
            shared.noisy, shared.target, sigma, features, shared.resolved, preconditioning=preconditioning,
            weights=AtomWeights(), smooth_lddt=None,
        ).total
        for sigma in (shared.sigma, repeated)
    ]  # fmt: skip
    assert torch.equal(*losses)


def test_draws_come_from_the_generator_alone():
    features, recipe = make_features(models=2), TrainingNoise(copies=3)
    before = torch.get_rng_state()
    first, again, other = (recipe.draw(features, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first.noisy, again.noisy) and not torch.equal(first.noisy, other.noisy)


@pytest.mark.parametrize("recipe", [TrainingNoise(copies=3), TrainingNoise(2, shared_sigma=True, augmentation=False)])
def test_copies_drawn_each_by_its_own_generator_know_nothing_of_the_batch(recipe: TrainingNoise):
    """Alone, beside another structure, or in more padding: a structure's copies are the same."""
    structures = random_features(9), random_features(21, seed=1)
    together = recipe.draw_each(Features.stack(structures), [seeded(1), seeded(2)])
    assert together.noisy.shape[2] > structures[0].num_atoms
    for row, structure in enumerate(structures):
        alone = recipe.draw_each(structure, [seeded(row + 1)])
        assert torch.equal(alone.sigma[0], together.sigma[row])
        assert torch.equal(alone.conformer[0], together.conformer[row])
        torch.testing.assert_close(together.noisy[row, :, : structure.num_atoms], alone.noisy[0])


def test_the_error_of_each_copy_averages_to_that_of_the_batch():
    features, training = make_features(), DiffusionTraining(TrainingNoise(copies=4))
    copies = training.noise.draw(features, seeded())
    terms = training.compare(lambda noisy, sigma: noisy * 0.9, features, copies)
    assert terms.copy_mse.shape == (2, 4)
    torch.testing.assert_close(terms.copy_mse.mean(), terms.mse)


def test_no_copies_are_refused():
    with pytest.raises(InputError, match="at least 1"):
        TrainingNoise(copies=0)


def test_loss_of_drawn_copies_is_lower_for_better_predictions():
    features = make_features(models=2)
    copies = TrainingNoise(copies=4).draw(features, seeded())
    losses = [
        diffusion_loss(
            copies.target + error * torch.randn(copies.target.shape, generator=seeded(7)),
            copies.target, copies.sigma, features, copies.resolved, truth=copies.truth, **DEFAULTS,
        ).total.item()
        for error in (0.1, 1.0, 10.0)
    ]  # fmt: skip
    assert losses == sorted(losses)


def test_training_step_prefers_the_ideal_denoiser():
    # For x0 ~ N(0, sd^2) the best prediction from x0 + s eps is c_skip x; both nothing and everything are worse.
    edm, atoms = Preconditioning(12.0), 400
    features = make_features(1, tokens=atoms, per_token=1)
    training = DiffusionTraining(
        TrainingNoise(copies=8, law=LogNormalSigma(mean=0.0, std=0.3, sigma_data=12.0)),
        preconditioning=edm, weights=AtomWeights(0.0, 0.0), smooth_lddt=None,
    )  # fmt: skip
    seen = []

    def loss(denoise):
        return training(denoise, features, seeded(3)).total.item()

    def ideal(noisy: Tensor, sigma: Tensor) -> Tensor:
        seen.append((noisy.shape, sigma.shape))
        return edm.c_skip(sigma)[..., None, None] * noisy

    # In units of the ideal denoiser's own error, c_out^2, which is what the weight divides by; alignment helps a bit.
    assert loss(ideal) == pytest.approx(1.0, rel=0.1)
    assert loss(ideal) < loss(lambda noisy, sigma: noisy) and loss(ideal) < loss(lambda noisy, sigma: noisy * 0)
    assert seen[0] == ((1, 8, atoms, 3), (1, 8))


def test_training_step_gives_a_gradient_and_repeats_exactly():
    features, training, scale = make_features(models=3), DiffusionTraining(TrainingNoise(copies=4)), torch.ones(())
    scale.requires_grad_()
    first, again = (training(lambda x, s: x * scale, features, seeded(2)) for _ in range(2))
    assert first.total == again.total == first.mse + first.smooth_lddt
    first.total.backward()
    assert scale.grad.isfinite() and scale.grad != 0


MEMORY_SCRIPT = """
import resource, torch
from frazil.loss import SmoothLDDT
g = torch.Generator().manual_seed(0)
truth = torch.rand(1, 1, 4000, 3, generator=g) * 40
denoised = (truth + torch.randn(1, 16, 4000, 3, generator=g)).requires_grad_()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
SmoothLDDT()(denoised, truth, torch.zeros(1, 4000, dtype=torch.bool), torch.ones(1, 4000, dtype=torch.bool)).backward()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.slow
def test_smooth_lddt_of_4000_atoms_and_16_copies_stays_below_200_megabytes():
    done = subprocess.run([sys.executable, "-c", MEMORY_SCRIPT], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 200
