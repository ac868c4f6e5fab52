"""The command line in this process, and what makes `boltz predict` quick on a CPU."""

from __future__ import annotations

from typer.testing import CliRunner, Result

from frazil.cli import app

ON_CPU = (
    *("--accelerator", "cpu", "--no_kernels", "--num_workers", "0", "--preprocessing-threads", "1"),
    *("--recycling_steps", "0", "--sampling_steps", "4", "--seed", "3"),
)


def frazil(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def fails(*words: object) -> str:
    """Run a command that must end with code 2, without traceback and with one line on stderr; that line."""
    result = frazil(*words)
    assert result.exit_code == 2, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, result.stderr
    assert "Traceback" not in result.output
    return lines[0]
