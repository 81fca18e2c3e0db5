"""Ridge regression: what a closed form makes of the pairs, in seconds; a floor with teeth."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lsmbench import closed_form
from lsmbench.closed_form import STRENGTHS, principal_components
from lsmbench.data import encoders
from lsmbench.data.dataset import Dataset
from lsmbench.data.features import from_file
from lsmbench.data.module import INDEX, DataModule, Views
from lsmbench.data.pools import Numbers
from lsmbench.domains import Category, Domain, Mask
from lsmbench.errors import UserError
from lsmbench.methods.base import Method, MethodConfig
from lsmbench.methods.phases import Stage
from lsmbench.metrics import MeanSquaredError, SampleMetric
from lsmbench.networks.surroundings import resized, surroundings, tents
from lsmbench.options import option

_PIXELS = 32
"""Greatest side of the photos whose pixels are the features of a whole view."""

_WHOLE = 64
"""Greatest side of maps that are predicted as a whole."""

_LOCAL = 128
"""Greatest side at which maps are predicted pixel by pixel."""

_COMPONENTS = 256
_TRUNCATIONS = (2, 4, 8, 16, 32, 64, 128, _COMPONENTS)
_FIT_PIXELS = 2**20
_FIT_ROWS = 2048
_FOLDS = 10
_JUDGED = 100
_LIFTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)


@dataclass
class RidgeConfig(MethodConfig):
    """Features, and what is made of samples that are not paired."""

    features: str = option(
        "pixels",
        "What is regressed on: pixels; a frozen encoder that saw ImageNet, efficientnet_lite0 (needs the extra "
        "encoder), resnet18, resnet34 or resnet50 (torchvision's weights); or a .npy file with a row for each sample "
        "of the dataset",
        counts="content",
    )
    form: Literal["auto", "whole", "local"] = option(
        "auto",
        "whole: the view at once, from the whole input; local: each pixel of a map from its surroundings and position; "
        "auto: what scores better on the validation pairs where both are possible",
    )
    y_only: Literal["pca", "none"] = option(
        "pca",
        "pca: means and principal components are those of all that is shown, paired or not; none: of the pairs alone",
    )

    def __post_init__(self) -> None:
        """Refuses a word that names no features."""
        if self.features not in ("pixels", *encoders.ENCODERS) and not self.features.endswith(".npy"):
            raise UserError(
                f"method.features={self.features}: expected pixels, {', '.join(encoders.ENCODERS)}, or the path of a "
                ".npy file with a row of features for each sample of the dataset."
            )


Choice = tuple[int, bool, float]
"""How many components are predicted; whether the intercept is the pairs' own, else the means of all shown views; and
by how much the background's value is lowered before the greatest value decides."""

Fitted = Callable[[Sequence[int], float, Choice], dict[str, Tensor]]
"""What is learnt from some pairs, by their places, with a strength and a choice."""


