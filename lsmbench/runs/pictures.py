"""The pictures of a run: which samples were pairs, and what its method makes of some others."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Picture

from lsmbench.data.dataset import COPY
from lsmbench.data.module import INDEX, UNIT, DataModule
from lsmbench.data.pools import TRAIN, VAL, Numbers
from lsmbench.data.sheet import contact_sheet
from lsmbench.domains import Category, Domain
from lsmbench.domains.category import in_words
from lsmbench.methods.base import Method
from lsmbench.runs.results import CHOSEN, PANEL, write_bytes

SAMPLES = 6
_WORDS = 128  # pixels of the picture of a class's name


def save_chosen(data: DataModule, folder: Path) -> None:
    """Draws the samples that are pairs to `chosen.png`, for people to see what was chosen."""
    pairs = data.supervision.pairs
    if not len(pairs) or (folder / CHOSEN).exists():
        return
    samples = {view: data.pools.take(view, pairs) for view in (data.dataset.source, data.dataset.target)}
    picture = io.BytesIO()
    names = data.pools.names(pairs) or [f"sample {i}" for i in pairs]
    contact_sheet(data.dataset, samples, names).save(picture, "PNG")
    write_bytes(folder / CHOSEN, picture.getvalue())


def save_panel(method: Method, data: DataModule, folder: Path) -> None:
    """Keeps drawn input, truth and prediction of some test samples in `panel.npz`, for pictures in the report.

    Where no test sample has both views, input and prediction of others are kept: of the test part, or of the validation
    or training part if these alone have the input. A method that learns both directions adds `back`: the predictions
    translated back to the source.
    """
    method.eval()
    views = _views(data.test_dataloader().dataset, (method.source, method.target), data) or _without_truth(method, data)
    if views is None:
        return
    drawn, predicted = _drawn(method, views, data)
    back = (method.target, method.source)
    if back in method.directions and not _tells_classes(data.domains[method.target], predicted):
        returned = _predicted(method, {method.target: predicted, INDEX: views[INDEX]}, back)
        drawn["back"] = data.domains[method.source].draw(returned)
    panel = io.BytesIO()
    np.savez_compressed(panel, **drawn)  # type: ignore[arg-type]
    write_bytes(folder / PANEL, panel.getvalue())


def translations(method: Method, data: DataModule) -> NDArray[np.uint8] | None:
    """One picture of some validation samples that have both views: a row of input, truth and prediction for each.

    `None` if no sample has both.
    """
    views = _views(data.val_dataloader().dataset, (method.source, method.target), data)
    if views is None:
        return None
    drawn, _ = _drawn(method, views, data)
    height, width = drawn["target"].shape[1:3]
    nearest = Picture.Resampling.NEAREST

    def sized(pictures: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
        return [np.asarray(Picture.fromarray(one).resize((width, height), nearest)) for one in pictures]

    rows = zip(sized(drawn["source"]), drawn["target"], sized(drawn["prediction"]), strict=True)
    return np.concatenate([np.concatenate(row, 1) for row in rows])


def some_with(view: str, data: DataModule, most: int) -> Numbers:
    """Some samples that have a view, spread over the first part that has any: a test set, if there is one."""
    for part in (*data.pools.test_sets, VAL, TRAIN):
        numbers = data.pools.part(part)
        if len(numbers := numbers[data.pools.has(view, numbers)]):
            at = np.linspace(0, len(numbers) - 1, min(most, len(numbers))).round().astype(int)
            return np.asarray(numbers[at], np.int64)
    return np.zeros(0, np.int64)


def _without_truth(method: Method, data: DataModule) -> dict[str, torch.Tensor] | None:
    """The source views of some samples, whether they have the target or not; `None` if no sample has the source."""
    pools, source = data.pools, method.source
    numbers = some_with(source, data, SAMPLES)
    if not len(numbers):
        return None
    given = data.domains[source].unpack(data.compact(source, numbers))
    views = {source: given, INDEX: torch.from_numpy(numbers)}
    if all(pools.has(COPY, numbers)):
        views[COPY] = torch.from_numpy(np.asarray(pools.take(COPY, numbers)))
    return views


def _predicted(method: Method, views: Mapping[str, torch.Tensor], direction: tuple[str, str]) -> torch.Tensor:
    """What the method predicts in one direction, on its device; uses up no random number."""
    with aside(method):
        batch = {name: view.to(method.device) for name, view in views.items()}
        batch = {name: view.to(method.dtype) if view.is_floating_point() else view for name, view in batch.items()}
        return method.predictions(batch, *direction)


@contextmanager
def aside(method: Method) -> Iterator[None]:
    """Lets a method compute in its own arithmetic, and gives back the random numbers that it uses up."""
    default = torch.get_default_dtype()
    with torch.random.fork_rng([method.device] if method.device.type == "cuda" else []):
        torch.set_default_dtype(cast(torch.dtype, method.dtype))  # which one-hot classes have, as in training
        try:
            yield
        finally:
            torch.set_default_dtype(default)


def _drawn(
    method: Method, views: Mapping[str, torch.Tensor], data: DataModule
) -> tuple[dict[str, NDArray[Any]], torch.Tensor]:
    """Samples that have the source and perhaps the target, drawn; uses up no random number.

    Returns:
        `index`; `unit` if scores are those of units; `name` if samples have names; and `source`, `target` if it is
        there, and `prediction`, uint8 (n, H, W, 3). And the predictions themselves.
    """
    names = data.pools.names(views[INDEX].numpy())
    predicted = _predicted(method, views, (method.source, method.target))
    per_unit = next((metric.per_unit for _, metric in method.all_metrics()), False)
    target, truth = data.domains[method.target], views.get(method.target)
    pictures = data.domains[method.source].draw(views[method.source])
    if _tells_classes(target, predicted):
        called = method.answer.categories or [str(number) for number in range(int(predicted.max()) + 1)]
        words = [called[number] for number in predicted.tolist()]
        letters = min(_WORDS // 2, int(1.3 * _WORDS / max(1, *map(len, called))))
        prediction = in_words(words, [True] * len(words), _WORDS, letters)
    else:
        prediction = target.overlay(predicted, pictures, truth)
    return {
        "index": views[INDEX].numpy(),
        **({"unit": views[UNIT].numpy()} if UNIT in views and per_unit else {}),
        **({} if names is None else {"name": np.array(names)}),
        "source": pictures,
        **({} if truth is None else {"target": target.overlay(truth, pictures)}),
        "prediction": prediction,
    }, predicted


def _tells_classes(domain: Domain, predicted: torch.Tensor) -> bool:
    """Whether predictions are classes (B,) in place of the domain's views."""
    return predicted.ndim == 1 and not isinstance(domain, Category)


