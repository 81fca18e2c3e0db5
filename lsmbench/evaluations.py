"""Evaluations: what is done with a trained method to get scores. A new one is a class and a line in `EVALUATIONS`."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import lightning as L  # noqa: N812
import numpy as np
from torch import Tensor

from lsmbench.data.module import DataModule
from lsmbench.errors import UserError
from lsmbench.methods.base import Method
from lsmbench.methods.refinement import Code, Refinement
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
                units = data.pools.units(np.array(indices))
                names = units if metric.per_unit and units is not None else data.pools.names(np.array(indices))
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
                        units=units,
                        counts=counts,
                        classes=None if counts is None and confusion is None else list(classes) or None,
                        names=names,
                        per_unit=metric.per_unit and units is not None,
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


@dataclass(unsafe_hash=True)
class RefineConfig(EvaluationConfig):
    """How codes are refined before they are decoded."""

    refine_steps: int = option(
        200,
        "Steps of test-time optimisation of each test sample's code; 0 leaves the encoder's codes as they are",
        unit="steps",
        source="semanticGAN, supplement, §3: 200 for X-rays and skin, 400 for livers and faces",
    )
    refine_rate: float = option(
        0.1, "Adam's greatest rate, in units of the code's spread", source="semanticGAN, supplement, §3"
    )
    w_pixels: float = option(
        0.1, "λ2, weight of the mean squared error beside the perceptual loss", source="semanticGAN, supplement, §3"
    )
    w_encoder: float = option(
        1e-3,
        "λ3, weight of the pull towards what the encoder says",
        source="semanticGAN, supplement, §3: 1e-3 for X-rays, CT and faces, 0.1 for skin, 1e-5 for MRI",
    )
    w_noise: float = option(
        100.0, "Weight of the regularisation of noise maps, if the method has some", source="semanticGAN, released code"
    )
    refine_noise: bool = option(
        True, "Whether noise maps, if there are some, are optimised too", source="semanticGAN, released code"
    )
    refine_patience: int | None = option(
        None, "Steps without a lower loss after which an image is left as it is; null never stops early", unit="steps"
    )

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
            UserError: If there are fewer than 0 steps or weights, or if rate or patience are not above 0.
        """
        for name, least in (("refine_steps", 0), ("w_pixels", 0), ("w_encoder", 0), ("w_noise", 0)):
            if getattr(self, name) < least:
                raise UserError(f"evaluation.{name}: expected {least} or more, found {getattr(self, name)}.")
        for name in ("refine_rate", "refine_patience"):
            if (value := getattr(self, name)) is not None and value <= 0:
                raise UserError(f"evaluation.{name}: expected more than 0, found {value}.")

    def told(self) -> dict[str, Any]:
        """As `told`."""
        return told(dataclasses.asdict(self))

    def refinement(self, method: Method, watch: Callable[[int, Tensor, Code], None] | None = None) -> Refinement:
        """The same, as methods take it.

        Args:
            method: Whose codes are refined.
            watch: As `Refinement.watch`.

        Raises:
            UserError: If the method has no code.
        """
        if not method.has_code:
            raise UserError(
                f"refine_steps: {type(method).__name__} has no code from which both views are decoded, so that nothing "
                "can be refined. Methods that have one: those that reconstruct x."
            )
        return Refinement(
            self.refine_steps,
            self.refine_rate,
            self.w_pixels,
            self.w_encoder,
            self.w_noise,
            self.refine_noise,
            self.refine_patience,
            watch,
        )


def told(options: Mapping[str, Any]) -> dict[str, Any]:
    """What tells one refinement from others, for names: the steps, and options that are not the usual ones.

    Args:
        options: Those of evaluation `refine` as a result holds them, perhaps of another version.
    """
    usual = {"name": "refine", **dataclasses.asdict(RefineConfig())}
    others = {name: value for name, value in options.items() if name != "refine_steps" and usual.get(name) != value}
    return {"refine_steps": options["refine_steps"], **others}


class Refine(Predict):
    """As `Predict`, with codes that are refined for each test sample first (test-time optimisation).

    Attributes:
        watch: As `Refinement.watch`.
    """

    Config = RefineConfig
    config: RefineConfig
    watch: Callable[[int, Tensor, Code], None] | None = None

    def __call__(self, method: Method, data: DataModule, trainer: L.Trainer) -> list[Score]:
        """The scores of the refined predictions, in the direction that is asked for.

        Raises:
            UserError: As `Predict`; or if the method has no code.
        """
        method.refinement = self.config.refinement(method, self.watch)
        try:
            return super().__call__(method, data, trainer)
        finally:
            method.refinement = None


EVALUATIONS: dict[str, type[Evaluation]] = {"predict": Predict, "refine": Refine}