class Ridge(Method):
    """Ridge regression in closed form, on pixels or on a frozen encoder's features.

    The strength λ (10⁻⁶ to 10³ times the mean eigenvalue, in half decades, of maps in whole ones), the number of
    components and the form are those with the best primary metric on the validation pairs, of maps the first 100.
    Without validation pairs they are those with the best metric of cross-validation over the training pairs, in at most
    ten folds and one by one where there are ten or fewer; a single pair leaves nothing to compare, and λ is 1.

    `whole`: y = ȳ + C Wᵀ (f(x) − f̄), with C principal components of y and W from the pairs. With `y_only=pca`, ȳ, f̄
    and C are those of all shown views, paired or not, so that four pairs need not find the mean; only as many leading
    components are predicted as validation asks for, and where it says so the means are the pairs' own after all. f are
    the pixels, reduced by area to at most 32 px, or the encoder's map of stride 16 (photos at 128 px, at 256 px if they
    are larger than 128; normalised as the network was trained). Maps are predicted at 64 px at most, of label maps each
    class's share.

    `local`: each pixel's one-hot class or colour, less its mean over all shown y at this position, is regressed on the
    pixel's features: its position (8×8 tent functions) and, of `pixels`, the channels and blurred copies (σ of 1, 2, 4
    and 8 px), local deviations, and 192 fixed random 5×5 filters with a rectifier (random features after Coates and Ng
    2012); of an encoder, its maps of stride 2, 4 and 8, enlarged. Maps are predicted at 128 px at most and enlarged
    bilinearly. At most 2²⁰ pixels of the pairs are used.

    The greatest value decides the class; of masks, the background's is first lowered by what scores best in validation
    (0 to 0.7), since a foreground IoU asks for more foreground than the pixels' accuracy.

    No paper stands behind it as a whole. It has no random choice of its own, and needs no stage of training.
    """

    Config: ClassVar[type[MethodConfig]] = RidgeConfig
    config: RidgeConfig
    trained = False
    needs_pairs: ClassVar[bool] = True

    @classmethod
    def supports(cls, dataset: Dataset, config: MethodConfig) -> tuple[bool, str]:
        """Encoders need photos and their weights; a map is predicted pixel by pixel from a map."""
        config = cast(RidgeConfig, config)
        source, target = dataset.domains[dataset.source], dataset.domains[dataset.target]
        if config.form == "local" and (source.is_vector or target.is_vector):
            return False, "of form local translates maps to maps; use form=whole"
        if config.features.endswith(".npy"):
            if config.form == "local":
                return False, "has a row of features for each sample, not for each pixel; use form=whole"
            return True, ""
        if config.features in encoders.ENCODERS:
            if source.is_vector or source.label_count is not None or source.shape[0] not in (1, 3):
                return False, f"with features={config.features} needs photos, and {dataset.source} is {source.kind}"
            if reason := encoders.missing(config.features):
                return False, f"with features={config.features} {reason}"
        return True, ""

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Nothing is trained by updates."""
        return ()

    def build(self) -> None:
        """No networks of its own; says what a reader has to know of an encoder."""
        if self.config.features in encoders.ENCODERS:
            self.saw = f"features of {self.config.features}, an encoder that learnt from ImageNet's labelled photos"

    def modules_of(self, group: str) -> Iterable[nn.Module]:
        """None."""
        return ()

    # Learning ---------------------------------------------------------------------------------------------------------

    def learn(self, data: DataModule) -> None:
        """Solves for the weights, chooses λ, components and form.

        Raises:
            UserError: If there is no pair, or features cannot be had.
        """
        groups, (source, target) = data.supervision.groups, (self.source, self.target)
        shown = {
            view: np.sort(np.concatenate([np.zeros(0, np.int64), *(n for s, n in groups.items() if view in s)]))
            for view in (source, target)
        }
        both = [numbers for views, numbers in groups.items() if source in views and target in views]
        if not both:
            raise UserError(f"method ridge learns from pairs, and no training sample shows both {source} and {target}.")
        pairs = np.sort(np.concatenate(both))
        if self.config.y_only == "none":
            shown = {source: pairs, target: pairs}
        judge = _Judge(self, data, pairs)
        maps = not (self.domains[source].is_vector or self.domains[target].is_vector)
        forms = ["whole", "local"] if maps and self.config.form == "auto" else [self.config.form]
        forms = ["whole"] if not maps or self.config.features.endswith(".npy") else forms
        found = [(self._whole if form == "whole" else self._local)(data, pairs, shown, judge) for form in forms]
        best = max(found, key=lambda one: one[0])
        self.learnt = best[1]
        if len(forms) > 1:
            self.remarks.append(f"form={forms[found.index(best)]} scores best in validation")

    def _whole(
        self, data: DataModule, pairs: Numbers, shown: dict[str, Numbers], judge: _Judge
    ) -> tuple[float, dict[str, Tensor]]:
        """Regression of whole views: its value in validation, and what is learnt."""
        features = {int(n): i for i, n in enumerate(shown[self.source])}
        x = self._vectors_of(data, shown[self.source])
        at = [features[int(n)] for n in pairs]
        unpaired = np.setdiff1d(shown[self.target], pairs)
        few = unpaired[np.linspace(0, len(unpaired) - 1, min(len(unpaired), _FIT_ROWS)).astype(int)]
        numbers = np.concatenate([pairs, few])
        side = self._whole_side(len(numbers))
        y = torch.cat([self._flat(data, part, side) for part in _parts(numbers)])
        mean_x, mean_y = x.mean(0), y.mean(0)
        components = principal_components(y - mean_y, _COMPONENTS)
        a, scores = x[at] - mean_x, (y[: len(pairs)] - mean_y) @ components.T
        more = len(numbers) > len(pairs) or len(x) > len(pairs)
        counts = [*(k for k in _TRUNCATIONS if more and k < len(components)), len(components)]
        choices = [(count, False, 0.0) for count in counts] * more + [(count, True, 0.0) for count in counts]

        def fitted(rows: Sequence[int], strength: float, choice: Choice) -> dict[str, Tensor]:
            count, own, lift = choice
            at_x, at_scores, path = paths(tuple(rows), own)
            return {
                "mean_x": mean_x + at_x, "weights": path.at(strength)[:, :count], "components": components[:count],
                "mean_y": mean_y + at_scores @ components, "side": torch.tensor(side),
                "rows": torch.tensor(len(data.pools)), "strength": torch.tensor(strength, dtype=torch.float64),
                "lift": torch.tensor(lift),
            }  # fmt: skip

        @cache
        def paths(rows: tuple[int, ...], own: bool) -> tuple[Tensor, Tensor, closed_form.Path]:
            own_a, own_scores = a[list(rows)], scores[list(rows)]
            at_x, at_scores = (own_a.mean(0) * own, own_scores.mean(0) * own)
            return at_x, at_scores, closed_form.Path.of_rows(own_a - at_x, own_scores - at_scores)

        value, strength, choice = judge.search(fitted, choices)
        return value, _kept(fitted(range(len(pairs)), strength, choice))

    def _local(
        self, data: DataModule, pairs: Numbers, shown: dict[str, Numbers], judge: _Judge
    ) -> tuple[float, dict[str, Tensor]]:
        """Regression of each pixel: its value in validation, and what is learnt."""
        side = min(_LOCAL, self.domains[self.target].shape[-1])
        total, count = torch.zeros(()), torch.zeros(())
        if self.config.y_only == "pca":
            for part in _parts(shown[self.target]):
                values, known = self._shares(data, part, side)
                total, count = total + values.sum(0), count + known.sum(0)
        offset = total / count.clamp_min(1)
        step = max(1, round((len(pairs) * side**2 / _FIT_PIXELS) ** 0.5))

        def summed(numbers: Numbers) -> tuple[Tensor, ...]:
            """Number of pixels, and sums over them: of features, of targets, and of products."""
            x = self._pixels_of(self._photos(data, numbers), side)[:, :, ::step, ::step]
            values, known = self._shares(data, numbers, side)
            used = known[:, 0, ::step, ::step].flatten() > 0
            shown = (x, (values - offset)[:, :, ::step, ::step])
            a, b = (v.movedim(1, -1).flatten(0, 2)[used].double() for v in shown)
            return torch.tensor(len(a)), a.sum(0), b.sum(0), a.T @ a, a.T @ b

        sums = [_added([summed(part) for part in _parts(fold, 16)]) for fold in judge.folds]

        def fitted(rows: Sequence[int], strength: float, choice: Choice) -> dict[str, Tensor]:
            mean, sd, at_mean, path = paths(tuple(sorted({judge.fold_of(row) for row in rows})))
            weights = path.at(strength) / sd[:, None]
            return {
                "weights": weights, "bias": at_mean - mean @ weights, "offset": offset, "side": torch.tensor(side),
                "strength": torch.tensor(strength, dtype=torch.float64), "lift": torch.tensor(choice[2]),
            }  # fmt: skip

        @cache
        def paths(folds: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor, closed_form.Path]:
            n, x, y, xx, xy = _added([sums[fold] for fold in folds])
            mean, at_mean = x / n.clamp_min(1), y / n.clamp_min(1)
            covariance = xx / n.clamp_min(1) - mean[:, None] * mean
            sd = covariance.diagonal().clamp_min(1e-12).sqrt()
            products = (xy / n.clamp_min(1) - mean[:, None] * at_mean) / sd[:, None]
            return mean, sd, at_mean, closed_form.Path.of_sums(covariance / sd / sd[:, None], products)

        value, strength, choice = judge.search(fitted, [(0, True, 0.0)])
        return value, _kept(fitted(range(len(pairs)), strength, choice))

    # Features ---------------------------------------------------------------------------------------------------------

    def _photos(self, data: DataModule, numbers: Numbers) -> Tensor:
        return self.domains[self.source].unpack(data.compact(self.source, numbers))

    def _vectors_of(self, data: DataModule, numbers: Numbers) -> Tensor:
        """Features of whole views, float64 (n, d)."""
        if self.config.features.endswith(".npy"):
            return self._own(len(data.pools))[numbers].double()
        if self.config.features in encoders.ENCODERS:
            return encoders.vectors(self.config.features, self._photos(data, numbers), keep=True).double()
        return torch.cat([self._vectors(self._photos(data, part)) for part in _parts(numbers, 64)])

    def _vectors(self, views: Tensor) -> Tensor:
        """Features of whole source views, float64 (B, d)."""
        if self.config.features in encoders.ENCODERS:
            # Those of a dataset's samples are kept; those of anybody's files are not.
            return encoders.vectors(self.config.features, views, keep=self._trainer is not None).double()
        given = _channels(self.domains[self.source], views)
        if given.ndim == 4:
            given = F.adaptive_avg_pool2d(given, (min(given.shape[2], _PIXELS), min(given.shape[3], _PIXELS)))
        return given.flatten(1).double()

    def _own(self, rows: int) -> Tensor:
        """The user's features, (rows, d)."""
        return torch.from_numpy(from_file(Path(self.config.features), rows))

    def _pixels_of(self, views: Tensor, side: int) -> Tensor:
        """Features of each pixel, float32 (B, D, side, side)."""
        position = tents(side, views.device)[None].expand(len(views), -1, -1, -1)
        if self.config.features in encoders.ENCODERS:
            parts = [
                torch.cat([resized(level, side) for level in maps[:3]], 1)
                for maps in encoders.encode(self.config.features, views)
            ]
            return torch.cat([torch.cat(parts), position], 1)
        return torch.cat([surroundings(resized(_channels(self.domains[self.source], views), side)), position], 1)

    # Targets ----------------------------------------------------------------------------------------------------------

    def _whole_side(self, samples: int) -> int:
        """The side at which maps are predicted as a whole; 0 of vectors."""
        target = self.domains[self.target]
        if target.is_vector:
            return 0
        side, channels = min(_WHOLE, target.shape[-1]), target.label_count or target.shape[0]
        while side > 8 and samples * channels * side**2 > 2**26:
            side //= 2
        return side

    def _flat(self, data: DataModule, numbers: Numbers, side: int) -> Tensor:
        """Target views as rows, float64 (n, m)."""
        if side:
            return self._shares(data, numbers, side)[0].flatten(1).double()
        target = self.domains[self.target]
        return target.to_input(target.unpack(data.compact(self.target, numbers))).flatten(1).double()

    def _shares(self, data: DataModule, numbers: Numbers, side: int) -> tuple[Tensor, Tensor]:
        """Target maps: colours or shares of classes (n, K, side, side); and which pixels have a class (n, 1, …)."""
        domain = self.domains[self.target]
        values = _channels(domain, domain.unpack(data.compact(self.target, numbers)))
        values = F.adaptive_avg_pool2d(values, side) if side < values.shape[-1] else values
        known = values.sum(1, keepdim=True) > 0.5 if domain.label_count else torch.ones_like(values[:, :1])
        return values, known.float()

    # Predicting -------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def predictions(self, batch: Views, source: str, target: str) -> Tensor:
        """As every method; with features of a file, those of the samples' numbers."""
        if not self.config.features.endswith(".npy"):
            return super().predictions(batch, source, target)
        own = self._own(int(self.learnt["rows"]))[batch[INDEX].cpu()].double()
        return self.fitted(self.learnt, own.to(batch[source].device))

    def predict(self, views: Views, source: str, target: str) -> Tensor:
        """Predicts views of anybody's samples.

        Raises:
            UserError: If the features come from a file, which has none of other samples.
        """
        if self.config.features.endswith(".npy"):
            raise UserError(
                f"this ridge regression learnt from the features of {self.config.features}, and there are none of new "
                "files. Train it with features=pixels or with an encoder's."
            )
        return self.fitted(self.learnt, self.given(self.learnt, views[source]))

    def given(self, learnt: dict[str, Tensor], views: Tensor) -> Tensor:
        """The features that a form takes: (B, d), or (B, D, side, side)."""
        return self._pixels_of(views, int(learnt["side"])) if "offset" in learnt else self._vectors(views)

    def fitted(self, learnt: dict[str, Tensor], features: Tensor) -> Tensor:
        """Decided target views from features.

        Args:
            learnt: As this method's, or one that is tried.
            features: As `given`.
        """
        kept = {name: value.to(features.device) for name, value in learnt.items()}
        domain = self.domains[self.target]
        if "offset" in kept:
            weights, bias = kept["weights"].to(features.dtype), kept["bias"].to(features.dtype)
            values = F.conv2d(features, weights.T[:, :, None, None], bias) + kept["offset"]
        else:
            centred = features - kept["mean_x"].double()
            flat = centred @ kept["weights"].double() @ kept["components"].double() + kept["mean_y"].double()
            if domain.is_vector:
                return _as_view(domain, flat)
            side = int(kept["side"])
            values = flat.reshape(len(flat), -1, side, side)
        values = resized(values.float(), domain.shape[-1])
        if not domain.label_count:
            return values.clamp(0, 1)
        background = values[:, :1] - kept["lift"]
        return domain.from_labels(torch.cat([background, values[:, 1:]], 1).argmax(1))


