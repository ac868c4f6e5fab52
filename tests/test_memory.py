"""Truths about memory: what there is, what is needed, and a run under a limit that ends well and changes nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from frazil.checkpoint import RunRecord, save_model
from frazil.denoiser import ModelConfig, StructureModel
from frazil.nn.compute import Compute
from frazil.nn.config import NetworkConfig, TrunkConfig
from frazil.nn.footprint import Footprint
from frazil.predictor.available import available_memory
from frazil.predictor.memory import MemoryPlan

HERE = Path(__file__).parent
MIB = 1 << 20
CPU = torch.device("cpu")
MACHINE = {"proc/meminfo": "MemTotal: 9000 kB\nMemFree: 100 kB\nMemAvailable: 4000 kB\n"}
LIMITS = """Limit                     Soft Limit           Hard Limit           Units
Max data size             {data}            unlimited            bytes
Max address space         {space}           9999999999999        bytes
"""
V2 = {
    "proc/self/cgroup": "0::/jobs/mine\n",
    "sys/fs/cgroup/jobs/mine/memory.max": "max\n",
    "sys/fs/cgroup/jobs/mine/memory.current": "5000\n",
    "sys/fs/cgroup/jobs/memory.max": "900000\n",
    "sys/fs/cgroup/jobs/memory.current": "600000\n",
    "sys/fs/cgroup/jobs/memory.stat": "anon 500000\ninactive_file 1000\n",
}
V1 = {
    "proc/self/cgroup": "9:cpu,cpuacct:/else\n4:hugetlb,memory:/docker/unseen\n0::/\n",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": "800000\n",
    "sys/fs/cgroup/memory/memory.usage_in_bytes": "750000\n",
    "sys/fs/cgroup/memory/memory.stat": "inactive_file 7\ntotal_inactive_file 20000\n",
}
HIGH = {"sys/fs/cgroup/jobs/mine/memory.high": "9000\n"}
UNLIMITED = V1 | {"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}
NONSENSE = {"proc/self/cgroup": "4:memory\n::::\n\x00", "proc/self/limits": "Max address space\n"}
FEW_LAYERS = ModelConfig(
    network=NetworkConfig(
        token_s=16, token_z=8, atom_s=64, atom_z=4, dim_fourier=8, atom_encoder_depth=1, atom_encoder_heads=2,
        token_transformer_depth=1, token_transformer_heads=2, atom_decoder_depth=1, atom_decoder_heads=2,
        conditioning_transition_layers=1,
    ),
    trunk=TrunkConfig(depth=1, heads=2, atom_s=16),
)  # fmt: skip


def machine(folder: Path, files: dict[str, str]) -> Path:
    """A made-up root folder."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        (MACHINE, 4000 << 10),
        (MACHINE | V2, 301_000),
        (MACHINE | V2 | HIGH, 4000),
        (MACHINE | V1, 70_000),
        (MACHINE | UNLIMITED, 4000 << 10),
        (MACHINE | NONSENSE, 4000 << 10),
    ],
)
def test_the_tightest_limit_counts(tmp_path: Path, files: dict[str, str], expected: int | None) -> None:
    assert available_memory(CPU, machine(tmp_path, files)) == expected


def test_limits_of_the_process_count_less_what_it_has_and_what_threads_map(tmp_path: Path) -> None:
    status = {"proc/self/status": "VmPeak: 9 kB\nVmSize: 1048576 kB\nVmData: 2048 kB\n"}
    found = []
    for data, space in (("unlimited", "unlimited"), (8 << 30, "unlimited"), (8 << 30, 6 << 30), (0, 0)):
        files = status | {"proc/self/limits": LIMITS.format(data=data, space=space)}
        found.append(available_memory(CPU, machine(tmp_path, files)))
    threads = torch.get_num_threads() * (136 << 20)
    assert found == [None, (8 << 30) - (2 << 20) - threads, (5 << 30) - threads, 0]


def test_of_this_machine_there_is_some() -> None:
    found = available_memory(CPU)
    assert found is None or found > 1 << 20


# --- what is needed -------------------------------------------------------------------------------------------------


def alone(command: list[object]) -> subprocess.CompletedProcess[str]:
    """A command with one thread, each of which maps memory of its own."""
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, env=env)


def peak(preset: str, precision: str, num_tokens: int, num_atoms: int, num_samples: int) -> tuple[int, int]:
    """Bytes measured at the peak of sampling, in a process of its own, and estimated."""
    words = (preset, precision, num_tokens, num_atoms, num_samples)
    done = alone([sys.executable, HERE / "measured_memory.py", *words])
    assert done.returncode == 0, done.stderr
    measured, weights = map(int, done.stdout.split())
    network = ModelConfig.preset(preset).network
    return measured, Footprint.of(network, weights, num_tokens, num_atoms, Compute(precision)).peak(num_samples)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux to measure")
