"""DeepLabV2 as a plain supervised reference."""

from __future__ import annotations

from lsmbench.methods.segmentation import SegmentationMethod


class DeepLabV2(SegmentationMethod):
    """DeepLabV2 on the pairs alone (Chen et al. 2018): a ResNet of stride 8 and an atrous pyramid that is summed.

    The settings are those of semanticGAN's comparator (Li et al. 2021, supplement, §5): Adam at 2.5e-4 on 16 images a
    step for 10,000 steps. Its own encoder is a ResNet-101 with `network=paper`, and a narrow ResNet-18 otherwise. The
    comparator's, and the paper's, starts from COCO's or ImageNet's weights (`pretrained`). Three scales at once, their
    greatest value and the conditional random field of the paper are left out, as in the comparator.
    """

    architecture = "deeplabv2"
