"""Those who take part, each in a process of its own, asked in turn."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final

from benchmarks.problems import Problem

REPOSITORY: Final = Path(__file__).parents[1]
FRUGAL: Final = {"MALLOC_MMAP_THRESHOLD_": "16384", "MALLOC_TRIM_THRESHOLD_": "16384"}
"""An allocator (glibc) that gives freed memory back at once, so that a call cannot live on what was freed before."""
_TICKS = os.sysconf("SC_CLK_TCK")


class PeerFailed(Exception):
    """A program could not do what it was asked for; the text says why."""


@dataclass(frozen=True)
class Contestant:
    """A program in an environment."""

    name: str
    """For tables."""
    program: str
    """Module of `benchmarks` that runs it."""
    python: Path
    """Interpreter of its environment."""
    precisions: tuple[str, ...] = ("float32",)
    """What it can do."""


class Link:
    """A running worker."""

    def __init__(self, contestant: Contestant, device: str, threads: int, environment: dict[str, str]) -> None:
        self.contestant = contestant
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the worker
        paths = [str(REPOSITORY), str(REPOSITORY / "src")]
        self._process = subprocess.Popen(
            [str(contestant.python), "-m", "benchmarks.worker", contestant.program, device, str(threads)],
            cwd=REPOSITORY, env=os.environ | environment | {"PYTHONPATH": os.pathsep.join(paths)}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
        )  # fmt: skip

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Raises
        ------
        PeerFailed
            If it cannot be done, or the worker is dead.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        plain = {key: asdict(value) if isinstance(value, Problem) else value for key, value in arguments.items()}
        try:
            self._process.stdin.write(json.dumps({"do": do, **plain}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise PeerFailed(f"{self.contestant.name} died in {do!r} ({self._last_words()})")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise PeerFailed(f"{self.contestant.name}, {do!r}: {answer['error']}")
        return answer

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self._process.poll() is None

    @property
    def cpu_seconds(self) -> float:
        """Processor time so far; 0 once it is gone."""
        try:
            fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def _last_words(self) -> str:
        code = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return "killed, perhaps for want of memory" if code == -9 else (lines or [f"exit code {code}"])[-1]


class Crew:
    """The contestants; each gets a worker when it is first asked, and a new one should that die.

    Parameters
    ----------
    contestants : sequence of Contestant
        Ours first, then the one that ours is compared with.
    device : str
        As torch names it.
    threads : int
        Of each; 0 for torch's own choice.
    """

    def __init__(self, contestants: tuple[Contestant, ...], device: str = "cpu", threads: int = 0) -> None:
        self.contestants, self.device, self.threads = contestants, device, threads
        self._links: dict[str, Link] = {}

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.rest()

    @property
    def ours(self) -> Contestant:
        """The first."""
        return self.contestants[0]

    def link(self, contestant: Contestant) -> Link:
        """The contestant's worker."""
        found = self._links.get(contestant.name)
        if found is None or not found.alive:
            if found is not None:
                found.close()
            found = self._links[contestant.name] = Link(contestant, self.device, self.threads, {})
        return found

    def rest(self) -> None:
        """End all workers, which frees their memory; they come back when asked."""
        for link in self._links.values():
            link.close()
        self._links.clear()

    @contextmanager
    def fresh(self, contestant: Contestant) -> Iterator[Link]:
        """A worker that has done nothing yet and gives freed memory back at once."""
        link = Link(contestant, self.device, self.threads, FRUGAL)
        try:
            yield link
        finally:
            link.close()

    @property
    def cpu_seconds(self) -> float:
        """Processor time of this process, of the workers, and of those that have ended."""
        own = os.times()
        ended = own.user + own.system + own.children_user + own.children_system
        return ended + sum(link.cpu_seconds for link in self._links.values())
