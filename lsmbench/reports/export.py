"""Results as tidy tables for other programs: CSV, Parquet, and a dictionary that says what each column means."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pandas as pd

from lsmbench import __version__
from lsmbench.reports.frame import COLUMNS, FINISHED, Found, samples
from lsmbench.runs.results import write_bytes

RUNS, SAMPLES, DICTIONARY = "runs", "samples", "dictionary.json"

_OF_RUNS = (
    "origin", "run", "of", "row", "floor", "method", "dataset", "fingerprint", "protocol", "paired", "counts", "seed",
    "fold", "folds", "pairs", "val_pairs", "choice", "rule", "test_set", "metric", "source", "target",
    "higher_is_better", "primary", "value", "pooled", "n", "validation", "wall_s", "updates", "parameters",
)  # fmt: skip
_KEYS = ("origin", "run", "row", "paired", "counts", "seed", "fold", "test_set", "metric", "source", "target")
_MORE = {
    "sample": "number of the test sample in the dataset; of scores of whole units that of a unit's first sample",
    "unit": "the patient, person or scene that the sample belongs to; missing without one",
    "name": "what people call the sample, such as its file; missing without a name",
    "score": "the sample's score by the metric; missing where it is undefined",
    "supervision_seed": "seed of the choice of pairs",
    "init_seed": "seed of the initial weights",
    "configuration": "the run's whole configuration, as JSON",
}


def tables(found: Found) -> dict[str, pd.DataFrame]:
    """The finished runs of some folders, tidy.

    Args:
        found: What the folders hold.

    Returns:
        `runs`, a row per run and score, and `samples`, a row per run, score and test sample.
    """
    done = found.runs[(found.runs["state"] == FINISHED) & found.runs["metric"].notna()]
    runs = done[list(_OF_RUNS)].assign(
        supervision_seed=[seeds[0] for seeds in done["seeds"]],
        init_seed=[seeds[1] for seeds in done["seeds"]],
        configuration=[json.dumps(record.config, sort_keys=True, default=str) for record in done["record"]],
    )
    each = samples(done)[[*_KEYS, "sample", "unit", "name", "score"]]
    return {RUNS: _typed(runs), SAMPLES: _typed(each)}


def write(found: Found, output: Path) -> list[Path]:
    """Writes `runs` and `samples` as CSV and Parquet, and `dictionary.json`; the same results give the same bytes.

    Args:
        found: What the folders hold.
        output: The folder to write to.

    Returns:
        The written files.
    """
    files: dict[str, bytes] = {}
    made = tables(found)
    for name, table in made.items():
        files[f"{name}.csv"] = table.to_csv(index=False, lineterminator="\n").encode(errors="backslashreplace")
        buffer = io.BytesIO()
        table.to_parquet(buffer, index=False)
        files[f"{name}.parquet"] = buffer.getvalue()
    meanings = COLUMNS | _MORE
    dictionary = {
        "made by": f"lsmbench {__version__}",
        **{
            name: [{"column": str(c), "type": str(table[c].dtype), "meaning": meanings[str(c)]} for c in table]
            for name, table in made.items()
        },
    }
    files[DICTIONARY] = (json.dumps(dictionary, indent=1, ensure_ascii=False) + "\n").encode()
    for name, content in files.items():
        write_bytes(output / name, content)
    return [output / name for name in files]


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    """A table whose columns have the types that their names promise, also where everything is missing."""
    whole = ("seed", "fold", "folds", "n", "sample", "supervision_seed", "init_seed", "pairs", "val_pairs", "updates",
             "parameters")  # fmt: skip
    truth, real = (
        ("floor", "higher_is_better", "primary", "pooled"),
        ("paired", "value", "validation", "wall_s", "score"),
    )
    types = dict.fromkeys(whole, "Int64") | dict.fromkeys(truth, "boolean") | dict.fromkeys(real, "float64")
    return table.reset_index(drop=True).astype({str(name): types.get(str(name), "string") for name in table})
