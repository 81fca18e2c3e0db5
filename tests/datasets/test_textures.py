import numpy as np
import pytest

from lsmbench.datasets.textures import SIDE, canvas, herringbone


@pytest.mark.parametrize("texture", [herringbone, canvas])
def test_shape_and_determinism(texture):
    first = texture()
    assert first.shape == (SIDE, SIDE)
    assert first.dtype == np.uint8
    assert np.array_equal(first, texture())
    assert not np.array_equal(first, texture(seed=3))


def test_greys_do_not_tell_them_apart():
    a, b = (np.bincount(t.ravel(), minlength=256) for t in (herringbone(), canvas()))
    assert np.abs(a - b).sum() <= 0.001 * SIDE**2
    # Brodatz D17: mean 80, standard deviation 53; D77: 90 and 49.
    assert 80 <= herringbone().mean() <= 90
    assert 48 <= herringbone().std() <= 54


def test_structure_tells_them_apart():
    # Share of the power at wavelengths above 7.5 px (17 cycles in 128 px):
    # the herringbone's rows have it, the canvas's knots do not.
    def coarse(texture):
        patch = texture[:512, :512].astype(float)
        power = np.abs(np.fft.fft2(patch - patch.mean())) ** 2
        radius = np.hypot(np.fft.fftfreq(512)[:, None], np.fft.fftfreq(512)[None]) * 128
        return power[(radius > 5) & (radius < 17)].sum() / power.sum()

    assert coarse(herringbone()) > 0.3
    assert coarse(canvas()) < 0.1
