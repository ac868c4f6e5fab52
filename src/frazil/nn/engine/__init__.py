"""Inference: the score network again, arranged for speed; `frazil.nn.score` is the truth it is tested against."""

from frazil.nn.engine.network import BoundEngine, Engine, EngineStore

__all__ = ["BoundEngine", "Engine", "EngineStore"]