class _Judge:
    """Chooses by the primary metric: on the validation pairs, else by folds of the training pairs.

    Args:
        method: Whose predictions.
        data: Its data.
        pairs: The training pairs.
    """

    def __init__(self, method: Ridge, data: DataModule, pairs: Numbers) -> None:
        self.method, self.data, self.pairs = method, data, pairs
        truth = method.truths.get(method.target, method.target)
        val = data.val
        self.val = val[data.pools.has(method.source, val) & data.pools.has(truth, val)]
        if not method.domains[method.target].is_vector:
            self.val = self.val[:_JUDGED]
        self.truth = truth if len(self.val) else method.target
        count = 1 if len(self.val) else min(_FOLDS, len(pairs))
        self.folds = [pairs[k::count] for k in range(count)]

    def fold_of(self, row: int) -> int:
        """The fold of a pair, by its place."""
        return row % len(self.folds)

    def search(self, fitted: Fitted, choices: list[Choice]) -> tuple[float, float, Choice]:
        """The best strength and choice: strengths with all components, choices, thresholds, strengths again.

        Args:
            fitted: What is learnt from some of the pairs, by their places.
            choices: What there is to choose between beside the strength.

        Returns:
            The value, greater is better, the strength and the choice.
        """
        first = max(choices, key=lambda choice: choice[0])
        if not len(self.val) and len(self.pairs) == 1:
            return 0.0, 1.0, first
        tried: dict[tuple[float, Choice], float] = {}
        best = (1.0, first)
        target = self.method.domains[self.method.target]
        lifts = _LIFTS if isinstance(target, Mask) else (0.0,)
        strengths = STRENGTHS if target.is_vector else STRENGTHS[::2]
        for turn in ("strengths", "choices", "lifts", "strengths"):
            strength, (count, own, _) = best
            line = {
                "strengths": [(one, best[1]) for one in strengths],
                "choices": [(strength, choice) for choice in choices],
                "lifts": [(strength, (count, own, one)) for one in lifts],
            }[turn]
            new = [one for one in line if one not in tried]
            tried |= dict(zip(new, self._values(fitted, new), strict=True)) if new else {}
            best = max(tried, key=lambda one: tried[one])
        return tried[best], *best

    def _values(self, fitted: Fitted, candidates: list[tuple[float, Choice]]) -> list[float]:
        """The metric of each candidate, its sign such that greater is better."""
        metrics = [self._metric() for _ in candidates]
        places = np.arange(len(self.pairs))
        parts = [(places, self.val)]
        if not len(self.val):
            count = len(self.folds)
            parts = [(places[places % count != k], fold) for k, fold in enumerate(self.folds)]
        for rows, numbers in parts:
            learnt = [fitted(rows.tolist(), *one) for one in candidates]
            units = self.data.first_of_units(numbers) if metrics[0].per_unit else None
            scored = numbers if units is None else units
            for part, known in zip(_parts(numbers, 16), _parts(scored, 16), strict=True):
                features, truth = self._sample(learnt[0], part)
                for metric, one in zip(metrics, learnt, strict=True):
                    decided = self.method.fitted(one, features)
                    compared = (decided, truth)
                    if not isinstance(metric, MeanSquaredError):
                        compared = self.method.domains[self.method.target].comparable(decided, truth)
                    metric.update(*compared, torch.from_numpy(known))
        values = [float(metric.compute()) * (1 if metric.higher_is_better else -1) for metric in metrics]
        return [value if np.isfinite(value) else -np.inf for value in values]

    def _metric(self) -> SampleMetric:
        # Truths that only evaluations read, such as labels at full resolution, are no training sample's to show.
        if not len(self.val) and self.method.target in self.method.truths:
            return MeanSquaredError()
        return self.method.domains[self.method.target].metrics()[0]

    def _sample(self, learnt: dict[str, Tensor], numbers: Numbers) -> tuple[Tensor, Tensor]:
        method, data = self.method, self.data
        if "offset" not in learnt:
            features = method._vectors_of(data, numbers)
        else:
            features = method._pixels_of(method._photos(data, numbers), int(learnt["side"]))
        domain = data.domains.get(self.truth)
        if domain is not None:
            return features, domain.unpack(data.compact(self.truth, numbers))
        return features, torch.from_numpy(np.array(data.pools.take(self.truth, numbers)))


def _parts(numbers: Numbers, size: int = 64) -> Iterable[Numbers]:
    return (numbers[start : start + size] for start in range(0, len(numbers), size))


def _added(sums: list[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    return tuple(torch.stack(same).sum(0) for same in zip(*sums, strict=True))


def _kept(found: dict[str, Tensor]) -> dict[str, Tensor]:
    """What is learnt, as float32 where it is no number of something."""
    return {
        name: value.float().clone() if value.is_floating_point() and value.ndim else value
        for name, value in found.items()
    }


def _channels(domain: Domain, views: Tensor) -> Tensor:
    """Views as floats: a vector's network input, a map's colours, or one channel for each class; void has none."""
    if domain.is_vector:
        return domain.to_input(views).float()
    if domain.label_count is None:
        return views.float()
    labels = domain.to_labels(views)
    known = labels < domain.label_count
    hot = F.one_hot(labels.where(known, 0), domain.label_count) * known[..., None]
    return hot.movedim(-1, 1).float()


def _as_view(domain: Domain, flat: Tensor) -> Tensor:
    """Vectors of network inputs, float (B, F), as decided views."""
    if isinstance(domain, Category):
        return domain.decide(flat)
    return flat.reshape(len(flat), -1, 2).float().clamp(0, 1)
