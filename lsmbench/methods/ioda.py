"""IODA: autoencoders of both domains are trained first, then the translation from their weights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from torch import Tensor, nn

from lsmbench.methods.base import Terms
from lsmbench.methods.latent import LatentMethod, LatentViews
from lsmbench.methods.phases import Stage


class IODA(LatentMethod):
    """Input/output deep architecture: pre-trained autoencoders, then eq. 2 (Lerouge et al. 2015; LSM, §4.2, App. C).

    First D_x∘E_x is trained on every visible x and D_y∘E_y on every visible y. Both stop early by their own validation
    reconstruction loss, so that the paper's one stage is two stages here. Then D_y∘L_xy∘E_x is trained on the pairs,
    with a new optimiser, from the best weights of both and an untrained L_xy; all three parts are updated.

    The original is a multilayer perceptron trained by plain gradient descent, with an optionally pre-trained link. The
    LSM paper compares with the form that is built here.
    """

    needs_pairs = True
    has_code = True
    weights: ClassVar = {"xx": 1.0, "yy": 1.0, "xy": 1.0}

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Both autoencoders, then the translation."""
        return (
            Stage("pretrain_x", ("input_autoencoder",), monitor="reconstruction_x"),
            Stage("pretrain_y", ("output_autoencoder",), monitor="reconstruction_y"),
            Stage("translate", ("translation",)),
        )

    def modules_of(self, group: str) -> Iterable[nn.Module]:
        """The two halves of an autoencoder, the three parts of the translation, or all networks (`mappers`)."""
        x, y, made = self.source, self.target, self.translator
        return {
            "input_autoencoder": (made.encoders[x], made.decoders[x]),
            "output_autoencoder": (made.encoders[y], made.decoders[y]),
            "translation": (made.encoders[x], made.links[f"{x}{y}"], made.decoders[y]),
            "mappers": (made,),
        }[group]

    def losses_input_autoencoder(self, views: LatentViews) -> Terms:
        """Eq. 5."""
        return {"xx": lambda: self.reconstruction(views, self.source)}

    def losses_output_autoencoder(self, views: LatentViews) -> Terms:
        """Eq. 6."""
        return {"yy": lambda: self.reconstruction(views, self.target)}

    def losses_translation(self, views: LatentViews) -> Terms:
        """Eq. 2."""
        return {"xy": lambda: self.supervised(views, self.source, self.target)}

    def validate(self, batch: dict[str, Tensor]) -> Tensor | None:
        """Reconstruction loss of the autoencoder that is being trained."""
        view = self.source if self.stage.name == "pretrain_x" else self.target
        if view not in batch:
            return None
        return self.domains[view].loss(self.translator.decode(self.encode(batch[view], view), view), batch[view])
