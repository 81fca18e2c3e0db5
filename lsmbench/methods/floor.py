"""Trivial predictors, whose scores say what a table's numbers are worth."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn

from lsmbench.data.dataset import Dataset
from lsmbench.data.module import PairDataModule
from lsmbench.methods.base import Method, MethodConfig, Stage
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
    uses_pairs = False
    deterministic = True

    @classmethod
    def supports(cls, dataset: Dataset, config: MethodConfig) -> tuple[bool, str]:
        """A copy exists only where the dataset knows the source's content in the form of the target."""
        if cast(FloorConfig, config).kind == "copy" and dataset.copies() is None:
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

    def setup(self, stage: str) -> None:
        """Takes the constant from the training targets, or the copies from the dataset."""
        data = cast(PairDataModule, self.trainer.datamodule)  # type: ignore[attr-defined]
        domain = self.domains[self.target]
        if self.config.kind == "constant":
            self.constant = domain.constant(data.compact(self.target, data.split.train))
        else:
            self.copies = domain.views(data.dataset.copies())  # type: ignore[arg-type]

    def translate(self, view: Tensor, source: str, target: str) -> Tensor:
        """Has no network output; see `predict`."""
        raise TypeError("a floor predicts views directly: call predict with an evaluation batch")

    def predict(self, batch: dict[str, Tensor], source: str, target: str) -> Tensor:
        """The same view for every sample, or each sample's copy."""
        index = batch["index"]
        if self.config.kind == "constant":
            return self.constant.to(index.device).expand(len(index), *self.constant.shape[1:])
        return self.domains[target].unpack(self.copies[index.cpu()]).to(torch.device(index.device))
