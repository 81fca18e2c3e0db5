"""FCN-8s as a plain supervised reference."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from lsmbench.data.dataset import Dataset
from lsmbench.errors import UserError
from lsmbench.methods.base import MethodConfig
from lsmbench.methods.segmentation import SegmentationConfig, SegmentationMethod
from lsmbench.networks.fcn8s import FCN8s as FCN8sNetwork
from lsmbench.networks.fcn8s import imagenet_vgg16
from lsmbench.networks.presets import FILTERS
from lsmbench.networks.pretrained import fingerprint, read
from lsmbench.options import option


@dataclass
class FCN8sConfig(SegmentationConfig):
    """The optimiser is that of the released code which the hybrid paper compares with."""

    learning_rate: float = option(
        1e-4,
        "SGD's learning rate, on a loss that is a mean over pixels",
        low=1e-6,
        high=1e-1,
        source="released code: 1e-10 on the loss summed over 16 pictures of 256² px, which is 1.05e-4 on the mean",
    )
    optimizer: Literal["adam", "sgd"] = option(
        "sgd", "The optimiser; sgd has beta1 as its momentum", source="FCN, §4.3; released code"
    )
    beta1: float = option(0.95, "SGD's momentum", source="released code; FCN, §4.3, has 0.9")
    weight_decay: float = option(5e-4, "Weight decay (L2)", source="FCN, §4.3, and released code")
    pretrained: str = option(
        "none",
        "Where VGG-16's first weights come from: none, at random; imagenet, as the published comparator does, which "
        "benchmarks at the papers' sizes set (528 MB are downloaded once); or a file of torchvision's vgg16. Needs "
        "network=paper and an image of 1 or 3 channels",
        source="FCN, §4.1: imagenet; none so that nothing is downloaded unasked",
        counts="content_if_changed",
    )


class FCN8s(SegmentationMethod):
    """FCN-8s on the pairs alone (Long et al. 2015), the comparator of the hybrid paper (Shukla et al. 2019, Table 6).

    That paper runs public code of FCN-8s by its default settings. The network is trained at once, where Long et al.
    train it at stride 32, then 16, then 8, each from the one before; biases have the learning rate of all other
    weights, not twice as much.

    Images of one or three channels are normalised by ImageNet's mean and standard deviation. With ImageNet's weights, a
    grey image is repeated to three channels; without them, it has a first convolution of one channel, and is normalised
    by the mean of the three means and of the three deviations. Other sources are taken as their domain gives them.
    """

    Config = FCN8sConfig
    config: FCN8sConfig
    normalises = True

    @classmethod
    def supports(cls, dataset: Dataset, config: MethodConfig) -> tuple[bool, str]:
        """As any segmentation network; its encoder is VGG-16, which learns."""
        config = cast(FCN8sConfig, config)
        if config.encoder != "own" or config.freeze:
            return False, "has VGG-16 as its encoder, which learns; set encoder=own and freeze=false"
        return super().supports(dataset, config)

    @classmethod
    def sides(cls, config: SegmentationConfig) -> tuple[int, int]:
        """Multiples of 32 px."""
        return 32, 32

    @property
    def repeats_grey(self) -> bool:
        """Only for ImageNet's weights, which are of three channels."""
        return self.config.pretrained != "none"

    def make_segmenter(self, in_channels: int, out_channels: int) -> FCN8sNetwork:
        """Makes FCN-8s, from the weights that `pretrained` names.

        Raises:
            UserError: If weights are asked for and do not fit or cannot be had.
        """
        pretrained, width = self.config.pretrained, self.config.network
        if pretrained == "none":
            return FCN8sNetwork(in_channels, out_channels, FILTERS[width])
        if width != "paper":
            raise UserError(
                f"method.pretrained={pretrained} needs method.network=paper, since VGG-16's weights are of its width; "
                f"found {width}. Set method.network=paper or method.pretrained=none."
            )
        if not self.photo:
            domain = self.domains[self.source]
            raise UserError(
                f"method.pretrained={pretrained} needs images of 1 or 3 channels to start from VGG-16's weights; view "
                f"{self.source} is {domain.kind} of {domain.shape[0]} channels. Set method.pretrained=none."
            )
        network = FCN8sNetwork(in_channels, out_channels, FILTERS[width])
        if self.fresh:
            weights = imagenet_vgg16() if pretrained == "imagenet" else read(Path(pretrained).expanduser())
            network.transplant(weights)
            self.saw = f"VGG-16 starts from {Path(pretrained).name} (SHA-256 {fingerprint(weights)})"
        return network
