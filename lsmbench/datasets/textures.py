"""Procedural textures that stand for the two Brodatz textures of SIT, which cannot be shipped with the package.

Both are periodic weaves, bent by smooth noise and roughened by fine noise, whose grey values are then mapped to
one common distribution. So they differ in orientation and frequency, as the real ones do, but not in brightness or
contrast: a ring cannot be told from its ground by the grey value of a pixel.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SIDE = 640
"""Height and width of the textures in pixels, those of the Brodatz scans."""

# Grey values at these quantiles: midway between those of the scans of D17 and D77, which are much alike.
_QUANTILES = np.array([0.0, 0.01, 0.25, 0.5, 0.75, 0.99, 1.0])
_GREYS = np.array([5.0, 13.5, 46.0, 76.0, 112.0, 210.0, 250.0])

Field = NDArray[np.float64]


def herringbone(seed: int = 17) -> NDArray[np.uint8]:
    """A herringbone weave, in place of Brodatz D17: rows of stitches that change direction from stripe to stripe.

    Args:
        seed: Seed of the noise; the same seed gives the same texture.

    Returns:
        Grey values, uint8 (640, 640).
    """
    rng = np.random.default_rng((seed, 1))
    y, x = _bent_grid(rng, bend=1.2)
    # 43 px wide stripes, and 10 rows of stitches per 128 px, as measured in D17. |slope| 1 turns the rows by 45°.
    zigzag = np.abs((x / 86.0) % 1.0 - 0.5) * 86.0
    rows = np.cos(_turns(y + zigzag, 10))
    stitches = np.cos(_turns(y - zigzag, 10)) * 0.55 + np.cos(_turns(x, 22)) * 0.45
    return _to_greys(1.2 * rows + stitches + 0.8 * rows * stitches + _roughness(rng))


def canvas(seed: int = 77) -> NDArray[np.uint8]:
    """A plain cotton weave, in place of Brodatz D77: a fine lattice of knots, the same everywhere.

    Args:
        seed: Seed of the noise; the same seed gives the same texture.

    Returns:
        Grey values, uint8 (640, 640).
    """
    rng = np.random.default_rng((seed, 2))
    y, x = _bent_grid(rng, bend=0.8)
    # The lattice of D77: its strongest waves have (17, 10) and (0, 19) cycles per 128 px down and across.
    weft, warp = _turns(y, 17) + _turns(x, 10), _turns(x, 19)
    knots = 1.2 * np.cos(weft) + np.cos(warp) + 0.45 * np.cos(weft + warp) + 0.3 * np.cos(2 * weft - warp)
    return _to_greys(knots + _roughness(rng))


def _turns(length: Field, cycles: float) -> Field:
    """Phase of a wave with so many cycles per 128 px."""
    return 2 * np.pi * cycles / 128 * length


def _bent_grid(rng: np.random.Generator, bend: float) -> tuple[Field, Field]:
    """Row and column of each pixel, displaced by smooth noise with a standard deviation of `bend` pixels."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float64)
    return y + bend * _noise(rng, 25.0), x + bend * _noise(rng, 25.0)


def _roughness(rng: np.random.Generator) -> Field:
    """Noise that looks like cloth: uneven yarn, fibres, and a little uneven light."""
    return 0.2 * _noise(rng, 3.0) + 0.4 * _noise(rng, 1.0) + 0.25 * _noise(rng, 0.4) + 0.2 * _noise(rng, 60.0)


def _noise(rng: np.random.Generator, scale: float) -> Field:
    """White noise smoothed by a Gaussian of `scale` pixels in Fourier space; mean 0, standard deviation 1."""
    frequency = np.fft.fftfreq(SIDE)[:, None] ** 2 + np.fft.rfftfreq(SIDE)[None] ** 2
    spectrum = np.fft.rfft2(rng.standard_normal((SIDE, SIDE))) * np.exp(-2 * (np.pi * scale) ** 2 * frequency)
    smooth = np.fft.irfft2(spectrum, s=(SIDE, SIDE))
    return np.asarray((smooth - smooth.mean()) / smooth.std(), dtype=np.float64)


def _to_greys(field: Field) -> NDArray[np.uint8]:
    """Maps the values, by their rank, to the common distribution of greys."""
    rank = np.empty(field.size)
    rank[np.argsort(field, axis=None, kind="stable")] = (np.arange(field.size) + 0.5) / field.size
    greys: Field = np.interp(rank, _QUANTILES, _GREYS)
    return np.rint(greys).astype(np.uint8).reshape(field.shape)
