"""Pages to look at: samples, runs and summaries as self-contained HTML."""

from frazil.page.folder import write_report
from frazil.page.sample import write_sample_page
from frazil.page.summary import write_summary_page
from frazil.page.training import write_training_page

__all__ = ["write_report", "write_sample_page", "write_summary_page", "write_training_page"]
