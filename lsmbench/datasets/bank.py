"""Banks: another dataset's targets, as the pool that gives a dataset its y-only samples (Shukla et al., §4.1.8)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lsmbench.data.dataset import Dataset
from lsmbench.data.pools import TRAIN, Pool
from lsmbench.data.supervision import SupervisionConfig
from lsmbench.datasets import DATASETS
from lsmbench.errors import UserError
from lsmbench.options import options_of


def bank_of(config: SupervisionConfig, dataset: Dataset) -> Pool | None:
    """The pool of the dataset that `supervision.y_bank` names, at the size of the one that it serves.

    Args:
        config: Its `y_bank` is a dataset's word, or `WORD:PATH` for one whose files lie in PATH; or `None`.
        dataset: The one that it serves.

    Returns:
        All its targets, as training samples with the view `y` alone; `None` if no bank is asked for.

    Raises:
        UserError: If there is no such dataset, it has no folder, or its targets have another form, size or palette.
    """
    if not config.y_bank:
        return None
    word, _, path = config.y_bank.partition(":")
    if word not in DATASETS:
        raise UserError(f"supervision.y_bank: unknown dataset {word!r}. Known: {', '.join(DATASETS)}.")
    known = {o.name for o in options_of(DATASETS[word])}
    if path and "root" not in known:
        raise UserError(f"supervision.y_bank: dataset {word} has no folder of its own; leave out {path}.")
    shared = {name: getattr(dataset, name) for name in ("size", "absent", "reconstruction") if hasattr(dataset, name)}
    options = {name: value for name, value in shared.items() if name in known}
    other = DATASETS[word](**options, **({"root": str(Path(path).expanduser())} if path else {}))
    mine, its = dataset.domains["y"], other.domains["y"]
    if mine != its:
        raise UserError(
            f"supervision.y_bank: the targets of {other.name} are not those of {dataset.name}.\n"
            f"- expected {mine!r}\n- found {its!r}"
        )
    targets = other.targets()
    its.check(targets, f"dataset {other.name}, view y")
    return Pool(word, {"y": targets}, {TRAIN: np.arange(len(targets))})
