"""`frazil` with a limit on memory: `python limited_run.py LIMIT MEBIBYTES [--unplanned] WORD...`.

A first, small run loads all code. Then LIMIT (`RLIMIT_AS`, `RLIMIT_DATA` or `none`) is set to what the process has by
now and MEBIBYTES more. With `--unplanned` the run is not told how much there is.
"""

from __future__ import annotations

import resource
import sys
import tempfile

from typer.testing import CliRunner

from frazil.cli import app
from frazil.predictor import drawing
from measured_memory import status

USE = {"RLIMIT_AS": "VmSize", "RLIMIT_DATA": "VmData"}


def main() -> None:
    """Load, limit, run."""
    limit, mebibytes, *words = sys.argv[1:]
    if words[0] == "--unplanned":
        words = words[1:]
        drawing.available_memory = lambda device: None
    checkpoint = words[words.index("--checkpoint") + 1]
    with tempfile.TemporaryDirectory() as out:
        small = ["sample", "CO", "--checkpoint", checkpoint, "--out", out, "--num-samples", "1", "--steps", "1"]
        assert CliRunner().invoke(app, small).exit_code == 0
    if limit != "none":
        kind = getattr(resource, limit)
        bound = status(USE[limit]) + (int(mebibytes) << 20)
        resource.setrlimit(kind, (bound, resource.getrlimit(kind)[1]))
    app(words)


if __name__ == "__main__":
    main()
