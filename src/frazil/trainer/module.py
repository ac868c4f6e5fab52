"""One optimiser step: the Lightning module around a `StructureModel`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor
from torch.utils.data import DataLoader

from frazil.checkpoint import EMA
from frazil.denoiser import StructureModel
from frazil.features import Features
from frazil.geometry import rigid_align
from frazil.loss import AtomWeights, DiffusionLoss, DiffusionTraining, SmoothLDDT, TrainingNoise
from frazil.nn.compute import Compute
from frazil.noise import LogNormalSigma
from frazil.trainer.batches import Place, Share, StepBatches, Structures
from frazil.trainer.levels import NoiseLevels
from frazil.trainer.precision import forward_products
from frazil.trainer.schedule import LearningRate
from frazil.trainer.settings import TrainSettings
from frazil.trainer.sharding import FullyShardedStrategy, divided_like, gathered, shard, whole


@dataclass(frozen=True)
class StepResult:
    """Numbers of one optimiser step."""

    loss: float
    mse: float
    smooth_lddt: float
    grad_norm: float
    lr: float

    @property
    def finite(self) -> bool:
        """Whether the step could be taken."""
        return math.isfinite(self.loss) and math.isfinite(self.grad_norm)


class TrainingModule(LightningModule):
    """Computes loss and gradient, takes the step, follows it with the running mean.

    A Lightning batch is one whole optimiser step (a tuple of micro-batches), so every count is a count of steps.
    Optimisation is manual: that is where accumulation, clipping and the skipping of non-finite steps live.

    Parameters
    ----------
    model : StructureModel
        The model to train.
    structures : Structures or sequence of Features
        One structure each, unpadded.
    settings : TrainSettings
        Choices of the run.
    """

    def __init__(
        self, model: StructureModel, structures: Structures | Sequence[Features], settings: TrainSettings
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model = model
        self.settings = settings
        self.steps = 0
        """Finished steps, skipped ones included."""
        self.skipped = 0
        """Steps left out because something was not finite."""
        self.elapsed = 0.0
        """Seconds of training at the last checkpoint."""
        self.rate = LearningRate(settings.learning_rate, settings.warmup_steps, settings.decay_fraction)
        self.last: StepResult | None = None
        """Numbers of the latest step."""
        self.ema: EMA | None = None
        law = LogNormalSigma(settings.sigma_mean, settings.sigma_std, model.config.sigma_data)
        self.levels = NoiseLevels(law)
        """Errors by noise level since they were last taken."""
        self._structures = structures
        self._compute = Compute(settings.precision)
        self._recipe = DiffusionTraining(
            TrainingNoise(settings.copies, law, settings.synchronize_sigmas, model.config.coordinate_augmentation),
            preconditioning=model.denoiser.preconditioning,
            weights=AtomWeights(nucleotide=settings.nucleotide_weight, ligand=settings.ligand_weight),
            smooth_lddt=SmoothLDDT() if settings.smooth_lddt else None,
            plddt_threshold=settings.plddt_threshold,
            align=rigid_align if model.config.coordinate_augmentation else None,
        )
        self._ema_state: dict[str, Any] | None = None

    def configure_model(self) -> None:
        """Divide the weights among the processes, where the strategy is to."""
        if isinstance(self.trainer.strategy, FullyShardedStrategy):
            shard(self.model, self.trainer.strategy.device_mesh["data_parallel"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW, in one fused kernel."""
        chosen = self.settings
        self._trained = [p for p in self.model.parameters() if p.requires_grad]
        self._optimizer = torch.optim.AdamW(
            self._trained, lr=chosen.learning_rate, betas=(chosen.beta1, chosen.beta2),
            weight_decay=chosen.weight_decay, fused=True,
        )  # fmt: skip
        return self._optimizer

    def train_dataloader(self) -> DataLoader[tuple[Features, ...]]:
        """Batches from the present step on."""
        batches = StepBatches(
            self._structures, self.settings, first_step=self.steps, rank=self.global_rank,
            world_size=self.trainer.world_size,
        )  # fmt: skip
        # a generator of its own: the loader would draw a seed from the global one
        return DataLoader(batches, batch_size=None, num_workers=self.settings.num_workers, generator=torch.Generator())

    def transfer_batch_to_device(
        self, batch: tuple[Features, ...], device: torch.device, dataloader_idx: int
    ) -> tuple[Features, ...]:
        """Move the features; Lightning itself cannot rebuild frozen records."""
        return batch if device.type == "cpu" else tuple(features.to(device) for features in batch)

    def on_train_start(self) -> None:
        """Begin the running mean, where the weights have reached their device."""
        self.ema = EMA(self.model, self.settings.ema_decay)
        if self._ema_state is not None:
            present, stored = self.ema.weights(), self._ema_state["mean"]
            mean = {name: divided_like(stored[name], present.get(name, stored[name])) for name in stored}
            self.ema.load_state({**self._ema_state, "mean": mean})
            self._ema_state = None

    def training_step(self, batch: tuple[Features, ...], batch_idx: int) -> None:
        """One optimiser step."""
        assert self.ema is not None
        lr = self.rate.at(self.steps)
        total = torch.zeros(4, device=self.device)
        share = Share(self.settings, self.global_rank, self.trainer.world_size)
        for micro, features in enumerate(batch):
            terms = self._terms(features, share.places(self.steps, micro))
            self.manual_backward(terms.total / len(batch))
            total[:3] += torch.stack([terms.total, terms.mse, terms.smooth_lddt]).detach() / len(batch)
        total[3] = whole(torch.nn.utils.clip_grad_norm_(self._trained, self.settings.gradient_clip))
        if self.trainer.world_size > 1:
            # one process's NaN makes the mean NaN, so all agree to skip
            total = self.trainer.strategy.reduce(total, reduce_op="mean")
        loss, mse, smooth_lddt, grad_norm = total.tolist()
        self.last = StepResult(loss, mse, smooth_lddt, grad_norm, lr)
        if self.last.finite:
            for group in self._optimizer.param_groups:
                group["lr"] = lr
            self._optimizer.step()
            self.ema.update()
        else:
            self.skipped += 1
        self._optimizer.zero_grad(set_to_none=True)
        self.steps += 1

    def _terms(self, features: Features, places: Sequence[Place]) -> DiffusionLoss:
        """Loss of one micro-batch; the trunk runs once for all copies."""
        prepared = self.model.prepare(features)
        copies = self._recipe.noise.draw_each(prepared, [place.generator("noise") for place in places])
        with forward_products(self._compute, self.device):
            terms = self._recipe.compare(partial(self.model, prepared), prepared, copies)
        self.levels.add(copies.sigma, terms.copy_mse)
        return terms

    def averaged_weights(self, *, keep: bool) -> dict[str, Tensor]:
        """The state of the model with the running mean in it, whole; all processes call this together.

        Parameters
        ----------
        keep : bool
            Whether this process wants it; for others it is empty.
        """
        assert self.ema is not None
        return gathered({**self.model.state_dict(), **self.ema.weights()}.items(), keep=keep)

    @contextmanager
    def averaged(self, *, keep: bool) -> Iterator[StructureModel]:
        """The model with the running mean of its weights, for the time of the block; all processes enter together.

        Where the weights are divided it is a copy, for the processes with `keep`.
        """
        assert self.ema is not None
        if not isinstance(self.trainer.strategy, FullyShardedStrategy):
            with self.ema.applied():
                yield self.model
            return
        weights = self.averaged_weights(keep=keep)
        with torch.random.fork_rng(devices=[]):
            copy = StructureModel(self.model.config)
        if keep:
            copy.load_state_dict(weights)
        yield copy.to(self.device)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what Lightning does not know of."""
        assert self.ema is not None
        checkpoint["frazil"] = {
            "steps": self.steps,
            "skipped": self.skipped,
            "elapsed": self.elapsed,
            "rate": asdict(self.rate),
            "budget": (self.settings.max_minutes, self.settings.max_steps),
            "ema": {**self.ema.state(), "mean": gathered(self.ema.weights().items(), keep=self.global_rank == 0)},
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take it back."""
        state = checkpoint["frazil"]
        self.steps, self.skipped, self.elapsed = state["steps"], state["skipped"], state["elapsed"]
        self.rate = LearningRate(**state["rate"])
        if state["budget"] != (self.settings.max_minutes, self.settings.max_steps):
            self.rate = self.rate.renew()
        self._ema_state = state["ema"]
