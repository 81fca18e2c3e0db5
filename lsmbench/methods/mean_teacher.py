"""Mean Teacher: a network agrees with the average of its own past weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lsmbench.data.dataset import Dataset
from lsmbench.data.module import Batch
from lsmbench.losses import ramp_up
from lsmbench.methods.base import MethodConfig, Terms
from lsmbench.methods.segmentation import ConsistencyConfig, SegmentationMethod, joined
from lsmbench.networks.presets import FILTERS
from lsmbench.networks.translators import LatentOptions, LatentTranslator, OneWay, encoder_misfit
from lsmbench.options import option


@dataclass
class MeanTeacherConfig(LatentOptions, ConsistencyConfig):
    """How the teacher follows, and how much its word counts."""

    variant: Literal["paper", "pixelssl"] = option(
        "paper",
        "paper: probabilities are compared, and student and teacher see inputs with noise of their own; pixelssl: as "
        "semanticGAN's comparator, logits are compared, the inputs are the same, and the average's decay is .99",
        source="Tarvainen and Valpola 2017; PixelSSL",
    )
    ema: float = option(0.999, "Decay of the teacher's average after the ramp", source="Mean Teacher, §3.3")
    ema_ramp: float = option(0.99, "Decay of the teacher's average in the ramp", source="Mean Teacher, §3.3")
    ramp: float = option(
        0.25,
        "Share of the updates in which the consistency's weight rises",
        source="Mean Teacher, §3.3: 40,000 of 180,000 steps; PixelSSL: 3 epochs",
    )
    noise: float = option(0.15, "Standard deviation of the noise on network inputs", source="Mean Teacher, App. B.1")
    w_consistency: float = option(
        1.0,
        "Greatest weight of the squared difference from the teacher",
        low=1e-2,
        high=1e2,
        source="PixelSSL: 1; the paper's 100 is for classes of whole images",
    )


class MeanTeacher(SegmentationMethod):
    """Mean Teacher (Tarvainen and Valpola 2017, eqs. 1 and 2) for masks, images and landmarks.

    The teacher has the average of the student's weights, with a decay of min(1 − 1/(t + 1), .99) at update t while the
    consistency ramps up, and then of min(1 − 1/(t + 1), .999). The consistency is the mean squared difference of what
    student and teacher say of pairs and photos, each with noise of its own on the input: of probabilities where there
    are classes, else of the activated outputs. The teacher predicts; while it teaches, it works in training mode, as in
    the released code.

    `variant=pixelssl` is what semanticGAN's comparison ran: the same input for both, logits, decay .99. With Adam in
    place of PixelSSL's SGD, and 30 masks of faces, it printed a mean IoU of .108, all but one class being 0; that tells
    of this setting, not of Mean Teacher.

    Landmarks and sources that are no maps are translated by the networks of `baseline`; the consistency holds for any
    output.
    """

    Config = MeanTeacherConfig
    config: MeanTeacherConfig
    sees_photos: ClassVar = True
    averaged: ClassVar = {"segmenter": 0.999}  # see `decay`

    @classmethod
    def supports(cls, dataset: Dataset, config: MethodConfig) -> tuple[bool, str]:
        """Views that are vectors, or maps of different sides, take the networks of `baseline`."""
        config = cast(MeanTeacherConfig, config)
        shapes = {view: dataset.domains[view].shape for view in (dataset.source, dataset.target)}
        if not _latent(shapes[dataset.source], shapes[dataset.target]):
            return super().supports(dataset, config)
        if config.encoder != "own" or config.pretrained != "none" or config.freeze:
            return (
                False,
                "translates vectors by baseline's networks; set encoder=own, pretrained=none, freeze=false",
            )
        reason = encoder_misfit(shapes, LatentTranslator.image_encoder_for(config, shapes))
        return not reason, reason

    def make_segmenter(self, in_channels: int, out_channels: int) -> nn.Module:
        """A segmentation network; for vectors the baseline's encoder, link and decoder."""
        shapes = {view: self.domains[view].shape for view in (self.source, self.target)}
        if not _latent(shapes[self.source], shapes[self.target]):
            return super().make_segmenter(in_channels, out_channels)
        directions, filters = [(self.source, self.target)], FILTERS[self.config.network]
        return OneWay(LatentTranslator(shapes, directions, self.network, filters, self.config), *directions[0])

    def decay(self, group: str, update: int) -> float:
        """min(1 − 1/(t + 1), the decay of the ramp or of what follows), with t from 1."""
        config = self.config
        early = config.variant == "pixelssl" or self.progress < config.ramp
        return min(1 - 1 / (update + 2), config.ema_ramp if early else config.ema)

    def prepare(self, batch: Batch) -> dict[str, Tensor]:
        """What the student says of all photos, and what the teacher says of them without a gradient."""
        views = self.shown(batch)
        (teacher,) = self.averaged_networks("segmenter")
        said = self.answers(views, self.segmenter, "output", "said")
        with torch.no_grad():
            return views | said | self.answers(views, teacher, "taught", "taught_alone")

    def feed(self, view: Tensor) -> Tensor:
        """Network inputs; in training with noise of their own."""
        fed = super().feed(view)
        noisy = self.training and self.config.variant == "paper"
        return fed + self.config.noise * self.normal(fed) if noisy else fed

    def losses_segmenter(self, views: dict[str, Tensor]) -> Terms:
        """The supervised losses, and the consistency."""
        return {**self.supervised(views), "consistency": lambda: self.consistency(views)}

    def consistency(self, views: dict[str, Tensor]) -> Tensor:
        """The mean squared difference from the teacher, by the ramp (eq. 1)."""
        student, teacher = joined(views, "output", "said"), joined(views, "taught", "taught_alone")
        if student is None or teacher is None:
            return self.nothing("segmenter")
        return ramp_up(self.progress, self.config.ramp) * F.mse_loss(self.compared(student), self.compared(teacher))

    def compared(self, output: Tensor) -> Tensor:
        """What of an output is compared."""
        if self.config.variant == "pixelssl":
            return output
        return self.domains[self.target].activate(output) if self.classes is None else torch.softmax(output, 1)


def _latent(source: tuple[int, ...], target: tuple[int, ...]) -> bool:
    """Whether views of these shapes need networks other than those of segmentation."""
    return len(source) == 1 or len(target) == 1 or source[1:] != target[1:]
