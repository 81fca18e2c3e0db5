"""lsmbench: which domain-translation method to use when only N % of the data is paired."""

from importlib import import_module
from pathlib import Path
from typing import Any

__version__ = "0.1.0"


def load(path: str | Path, **choice: Any) -> Any:
    """Loads a finished run, or the best row of a benchmark, to translate files with; no training data is read.

    Args:
        path: The folder of a run, e.g. `runs/lsm-N5-s0-…`, or of a benchmark's results, e.g. `results/mine`.
        choice: `method`, `paired` and `seed` of a benchmark's runs; `refine`, options of test-time optimisation of each
            file's code; `accelerator` and `threads`.

    Returns:
        A `lsmbench.runs.translator.Translator`.

    Raises:
        UserError: If there is no such run, its weights are gone or of another version, or nothing can be refined.
    """
    return import_module("lsmbench.reports.choice").load(path, **choice)  # what it needs takes seconds to import
