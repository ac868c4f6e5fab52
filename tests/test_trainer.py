"""Truths about training: resumed equals never stopped, a step depends on its number alone, errors are one line."""

from __future__ import annotations

import io
import math
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from frazil.checkpoint import load_model, load_tensors
from frazil.data import featurize, read
from frazil.errors import InputError
from frazil.noise import LogNormalSigma
from frazil.trainer import TrainSettings, conductor, read_run, train
from frazil.trainer.batches import Place, StepBatches, bucketed_order, crop_to, epoch_order
from frazil.trainer.conductor import Conductor
from frazil.trainer.levels import NoiseLevels
from frazil.trainer.log import CsvLog, LogRow, plot_loss, read_rows
from frazil.trainer.module import TrainingModule
from frazil.trainer.progress import Reporter, Status
from frazil.trainer.schedule import LearningRate
from frazil.trainer.settings import first_difference
from frazil.trainer.start import first_model
from frazil.trainer.validation import held_out, validate
from tiny_run import TINY, loss_columns, run_quietly, single_thread, tiny_settings, write_ensemble


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    with single_thread():
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ensemble(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three structures of unlike sizes."""
    out = tmp_path_factory.mktemp("many")
    for sequence, models in (("AGSV", 2), ("GGWAPK", 1), ("LV", 3)):
        write_ensemble(out, sequence, models)
    return out


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 12 steps that nothing disturbed."""
    out = tmp_path_factory.mktemp("finished") / "run"
    run_quietly(data, out, tiny_settings(checkpoint_steps=4))
    return out


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_tensors(out / "model.safetensors")[0]


def assert_same_run(out: Path, other: Path) -> None:
    assert loss_columns(out) == loss_columns(other)
    ours, theirs = weights(out), weights(other)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from frazil.trainer.conductor import Conductor
from tiny_run import run_quietly, tiny_settings
torch.set_num_threads(1)
after = Conductor.on_train_batch_end
def deadly(self, trainer, module, *rest):
    after(self, trainer, module, *rest)
    if module.steps == 10:
        os.kill(os.getpid(), signal.SIGKILL)
Conductor.on_train_batch_end = deadly
run_quietly(Path(sys.argv[1]), Path(sys.argv[2]), tiny_settings(checkpoint_steps=4))
"""


def test_a_killed_run_resumes_bit_for_bit(data: Path, finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    paths = [str(Path(__file__).parent), *sys.path]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(data), str(out)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert len(read_rows(out / "log.csv")) == 10
    result = run_quietly(data, out, tiny_settings(checkpoint_steps=4), resume=True)
    assert (result.steps, result.stopped) == (12, "steps")
    assert [row[0] for row in read_rows(out / "log.csv")] == [str(step) for step in range(1, 13)]
    assert_same_run(out, finished)


def test_a_run_in_two_sessions_equals_one_in_one(data: Path, tmp_path: Path) -> None:
    """Without a decay the budget does not act on the steps, so a longer one may follow."""
    settings = tiny_settings(decay_fraction=0.0, max_steps=6, accumulate=2)
    run_quietly(data, tmp_path / "one", settings)
    run_quietly(data, tmp_path / "two", replace(settings, max_steps=4))
    run_quietly(data, tmp_path / "two", settings, resume=True)
    assert_same_run(tmp_path / "two", tmp_path / "one")


def test_the_seed_decides_the_run_and_the_global_generator_does_not(data: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        torch.manual_seed(hash(name) % 1000)
        state = torch.get_rng_state()
        run_quietly(data, tmp_path / name, tiny_settings(max_steps=2, seed=seed))
        assert torch.equal(torch.get_rng_state(), state)
    assert_same_run(tmp_path / "a", tmp_path / "b")
    assert loss_columns(tmp_path / "a") != loss_columns(tmp_path / "c")


def test_a_run_leaves_a_model_a_log_a_plot_and_its_record(finished: Path, data: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    assert names == {"model.safetensors", "last.ckpt", "log.csv", "noise.csv", "loss.png", "run.json"}
    _, record = load_model(finished)
    assert record.entities == ("protein:ALA-GLY-SER-VAL",)
    assert (record.steps, record.structures, record.config) == (12, 1, TINY)
    assert (finished / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert read_run(finished).paths == (data,)


def test_training_lowers_the_loss(data: Path, tmp_path: Path) -> None:
    run_quietly(data, tmp_path / "run", tiny_settings(max_steps=60, copies=8, learning_rate=3e-3, seed=1))
    loss = [float(row[3]) for row in read_rows(tmp_path / "run" / "log.csv")]
    assert np.mean(loss[-15:]) < 0.9 * np.mean(loss[:15])


def test_accumulation_sums_the_gradients_of_its_batches(data: Path) -> None:
    """Two micro-batches of one copy give the mean of their two gradients."""
    settings = tiny_settings(accumulate=2, copies=1)
    features = featurize(read(data))
    module = TrainingModule(_model(), [features], settings)
    first, second = StepBatches([features], settings, first_step=0, rank=0, world_size=1).at(0)
    assert not torch.equal(first.ref_pos, second.ref_pos)
    gradients = []
    for batch in ((first,), (second,), (first, second)):
        module.zero_grad()
        for part in batch:
            place = Place(settings.seed, 1 if part is second else 0)
            (module._terms(part, [place]).total / len(batch)).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None]))
    torch.testing.assert_close(gradients[2], (gradients[0] + gradients[1]) / 2, rtol=1e-3, atol=1e-6)


def _model():
    return first_model(tiny_settings())


# --- what a step trains on -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def structures(folder: Path):
    return [featurize(read(path)) for path in sorted(folder.glob("*.cif"))]


def test_a_batch_depends_on_its_step_alone(structures) -> None:
    settings = tiny_settings(batch_size=2, accumulate=2, crop_tokens=3)
    batches = StepBatches(structures, settings, first_step=0, rank=0, world_size=1)
    late = StepBatches(structures, settings, first_step=5, rank=0, world_size=1)
    from_start = [batch for batch, _ in zip(batches, range(7), strict=False)]
    from_five = [batch for batch, _ in zip(late, range(2), strict=False)]
    for one, other in zip(from_start[5:], from_five, strict=True):
        assert all(torch.equal(a.ref_pos, b.ref_pos) for a, b in zip(one, other, strict=True))
    assert not torch.equal(from_start[0][0].ref_pos, from_start[3][0].ref_pos)
    assert all(f.batch_size == 2 and f.num_tokens <= 3 for batch in from_start for f in batch)


def test_a_part_of_the_references_is_turned() -> None:
    ligand = featurize(read("CC(C)Cc1ccc(cc1)C(C)C(=O)O"))

    def shapes(share: float) -> list[torch.Tensor]:
        batches = StepBatches(
            [ligand], tiny_settings(turned_references=share, crop_tokens=100), first_step=0, rank=0, world_size=1
        )
        return [torch.pdist(f.ref_pos[0, :15]) for step in range(60) for f in batches.at(step)]

    own = torch.pdist(ligand.ref_pos[0])
    assert all(torch.allclose(shape, own, atol=1e-3) for shape in shapes(0.0))
    assert not any(torch.allclose(shape, own, atol=1e-2) for shape in shapes(1.0))
    assert 10 < sum(torch.allclose(shape, own, atol=1e-3) for shape in shapes(0.6)) < 38


def test_every_structure_is_seen_once_an_epoch_and_processes_share_them() -> None:
    for epoch in range(3):
        assert sorted(epoch_order(4, epoch, 7)) == list(range(7))
    assert epoch_order(4, 0, 7) != epoch_order(4, 1, 7)
    settings = tiny_settings(crop_tokens=100)
    ranks = [
        StepBatches(_Sizes((5, 3, 9, 5, 9, 3)), settings, first_step=0, rank=rank, world_size=2) for rank in (0, 1)
    ]
    places = [place for b in ranks for step in range(3) for place in b._share.places(step, 0)]
    seen = [ranks[0]._index(place.position) for place in places]
    assert sorted(seen) == list(range(6))


def test_batches_hold_structures_of_like_size_and_each_epoch_nearly_all() -> None:
    generator = torch.Generator().manual_seed(0)
    sizes = tuple(torch.randint(5, 41, (1003,), generator=generator).tolist())
    order = bucketed_order(1, 0, sizes, 8)
    assert len(order) == 1000 == len(set(order))
    assert order != bucketed_order(1, 1, sizes, 8)
    spans = [
        max(batch) - min(batch) for batch in (tuple(sizes[i] for i in order[k : k + 8]) for k in range(0, 1000, 8))
    ]
    assert sorted(spans)[len(spans) // 2] <= 2
    # and their order tells nothing of their size
    means = [sum(sizes[i] for i in order[k : k + 8]) / 8 for k in range(0, 512, 8)]
    assert abs(torch.corrcoef(torch.tensor([means, list(range(64))]))[0, 1]) < 0.4


def test_the_order_is_the_same_wherever_one_begins_and_each_epoch_s_is_made_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes, settings = tuple(range(5, 28)), tiny_settings(batch_size=2, accumulate=2, seed=3)
    expected = [index for epoch in range(3) for index in bucketed_order(3, epoch, sizes, 4)]
    made = []
    noted = lambda *asked: (made.append(asked[1]), bucketed_order(*asked))[1]  # noqa: E731
    monkeypatch.setattr("frazil.trainer.batches.bucketed_order", noted)
    for first_step in (0, 3, 8):
        made.clear()
        begun = StepBatches(_Sizes(sizes), settings, first_step=first_step, rank=0, world_size=1)
        assert [begun._index(position) for position in range(4 * first_step, 60)] == expected[4 * first_step :]
        assert made == list(range(4 * first_step // 20, 3))
    assert begun._index(7) == expected[7], "back again"


class _Sizes:
    """Structures of which nothing but the size is known."""

    def __init__(self, num_tokens) -> None:
        self.num_tokens = num_tokens


def test_workers_give_the_same_batches_in_the_same_order(structures) -> None:
    settings = tiny_settings(crop_tokens=3)
    loaders = []
    for workers in (0, 2):
        module = TrainingModule(_model(), structures, replace(settings, num_workers=workers))
        batches = StepBatches(structures, settings, first_step=1, rank=0, world_size=1)
        loaders.append(torch.utils.data.DataLoader(batches, batch_size=None, num_workers=workers))
        del module
    for _, (one,), (other,) in zip(range(4), *loaders, strict=False):
        assert torch.equal(one.ref_pos, other.ref_pos)


def test_crops_are_of_both_kinds_and_hold_resolved_atoms(structures) -> None:
    whole = max(structures, key=lambda f: f.num_tokens)
    resolved = torch.zeros_like(whole.resolved_mask)
    resolved[..., -8:] = True
    whole = replace(whole, resolved_mask=resolved)
    generator = torch.Generator().manual_seed(0)
    crops = [crop_to(whole, 2, generator) for _ in range(30)]
    assert all(crop.num_tokens == 2 for crop in crops)
    assert sum(bool(crop.resolved_mask.any()) for crop in crops) >= 28
    assert crop_to(whole, 100, generator) is whole


# --- learning rate -------------------------------------------------------------------------------------------------


def test_the_rate_rises_holds_and_falls_to_zero() -> None:
    rate = LearningRate(2.0, warmup_steps=9, decay_fraction=0.25)
    seen = []
    for step in range(101):
        rate = rate.begin(step, elapsed=1e9, max_steps=100)
        seen.append(rate.at(step))
    assert seen[:3] == pytest.approx([0.2, 0.4, 0.6])
    assert set(seen[9:76]) == {2.0}
    assert seen[76:] == pytest.approx(np.linspace(2.0, 0.0, 26)[1:])


def test_the_clock_decides_the_decay_once() -> None:
    rate = LearningRate(1.0, 0, 0.5)
    early = rate.begin(10, 4.0, max_seconds=10.0, steps_per_second=2.0)
    assert early.decay_start is None
    begun = rate.begin(12, 5.0, max_seconds=10.0, steps_per_second=2.0)
    assert (begun.decay_start, begun.decay_steps) == (12, 10)
    assert begun.begin(15, 9.0, max_seconds=10.0, steps_per_second=7.0) == begun
    assert rate.begin(12, 5.0, max_seconds=10.0, steps_per_second=0.0) == rate
    assert begun.renew() == rate


# --- the folder ----------------------------------------------------------------------------------------------------


def refuses(data: Path | list[Path], out: Path, settings: TrainSettings, *words: str, **options) -> None:
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} if out.is_dir() else {}
    with pytest.raises(InputError) as caught:
        run_quietly(data, out, settings, **options)
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words), caught.value
    assert all(path.read_bytes() == content for path, content in before.items())


def test_a_folder_with_results_is_left_alone(finished: Path, data: Path, tmp_path: Path) -> None:
    refuses(data, finished, tiny_settings(), "not empty", "--resume")
    (tmp_path / "file").touch()
    refuses(data, tmp_path / "file", tiny_settings(), "cannot be made a folder")
    (tmp_path / "empty").mkdir()
    refuses(data, tmp_path / "empty", tiny_settings(), "nothing to resume", resume=True)


def test_resuming_something_else_is_refused_by_name(finished: Path, data: Path, folder: Path, tmp_path: Path) -> None:
    settings = tiny_settings(checkpoint_steps=4)
    refuses(data, finished, replace(settings, copies=3), "copies was 2, now 3", resume=True)
    wider = replace(TINY, network=replace(TINY.network, token_s=32))
    refuses(data, finished, replace(settings, model=wider), "network.token_s was 16, now 32", resume=True)
    refuses(folder, finished, settings, "1 structures then, 3 now", resume=True)
    other = write_ensemble(tmp_path, models=3)
    refuses(other, finished, settings, "AGSV has changed", resume=True)
    assert first_difference(settings, replace(settings, max_steps=99, val_steps=7)) is None


def test_a_finished_run_has_nothing_left_to_do(finished: Path, data: Path) -> None:
    before = (finished / "log.csv").read_bytes()
    result = run_quietly(data, finished, tiny_settings(checkpoint_steps=4), resume=True)
    assert (result.steps, result.stopped) == (12, "steps")
    assert (finished / "log.csv").read_bytes() == before


def test_damaged_state_is_refused(finished: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    for path in finished.iterdir():
        (out / path.name).write_bytes(path.read_bytes())
    (out / "last.ckpt").write_bytes((finished / "last.ckpt").read_bytes()[:1000])
    refuses(data, out, tiny_settings(checkpoint_steps=4), "last.ckpt", "truncated", resume=True)
    (out / "run.json").write_text("{")
    refuses(data, out, tiny_settings(), "run.json", "damaged", resume=True)


def test_data_that_cannot_be_trained_on_is_refused(tmp_path: Path, data: Path) -> None:
    fasta = tmp_path / "x.fasta"
    fasta.write_text(">A|protein\nAG\n")
    refuses(fasta, tmp_path / "run", tiny_settings(), "x.fasta", "no atom with coordinates")
    refuses(data, tmp_path / "run", tiny_settings(), "x.fasta", "validate", val_data=[fasta])
    refuses(data, tmp_path / "run", tiny_settings(), "at least two structures", val_fraction=0.5)
    refuses(data, tmp_path / "run", tiny_settings(), "--val-fraction 1.5", val_fraction=1.5)
    refuses(data, tmp_path / "run", tiny_settings(), "exclude each other", val_fraction=0.5, val_data=[data])
    with pytest.raises(InputError, match="sigma_data"):
        replace(TINY, sigma_data=-1.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_steps", 0), ("max_minutes", -1.0), ("learning_rate", math.nan), ("copies", 0), ("decay_fraction", 1.0),
     ("turned_references", 1.5)],
)  # fmt: skip
def test_a_value_out_of_range_is_named(name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"{name} = {value}"):
        TrainSettings(**{name: value})


def test_settings_survive_json() -> None:
    settings = tiny_settings(max_minutes=1.5, smooth_lddt=False)
    assert TrainSettings.from_dict(settings.to_dict()) == settings
    with pytest.raises(InputError, match="colour"):
        TrainSettings.from_dict({"colour": 1})


# --- mishaps -------------------------------------------------------------------------------------------------------


def test_steps_that_are_not_finite_are_skipped_and_counted(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = TrainingModule._terms

    def spoiled(self, features, places):
        terms = honest(self, features, places)
        return replace(terms, total=terms.total * (math.nan if self.steps in (2, 3) else 1.0))

    monkeypatch.setattr(TrainingModule, "_terms", spoiled)
    result = run_quietly(data, tmp_path / "run", tiny_settings(max_steps=6))
    assert (result.steps, result.skipped) == (6, 2)
    rows = read_rows(tmp_path / "run" / "log.csv")
    assert [row[-1] for row in rows] == ["0", "0", "1", "2", "2", "2"]
    assert [row[3] for row in rows].count("nan") == 2
    _, record = load_model(tmp_path / "run")
    assert record.skipped == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_with_a_whole_checkpoint(
    data: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    honest = TrainingModule.training_step

    def interrupted(self, batch, batch_idx):
        if self.steps == 5:
            os.kill(os.getpid(), number)
        honest(self, batch, batch_idx)

    before = signal.getsignal(number)
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(TrainingModule, "training_step", interrupted)
        result = run_quietly(data, out, tiny_settings(checkpoint_steps=4))
    assert (result.stopped, result.signal, result.steps) == ("signal", number, 6)
    assert "--resume" in result.text()
    assert signal.getsignal(number) is before
    run_quietly(data, out, tiny_settings(checkpoint_steps=4), resume=True)
    assert_same_run(out, finished)


def test_a_full_disk_is_one_line_and_the_earlier_checkpoint_is_whole(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, kept = tmp_path / "run", {}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    honest = TrainingModule.training_step

    def filling(self, batch, batch_idx):
        if self.steps == 5:
            kept.update({name: (out / name).read_bytes() for name in ("last.ckpt", "model.safetensors")})
            resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))
        honest(self, batch, batch_idx)

    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    monkeypatch.setattr(TrainingModule, "training_step", filling)
    try:
        with pytest.raises(InputError, match=r"last\.ckpt: cannot be written"):
            run_quietly(data, out, tiny_settings(checkpoint_steps=4))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert {name: (out / name).read_bytes() for name in kept} == kept
    assert len(kept) == 2


def test_a_time_limit_is_kept_and_counts_over_sessions(data: Path, tmp_path: Path) -> None:
    settings = tiny_settings(max_steps=None, max_minutes=8 / 60)
    begun = time.monotonic()
    result = run_quietly(data, tmp_path / "run", settings)
    assert result.stopped == "time"
    assert time.monotonic() - begun < 9.5
    lr = [float(row[2]) for row in read_rows(tmp_path / "run" / "log.csv")]
    assert lr[-1] < 0.6 * max(lr)
    again = run_quietly(data, tmp_path / "run", settings, resume=True)
    assert again.steps - result.steps <= 2
    longer = run_quietly(data, tmp_path / "run", replace(settings, max_minutes=13 / 60), resume=True)
    assert longer.steps > again.steps


def test_a_run_too_short_for_a_step_takes_one(data: Path, tmp_path: Path) -> None:
    result = run_quietly(data, tmp_path / "run", tiny_settings(max_steps=None, max_minutes=1e-6))
    assert (result.steps, result.stopped) == (1, "time")
    assert load_model(tmp_path / "run")[1].steps == 1


def test_an_error_takes_the_bar_away(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = []
    monkeypatch.setattr(Reporter, "stop", lambda self: stopped.append(True))
    monkeypatch.setattr(TrainingModule, "_terms", lambda *anything: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run_quietly(data, tmp_path / "run", tiny_settings())
    assert stopped


def test_a_second_interrupt_ends_the_run_at_once(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = TrainingModule.training_step

    def interrupted(self, batch, batch_idx):
        honest(self, batch, batch_idx)
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(TrainingModule, "training_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_quietly(data, tmp_path / "run", tiny_settings())
    assert signal.getsignal(signal.SIGINT) is before


# --- log, plot, progress, validation -------------------------------------------------------------------------------


def row(step: int) -> LogRow:
    return LogRow(step, 1.5, 1e-3, 0.1 + 0.2, 0.25, 0.5, 1.0, 0)


def test_the_log_keeps_all_digits_and_no_step_twice(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    log = CsvLog(path)
    for step in range(1, 6):
        log.write(row(step))
    log.close()
    with path.open("a") as file:
        file.write("6,1.0,0.0")
    assert read_rows(path)[0] == ["1", "1.500", "0.001", "0.30000000000000004", "0.25", "0.5", "1.0", "0"]
    assert len(read_rows(path)) == 5
    log = CsvLog(path, last_step=3)
    log.write(row(4))
    log.sync()
    log.close()
    assert [cells[0] for cells in read_rows(path)] == ["1", "2", "3", "4"]


def test_noise_levels_hold_every_finite_copy_once() -> None:
    law = LogNormalSigma(mean=-1.2, std=1.5, sigma_data=3.0)
    levels = NoiseLevels(law)
    sigma = law.sample((20, 50), torch.Generator().manual_seed(0))
    mse = sigma.clone()
    mse[0, 0] = math.nan
    levels.add(sigma[:10], mse[:10])
    levels.add(sigma[10:], mse[10:])
    rows = list(levels.take(7))
    assert sum(row.count for row in rows) == 999
    # in a level where the error is the sigma, its mean lies in the level; the outermost hold what lies beyond, too
    assert all(row.sigma_low <= row.mse <= row.sigma_high for row in rows[1:-1])
    assert all(row.step == 7 for row in rows)
    assert list(levels.take(8)) == []
    ratios = {round(row.sigma_high / row.sigma_low, 4) for row in rows}
    assert len(ratios) == 1


def test_a_shared_noise_level_counts_for_all_copies() -> None:
    levels = NoiseLevels(LogNormalSigma(sigma_data=1.0))
    levels.add(torch.tensor([[0.3], [1e9]]), torch.ones(2, 4))
    assert [row.count for row in levels.take(1)] == [4, 4]


def test_noise_rows_take_the_loss_apart(finished: Path) -> None:
    rows = read_rows(finished / "noise.csv", 5)
    copies = [int(row[4]) for row in rows]
    assert sum(copies) == 12 * 2
    # at each checkpoint; that after step 6 keeps where the decay begins
    assert {row[0] for row in rows} == {"4", "6", "8", "12"}
    mse = sum(float(row[3]) * count for row, count in zip(rows, copies, strict=True)) / sum(copies)
    assert mse == pytest.approx(np.mean([float(row[4]) for row in read_rows(finished / "log.csv")]), rel=1e-5)


def test_a_plot_of_nothing_or_of_nan_is_no_error(tmp_path: Path) -> None:
    CsvLog(tmp_path / "log.csv").close()
    plot_loss(tmp_path / "log.csv", tmp_path / "loss.png")
    assert not (tmp_path / "loss.png").exists()
    log = CsvLog(tmp_path / "log.csv")
    log.write(replace(row(1), loss=math.nan))
    log.write(replace(row(2), loss=-1.0))
    log.close()
    plot_loss(tmp_path / "log.csv", tmp_path / "loss.png")
    assert (tmp_path / "loss.png").stat().st_size > 1000


def test_progress_is_a_line_now_and_then_away_from_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("frazil.trainer.progress.time.monotonic", lambda: now[0])
    text = io.StringIO()
    reporter = Reporter(Console(file=text))
    reporter.start()
    for step in range(1, 301):
        now[0] = step / 10
        reporter.update(Status(step, now[0], 0.5, 10.0, 60.0, 0.1))
    reporter.stop()
    assert len(text.getvalue().splitlines()) == 3
    assert "step 20  loss 0.5000  10.0 step/s  1:00 left" in text.getvalue()


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frazil.trainer.progress.BAR_SECONDS", 0.0)
    text = io.StringIO()
    reporter = Reporter(Console(file=text, force_terminal=True, width=120))
    reporter.start()
    reporter.update(Status(3, 1.0, 0.25, 2.0, math.inf, math.nan))
    reporter.stop()
    assert "step 3  loss 0.2500" in text.getvalue()


def test_a_run_says_what_it_validates_on(data: Path, folder: Path, tmp_path: Path) -> None:
    said = {}
    for name, paths, options in (
        ("itself", [data], {}),
        ("many", [folder], {}),
        ("part", [folder], {"val_fraction": 0.3}),
        ("other", [folder], {"val_data": [data]}),
    ):
        text = io.StringIO()
        result = train(
            paths, tmp_path / name, tiny_settings(max_steps=1), console=Console(file=text, width=200), **options
        )
        said[name] = text.getvalue()
        assert (result.validation is None) == (name == "many")
    assert "validation on the training structure itself" in said["itself"]
    assert "no validation" in said["many"]
    assert "on 1 structure(s) held out" in said["part"]
    assert "median RMSD" in said["other"]


def test_validation_of_the_same_weights_gives_the_same_numbers(data: Path) -> None:
    settings, features = tiny_settings(), featurize(read(data))
    chosen = [("x", held_out(features, "x", settings))]
    model = _model()
    first, second = (validate(model, chosen, settings, torch.device("cpu")) for _ in range(2))
    assert first == second
    assert first.samples == 2
    assert first.rmsd > 0
    assert model.training


def test_validation_scores_a_perfect_denoiser_as_perfect(data: Path) -> None:
    """A denoiser that knows the first model is sampled to it, whatever the frame."""
    from types import SimpleNamespace

    from frazil.geometry import rigid_align

    settings, features = tiny_settings(val_steps=30), featurize(read(data))
    honest = _model()

    class Perfect(torch.nn.Module):
        config, prepare = honest.config, staticmethod(honest.prepare)

        def condition(self, prepared):
            return prepared

        @property
        def denoiser(self):
            def bind(prepared, compute):
                target, mask = prepared.coords[:, :1], prepared.atom_mask[:, None]
                return lambda coords, sigma: rigid_align(
                    target.expand_as(coords), coords, mask.expand(coords.shape[:-1])
                )

            return SimpleNamespace(bind=bind)

    result = validate(Perfect(), [("x", held_out(features, "x", settings))], settings, torch.device("cpu"))
    assert result.rmsd < 0.05
    assert result.lddt > 0.99


def test_the_first_checkpoint_comes_soon(monkeypatch: pytest.MonkeyPatch, data: Path, tmp_path: Path) -> None:
    monkeypatch.setattr(conductor, "FIRST_CHECKPOINT_SECONDS", 0.0)
    saved = []
    honest = Conductor._save
    monkeypatch.setattr(Conductor, "_save", lambda self, t, m: (saved.append(m.steps), honest(self, t, m)))
    run_quietly(data, tmp_path / "run", tiny_settings(max_steps=4, decay_fraction=0.0))
    assert saved == [1, 4]
