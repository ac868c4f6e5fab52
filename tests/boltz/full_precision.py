"""`python full_precision.py boltz|frazil ARGUMENTS`: the command line of either, with Lightning told 32-bit precision.

boltz 2.2.1 asks for bf16-mixed whatever the accelerator, and on a CPU its diffusion module then runs in bf16 (its
protection from that names CUDA alone).
"""

import sys
from typing import Any

import boltz.main


class FullPrecisionTrainer(boltz.main.Trainer):
    """The trainer that Boltz makes, at the one precision in which two programs can be compared."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **{**settings, "precision": 32})


boltz.main.Trainer = FullPrecisionTrainer
program = sys.argv.pop(1)
if program == "frazil":
    from frazil.cli import main

    main()
else:
    boltz.main.cli()