def _views(samples: Any, views: tuple[str, str], data: DataModule) -> dict[str, Any] | None:
    """The views of some evaluation samples that have both: spread over all of them, and over their units."""
    found = samples.with_views(views)
    if not found:
        return None
    numbers = np.concatenate([samples.pools[there.pool].numbers for there in found])
    shown = numbers[spread(data.pools.units(numbers) or numbers.tolist(), SAMPLES)]
    batches = []
    for there in found:
        at = there.positions[np.isin(samples.pools[there.pool].numbers, shown)]
        batches += [samples.__getitems__(there._replace(positions=at))] if len(at) else []
    names = set.intersection(*map(set, batches))
    return {name: torch.cat([batch[name] for batch in batches]) for name in sorted(names)}


def spread(units: Sequence[Any], count: int) -> NDArray[np.int64]:
    """Which samples stand for all: of as many units as there can be, units and samples of a unit at even spaces.

    Args:
        units: The unit of each sample.
        count: How many samples to take at most.

    Returns:
        Positions of samples, ascending.
    """
    of_unit: dict[Any, list[int]] = {}
    for position, unit in enumerate(units):
        of_unit.setdefault(unit, []).append(position)
    left = min(count, len(units))
    quota = dict.fromkeys([list(of_unit)[i] for i in _middles(len(of_unit), min(left, len(of_unit)))], 0)
    while left:
        for unit in quota:
            if left and quota[unit] < len(of_unit[unit]):
                quota[unit] += 1
                left -= 1
    return np.sort([of_unit[unit][i] for unit, most in quota.items() for i in _middles(len(of_unit[unit]), most)])


def _middles(length: int, count: int) -> list[int]:
    """The middles of `count` equal stretches of a sequence."""
    return [(2 * i + 1) * length // (2 * count) for i in range(count)]
