"""`Request`: a run as the first process of a node hands it to those that it starts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from frazil.trainer.settings import TrainSettings


@dataclass(frozen=True)
class Request:
    """The arguments of `train`, and who asks.

    >>> request = Request((Path("a.cif"),), Path("run"), TrainSettings(max_steps=3), (), 0.0, Path("base"), False, 17)
    >>> Request.from_json(request.to_json()) == request
    True
    """

    data: tuple[Path, ...]
    out: Path
    settings: TrainSettings
    val_data: tuple[Path, ...]
    val_fraction: float
    init: Path | None
    resume: bool
    parent: int
    """Number of the process that asks."""

    def to_json(self) -> str:
        """As text."""
        paths = {name: [str(path) for path in getattr(self, name)] for name in ("data", "val_data")}
        init = None if self.init is None else str(self.init)
        plain = {name: getattr(self, name) for name in ("val_fraction", "resume", "parent")}
        return json.dumps({**paths, **plain, "out": str(self.out), "init": init, "settings": self.settings.to_dict()})

    @classmethod
    def from_json(cls, text: str) -> Request:
        """Inverse of `to_json`."""
        values = json.loads(text)
        return cls(
            data=tuple(Path(path) for path in values["data"]),
            out=Path(values["out"]),
            settings=TrainSettings.from_dict(values["settings"]),
            val_data=tuple(Path(path) for path in values["val_data"]),
            val_fraction=values["val_fraction"],
            init=None if values["init"] is None else Path(values["init"]),
            resume=values["resume"],
            parent=values["parent"],
        )
