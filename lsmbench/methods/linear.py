"""A linear map of a frozen encoder's features."""

from __future__ import annotations

from dataclasses import dataclass

from lsmbench.methods.segmentation import SegmentationConfig, SegmentationMethod
from lsmbench.options import option


@dataclass
class LinearConfig(SegmentationConfig):
    """Only a 1×1 convolution learns."""

    learning_rate: float = option(
        1e-3, "Adam's learning rate", low=1e-6, high=1e-1, source="own choice; range of LSM, App. B"
    )
    freeze: bool = option(True, "Whether the encoder keeps its first weights", counts="if_changed")


class Linear(SegmentationMethod):
    """A frozen encoder, and a linear map of its features at each pixel, learnt from the pairs (a probe; no paper).

    What it scores is what the encoder knew before it saw these data. `ridge` with features solves the same in closed
    form. Without `pretrained` the features are random.
    """

    Config = LinearConfig
    config: LinearConfig
    architecture = "linear"
