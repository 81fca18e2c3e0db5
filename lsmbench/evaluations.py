"""Evaluations: what is done with a trained method to get scores. A new one is a class and a line in `EVALUATIONS`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import lightning as L  # noqa: N812
import numpy as np

from lsmbench.data.module import DataModule
from lsmbench.errors import UserError
from lsmbench.methods.base import Method
from lsmbench.options import option
from lsmbench.scores import Score


@dataclass
class EvaluationConfig:
    """What every evaluation can be told. The defaults are those of the test at a run's end."""

    weights: Literal["selected", "last"] = option(
        "selected", "Which weights: those that the run's selection rule chose, or those of the last epoch"
    )
    test_sets: str = option("all", "Names of the test sets, separated by commas; all takes every one there is")
    seed: int | None = option(
        None, "Seed of predictions that are random, such as those with dropout; null is the run's init_seed"
    )


class Evaluation(ABC):
    """What is done with a trained method: it gives scores.

    Args:
        config: The evaluation's options.
    """

    Config: ClassVar[type[EvaluationConfig]] = EvaluationConfig

    def __init__(self, config: EvaluationConfig | None = None) -> None:
        self.config = config or self.Config()

    @abstractmethod
    def __call__(self, method: Method, data: DataModule, trainer: L.Trainer) -> list[Score]:
        """Scores a method, as it is, on the test sets.

        Args:
            method: With the weights to be evaluated.
            data: Its test sets.
            trainer: Knows the devices; several processes all call this.

        Returns:
            The scores; the first is the one that methods are compared by.

        Raises:
            UserError: If a test set is unknown, or the method or the data lacks what the evaluation needs.
        """

    def test_sets(self, data: DataModule) -> list[str]:
        """The names of the test sets that are asked for.

        Raises:
            UserError: If one is unknown.
        """
        known = list(data.test_sets)
        names = known if self.config.test_sets == "all" else [n.strip() for n in self.config.test_sets.split(",")]
        if unknown := [name for name in names if name not in known]:
            raise UserError(
                f"evaluation.test_sets: dataset {data.dataset.name} has no test set {', '.join(unknown)}; it has: "
                f"{', '.join(known)}."
            )
        return names


class Predict(Evaluation):
    """Predicts every sample of every test set that has source and truth, and scores it by the domain's metrics."""

    def __call__(self, method: Method, data: DataModule, trainer: L.Trainer) -> list[Score]:
        """The scores: by test set, then by direction of prediction, then by metric."""
        if self.config.seed is not None:
            method.test_seed = self.config.seed
        scores = []
        for name in self.test_sets(data):
            data.test_set = name
            trainer.test(method, datamodule=data, verbose=False)
            for direction, metric in method.all_metrics():
                source, target = direction.split("->")
                indices, values, counts = metric.per_sample()
                confusion = metric.confusion()
                if not indices:
                    continue
                domain = method.domains[target]
                classes = domain.class_names if confusion is None else domain.categories
                scores.append(
                    Score(
                        metric=metric.name,
                        source=source,
                        target=target,
                        unit=metric.unit,
                        higher_is_better=bool(metric.higher_is_better),
                        indices=indices,
                        values=values,
                        pooled=metric.pooled(),
                        test_set=name,
                        units=data.pools.units(np.array(indices)),
                        counts=counts,
                        classes=None if counts is None and confusion is None else list(classes) or None,
                        names=data.pools.names(np.array(indices)),
                        confusion=confusion,
                    )
                )
        data.test_set = ""
        if not scores:
            raise UserError(
                f"dataset {data.dataset.name}: no test sample has both {method.source} and what predictions of "
                f"{method.target} are compared with, so that nothing can be scored."
            )
        return scores


EVALUATIONS: dict[str, type[Evaluation]] = {"predict": Predict}
