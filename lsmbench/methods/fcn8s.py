"""FCN-8s as a plain supervised reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lsmbench.domains import Image
from lsmbench.errors import UserError
from lsmbench.imagenet import MEAN, SD
from lsmbench.methods.segmentation import SegmentationConfig, SegmentationMethod
from lsmbench.networks.fcn8s import FCN8s as FCN8sNetwork
from lsmbench.networks.fcn8s import load_imagenet_vgg16
from lsmbench.networks.presets import FILTERS
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
    pretrained: bool = option(
        False,
        "Whether VGG-16 starts from ImageNet's weights, as the published comparator does; benchmarks at the papers' "
        "sizes set it. Needs network=paper and an image of 1 or 3 channels; 528 MB are downloaded once",
        source="FCN, §4.1: yes; off so that nothing is downloaded unasked",
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
    multiple = 32
    least = 32
    mean: Tensor
    sd: Tensor

    def build(self) -> None:
        """Makes the network, and the mean and deviation that its input is normalised by.

        Raises:
            UserError: If ImageNet's weights are asked for and do not fit or cannot be had.
        """
        channels = self.domains[self.source].shape[0]
        if self.config.pretrained:
            if self.config.network != "paper":
                raise UserError(
                    "method.pretrained=true needs method.network=paper, since ImageNet's weights are of its width; "
                    f"found {self.config.network}. Set method.network=paper or method.pretrained=false."
                )
            if not self._photo:
                raise UserError(
                    "method.pretrained=true needs images of 1 or 3 channels to start from ImageNet's weights; view "
                    f"{self.source} is {self.domains[self.source].kind} of {channels} channels. Set "
                    "method.pretrained=false."
                )
        mean, sd = torch.tensor(MEAN), torch.tensor(SD)
        if not self._photo:
            mean, sd = torch.zeros(channels), torch.ones(channels)
        elif channels == 1 and not self.config.pretrained:
            mean, sd = mean.mean(0, keepdim=True), sd.mean(0, keepdim=True)
        self.register_buffer("mean", mean[:, None, None], persistent=False)
        self.register_buffer("sd", sd[:, None, None], persistent=False)
        super().build()

    @property
    def _photo(self) -> bool:
        domain = self.domains[self.source]
        return isinstance(domain, Image) and domain.channels in (1, 3)

    def input_channels(self) -> int:
        """The source's channels; three for a grey image with ImageNet's weights."""
        return len(self.mean)

    def feed(self, view: Tensor) -> Tensor:
        """Normalises views; with three means, one channel becomes three by broadcasting."""
        # A view of an image is in [0, 1], as ImageNet's statistics are, also where networks work in [-1, 1].
        shown = view if self._photo else super().feed(view)
        return (shown - self.mean) / self.sd

    def make_segmenter(self, in_channels: int, out_channels: int) -> FCN8sNetwork:
        """Makes FCN-8s, from ImageNet's weights if `pretrained` asks for them."""
        network = FCN8sNetwork(in_channels, out_channels, FILTERS[self.config.network])
        if self.config.pretrained:
            load_imagenet_vgg16(network)
        return network
