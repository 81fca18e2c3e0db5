"""Trivial predictors, whose scores say what a table's numbers are worth."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, cast

from torch import Tensor, nn

from lsmbench.data.dataset import COPY, Dataset
from lsmbench.data.module import DataModule, Views
from lsmbench.errors import UserError
from lsmbench.methods.base import Method, MethodConfig
from lsmbench.methods.phases import Stage
from lsmbench.options import option


@dataclass
class FloorConfig(MethodConfig):
    """Which trivial predictor."""

    kind: Literal["constant", "copy"] = option(
        "constant",
        "constant: the one view that scores best on all training targets; copy: the source's content in the form of "
        "the target",
    )


class Floor(Method):
    """A trivial predictor: the best constant, or a copy of the input; no method that has learnt anything scores less.

    The constant is chosen with the targets of the whole training split, paired or not: it is a yardstick, not a
    competitor.
    """

    Config = FloorConfig
    config: FloorConfig
    trained = False
    uses_pairs = False
    deterministic = True

    @classmethod
    def supports(cls, dataset: Dataset, config: MethodConfig) -> tuple[bool, str]:
        """A copy exists only where the dataset knows the source's content in the form of the target."""
        if cast(FloorConfig, config).kind == "copy" and COPY not in dataset.evaluation_views():
            return False, f"has nothing to copy: {dataset.name} does not know its inputs in the form of the target"
        return True, ""

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Nothing is trained."""
        return ()

    def build(self) -> None:
        """No networks."""

    def modules_of(self, group: str) -> Iterable[nn.Module]:
        """None."""
        return ()

    def learn(self, data: DataModule) -> None:
        """Takes the constant from the training targets."""
        if self.config.kind == "constant":
            train = data.train[data.pools.has(self.target, data.train)]
            self.learnt["constant"] = self.domains[self.target].constant(data.compact(self.target, train))

    def predict(self, views: Views, source: str, target: str) -> Tensor:
        """The same view for every sample, or each sample's copy."""
        if self.config.kind == "copy":
            if COPY not in views:
                raise UserError("a copy of the input is no prediction for files: the dataset alone knows such copies.")
            return self.domains[target].unpack(views[COPY])
        given = views[source]
        constant = self.learnt["constant"]
        return constant.to(given.device).expand(len(given), *constant.shape[1:])
