"""Samples against a reference structure or ensemble, of one input or of many."""

from frazil.evaluator.files import result_folders, sample_files
from frazil.evaluator.run import evaluate, evaluate_inputs
from frazil.evaluator.summary import InputScore, SummaryReport

__all__ = ["InputScore", "SummaryReport", "evaluate", "evaluate_inputs", "result_folders", "sample_files"]
