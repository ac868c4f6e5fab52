"""A further process of a run: `python -m frazil.trainer.worker`, started by the first one of its node."""

from __future__ import annotations

import os
import sys
import time

from frazil.errors import FrazilError
from frazil.trainer.fitting import what_to_do
from frazil.trainer.processes import POLL_SECONDS, ContactLost, end_with_parent
from frazil.trainer.request import Request
from frazil.trainer.run import train


def main() -> int:
    """Train as standard input says; the exit code tells whether it went well."""
    asked = Request.from_json(sys.stdin.read())
    talks = os.environ["LOCAL_RANK"] == "1"
    lost = "error: the first process of the run was killed"
    end_with_parent(asked.parent, lambda: f"{lost}; {what_to_do(asked.out)}" if talks else "")
    try:
        train(
            asked.data, asked.out, asked.settings, val_data=asked.val_data, val_fraction=asked.val_fraction,
            init=asked.init, resume=asked.resume,
        )  # fmt: skip
    except ContactLost:
        # the first process sees who is lost, and says so; if it was that one, time to see it and to say so here
        time.sleep(5 * POLL_SECONDS)
        return 1
    except FrazilError as error:
        print(f"error: process {os.environ['LOCAL_RANK']}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