@pytest.mark.parametrize(
    "case",
    [
        ("mini", "float32", 512, 2048, 4),
        ("mini", "float32", 64, 4096, 40),
        pytest.param(("mini", "bf16", 256, 4096, 48), marks=pytest.mark.slow),
        pytest.param(("mini", "float32", 64, 8192, 8), marks=pytest.mark.slow),
        pytest.param(("boltz2", "bf16", 256, 2048, 5), marks=pytest.mark.slow),
        pytest.param(("boltz2", "float32", 64, 4096, 5), marks=pytest.mark.slow),
    ],
)
def test_what_is_needed_is_estimated_from_above_but_not_by_far(case: tuple[str, str, int, int, int]) -> None:
    measured, estimated = peak(*case)
    print(f"{case}: measured {measured / MIB:,.0f} MiB, estimated {estimated / MIB:,.0f} MiB")
    assert measured <= estimated <= 2 * measured


def test_bf16_needs_less_and_more_of_anything_more() -> None:
    network = ModelConfig.preset("boltz2").network

    def of(precision: str = "float32", weights: int = 10**8, tokens: int = 300, atoms: int = 2400) -> Footprint:
        return Footprint.of(network, weights, tokens, atoms, Compute(precision))

    assert of("bf16").kept < of().kept and of("bf16").sample < of().sample
    for more in (of(weights=2 * 10**8), of(tokens=600), of(atoms=4800)):
        assert more.peak(5) > of().peak(5)


# --- the plan -------------------------------------------------------------------------------------------------------

SIZES = Footprint(conditioning=500 * MIB, kept=100 * MIB, sample=10 * MIB)


@pytest.mark.parametrize(
    ("free", "wanted", "at_once", "fits", "said"),
    [
        (None, 7, 7, True, "needs about 500 MiB for 7 samples at once (10 MiB each)"),
        (4096 * MIB, 7, 7, True, "needs about 500 MiB for 7 samples at once (10 MiB each), 4.0 GiB free"),
        (4096 * MIB, 1, 1, True, "needs about 500 MiB for 1 sample at once, 4.0 GiB free"),
        (600 * MIB, 90, 50, True, "needs about 600 MiB for 50 of 90 samples at once (10 MiB each), 600 MiB free"),
        (300 * MIB, 90, 20, False, "300 MiB free: it is tried"),
        (90 * MIB, 90, 1, False, "needs about 500 MiB for 1 of 90 samples at once, 90 MiB free: it is tried"),
    ],
)
def test_as_many_samples_at_once_as_fit(free: int | None, wanted: int, at_once: int, fits: bool, said: str) -> None:
    plan = MemoryPlan("x", 30, 2400, SIZES, free, wanted)
    assert (plan.samples_at_once, plan.fits) == (at_once, fits)
    assert said in plan.text() and "30 tokens, 2,400 atoms" in plan.text()
    assert plan.text().startswith("x: " if fits else "warning: x: ")


# --- a run under a limit --------------------------------------------------------------------------------------------

GROUPS, PARTICLES = 2, 96
"""Particles take memory as samples do, but few files are written."""
LEFT = 440
"""MiB for a run to take: less than all particles need at once, more than a few do."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A RUN of a network that takes much memory for its work, and x.fasta, 1,401 atoms."""
    folder = tmp_path_factory.mktemp("memory")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_model(folder / "model.safetensors", StructureModel(FEW_LAYERS), RunRecord(config=FEW_LAYERS))
    (folder / "x.fasta").write_text(f">A|protein\n{'W' * 100}\n")
    (folder / "x.toml").write_text(f"[steering]\nparticles = {PARTICLES}\nmoves = 0\nsets = ['contacts']\n")
    return folder


def limited(model: Path, out: Path, limit: str, mebibytes: int, *more: str) -> subprocess.CompletedProcess[str]:
    """`frazil sample` with so much memory left to take."""
    words = ["sample", model / "x.fasta", "--checkpoint", model, "--out", out, "--num-samples", GROUPS, "--steps", 1]
    words += ["--config", model / "x.toml", "--contact", "A:1,A:100,8", "--no-report"]
    return alone([sys.executable, HERE / "limited_run.py", limit, mebibytes, *more, *words])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def unlimited(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a run that has all memory writes."""
    out = tmp_path_factory.mktemp("unlimited") / "out"
    done = limited(model, out, "none", 0)
    assert done.returncode == 0, done.stderr
    assert f"for {GROUPS * PARTICLES} samples at once" in done.stderr
    return contents(out / "x")


@pytest.mark.skipif(not Path("/proc/self/limits").exists(), reason="needs Linux to read limits")
@pytest.mark.parametrize("limit", ["RLIMIT_AS", pytest.param("RLIMIT_DATA", marks=pytest.mark.slow)])
def test_a_run_that_does_not_fit_is_chunked_and_its_samples_are_the_same(
    model: Path, unlimited: dict[str, bytes], tmp_path: Path, limit: str
) -> None:
    done = limited(model, tmp_path / "out", limit, LEFT)
    assert done.returncode == 0, done.stderr
    assert f" of {GROUPS * PARTICLES} samples at once" in done.stderr and "want of memory" not in done.stderr
    assert len(unlimited) == GROUPS + 1
    assert contents(tmp_path / "out" / "x") == unlimited


@pytest.mark.skipif(not Path("/proc/self/limits").exists(), reason="needs Linux to enforce limits")
def test_the_same_limit_is_too_tight_for_a_run_without_a_plan(model: Path, tmp_path: Path) -> None:
    done = limited(model, tmp_path / "out", "RLIMIT_AS", LEFT, "--unplanned")
    assert "for want of memory" in done.stderr or "out of memory" in done.stderr, done.stderr
