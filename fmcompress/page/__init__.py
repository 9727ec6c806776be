"""The page about a run: what stands in its files, drawn."""

from .build import is_page, page_of
from .run import Run, read_comparison, read_run

__all__ = ["Run", "is_page", "page_of", "read_comparison", "read_run"]
