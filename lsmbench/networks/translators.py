"""Networks that translate between views: through latent codes, as the LSM family does, or directly.

Both kinds are called in one way, so that a GAN can have either as its generators. They know views by name and by the
shape of a network input, (C, H, W) or (F,) for a vector, and return network outputs without an activation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lsmbench.networks.convnet import BLOCKS, ConvDecoder, ConvEncoder
from lsmbench.networks.links import LinearLink, ResnetLink
from lsmbench.networks.mlp import VectorDecoder, VectorEncoder
from lsmbench.networks.resnet import ResnetDecoder, ResnetEncoder
from lsmbench.options import option

VECTOR_WIDTHS = (64, 256, 1024)
"""Of the encoder of landmarks (LSM, App. B), at every preset: they cost little."""

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]
ImageEncoder = Literal["resnet", "native"]
Named = Callable[[str, Callable[[], nn.Module]], nn.Module]
"""Makes a network, having set the seed that belongs to its name: `Method.network`."""


def at_side(pictures: Tensor, side: int) -> Tensor:
    """Pictures (B, C, H, H) at a side, resized bilinearly (over areas, so that no pixel is skipped); or as they are."""
    if pictures.shape[-1] == side:
        return pictures
    precise = pictures.to(torch.promote_types(pictures.dtype, torch.float32))  # not every device resizes bfloat16
    return F.interpolate(precise, (side, side), mode="bilinear", antialias=True)


def greatest_side(shapes: Shapes) -> tuple[str, int]:
    """The first view of the greatest side, and that side in pixels; `""` and 0 where no view is a map."""
    return max(((v, shape[-1]) for v, shape in shapes.items() if len(shape) > 1), key=lambda s: s[1], default=("", 0))


def encoder_misfit(shapes: Shapes, image_encoder: ImageEncoder) -> str:
    """Why views do not fit the encoder of images, which halves the greatest side several times; empty if they do."""
    multiple = {"resnet": 4, "native": 2**BLOCKS}[image_encoder]
    view, side = greatest_side(shapes)
    if not (rest := side % multiple):
        return ""
    near = " or ".join(str(n) for n in (side - rest, side - rest + multiple) if n >= max(multiple, 8))
    return f"needs a greatest side that is a multiple of {multiple} px, such as {near}, and {view} has {side} px"


class DirectTranslator(nn.ModuleDict):
    """One network for each direction, under the key `xy` for x to y; each keeps the side of what it is fed.

    Views of different sides are brought to the greatest one before they are translated, and the outputs to the target's
    own side, bilinearly.

    Args:
        networks: By direction.
        sides: The side of each view, px.
    """

    def __init__(self, networks: Mapping[str, nn.Module], sides: Mapping[str, int]) -> None:
        super().__init__(networks)
        self.sides = dict(sides)

    def forward(self, fed: Tensor, source: str, target: str) -> Tensor:
        """Map network inputs of the source to network outputs of the target."""
        made = self[f"{source}{target}"](at_side(fed, max(self.sides.values())))
        return at_side(made, self.sides[target])


@dataclass
class LatentOptions:
    """What the configuration of a method with a `LatentTranslator` says of it."""

    image_encoder: Literal["auto", "resnet", "native"] = option(
        "auto",
        "resnet: half a ResNet-6 generator, codes at a quarter of the side; native: five convolutions with pooling, "
        "codes at 1/32; auto: native where a view is a vector such as landmarks, else resnet",
        source="resnet: LSM, App. B; native: released code for faces",
    )
    norm: Literal["batch", "layer", "none"] = option(
        "batch",
        "Normalisation in native and vector networks; the ResNet has instance normalisation",
        source="released code",
    )


class LatentTranslator(nn.Module):
    """An encoder and a decoder for each view, and links between their codes (LSM, eq. 1 and App. B).

    Images and masks: a ResNet-6 generator cut in half, and one residual block as the link (the paper is silent on links
    between image codes; the block is the released code's). Landmarks: a multilayer perceptron, and a flattening and a
    linear layer as the link; images are then encoded by the released code's `native` network, since the ResNet's code
    is too large for that link.

    Images and masks of different sides are brought to the greatest one before they are encoded, and back after they are
    decoded, bilinearly: all codes of images then have one shape, which the residual block needs. This is ours: the
    papers' views have one side.

    Args:
        shapes: Shapes of network inputs by view.
        directions: The translations that have a link, in order.
        network: Makes the networks by the names `encoder_x`, `decoder_y` and `link_xy`.
        filters: Filters of the first convolution.
        options: Which networks encode and decode.
        autoencodes: Whether every view has both an encoder and a decoder, also where no direction needs them.
    """

    def __init__(
        self,
        shapes: Shapes,
        directions: Sequence[tuple[str, str]],
        network: Named,
        filters: int,
        options: LatentOptions,
        autoencodes: bool = False,
    ) -> None:
        super().__init__()
        self.shapes, self.filters, self.norm = dict(shapes), filters, options.norm
        self.side = greatest_side(shapes)[1]
        self.image_encoder = self.image_encoder_for(options, shapes)
        views = dict.fromkeys(view for direction in directions for view in direction)
        encoded = [v for v in views if autoencodes or any(v == source for source, _ in directions)]
        decoded = [v for v in views if autoencodes or any(v == target for _, target in directions)]
        # A clipped gradient's norm is a sum in the order of the parameters: encoders, decoders, links.
        self.encoders = nn.ModuleDict({v: network(f"encoder_{v}", partial(self._encoder, v)) for v in encoded})
        self.decoders = nn.ModuleDict({v: network(f"decoder_{v}", partial(self._decoder, v)) for v in decoded})
        self.links = nn.ModuleDict(
            {f"{s}{t}": network(f"link_{s}{t}", partial(self._link, s, t)) for s, t in directions}
        )

    @staticmethod
    def image_encoder_for(options: LatentOptions, shapes: Shapes) -> ImageEncoder:
        """The encoder of images, after `auto` is resolved."""
        if options.image_encoder != "auto":
            return options.image_encoder
        return "native" if any(len(shape) == 1 for shape in shapes.values()) else "resnet"

    def code_shape(self, view: str) -> Shape:
        """Shape of a view's code without the batch: (C, h, w), or (F,) for a vector."""
        if len(self.shapes[view]) == 1:
            return (VECTOR_WIDTHS[-1],)
        width, times = (16, 2**BLOCKS) if self.image_encoder == "native" else (4, 4)
        return (width * self.filters, self.side // times, self.side // times)

    def encode(self, fed: Tensor, view: str) -> Tensor:
        """Map network inputs of a view to its codes: E_x."""
        return cast(Tensor, self.encoders[view](at_side(fed, self.side) if len(self.shapes[view]) > 1 else fed))

    def link(self, code: Tensor, source: str, target: str) -> Tensor:
        """Map codes of the source to codes of the target: L_xy."""
        return cast(Tensor, self.links[f"{source}{target}"](code))

    def decode(self, code: Tensor, view: str) -> Tensor:
        """Map codes of a view to its network outputs: D_y."""
        made, shape = cast(Tensor, self.decoders[view](code)), self.shapes[view]
        return at_side(made, shape[-1]) if len(shape) > 1 else made

    def forward(self, fed: Tensor, source: str, target: str) -> Tensor:
        """Map network inputs of the source to network outputs of the target: D_y ∘ L_xy ∘ E_x."""
        return self.decode(self.link(self.encode(fed, source), source, target), target)

    def _encoder(self, view: str) -> nn.Module:
        channels, *sides = self.shapes[view]
        if not sides:
            return VectorEncoder(channels, VECTOR_WIDTHS, self.norm)
        if self.image_encoder == "native":
            return ConvEncoder(channels, self.filters, self.norm)
        return ResnetEncoder(channels, self.filters)

    def _decoder(self, view: str) -> nn.Module:
        channels, *sides = self.shapes[view]
        if not sides:
            return VectorDecoder(channels, VECTOR_WIDTHS, self.norm)
        if self.image_encoder == "native":
            return ConvDecoder(channels, self.filters, self.norm)
        return ResnetDecoder(channels, self.filters)

    def _link(self, source: str, target: str) -> nn.Module:
        here, there = self.code_shape(source), self.code_shape(target)
        if here == there and self.image_encoder == "resnet":
            return ResnetLink(here[0])
        return LinearLink(here, there)


class OneWay(nn.Module):
    """One direction of a translator, as a network of one input.

    Args:
        translator: Translates.
        source: From this view.
        target: To this view.
    """

    def __init__(self, translator: nn.Module, source: str, target: str) -> None:
        super().__init__()
        self.translator, self.source, self.target = translator, source, target

    def forward(self, fed: Tensor) -> Tensor:
        """Map network inputs of the source to network outputs of the target."""
        return cast(Tensor, self.translator(fed, self.source, self.target))
