import pytest
import torch
from torch import nn

from lsmbench.networks.mlp import VectorDecoder, VectorDiscriminator, VectorEncoder


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_the_encoder_of_landmarks_has_the_papers_widths():
    encoder, decoder = VectorEncoder(136, norm="batch"), VectorDecoder(136, norm="batch")
    assert [(m.in_features, m.out_features) for m in encoder.modules() if isinstance(m, nn.Linear)] == [
        (136, 64), (64, 256), (256, 1024)
    ]  # fmt: skip
    assert [(m.in_features, m.out_features) for m in decoder.modules() if isinstance(m, nn.Linear)] == [
        (1024, 256), (256, 64), (64, 136)
    ]  # fmt: skip
    # Weights without biases, two numbers a feature for each normalisation; the last layer has a bias.
    assert count(encoder) == 136 * 64 + 64 * 256 + 256 * 1024 + 2 * (64 + 256 + 1024)
    assert count(decoder) == 1024 * 256 + 256 * 64 + 64 * 136 + 136 + 2 * (256 + 64)


@pytest.mark.parametrize("norm", ["batch", "layer", "none"])
def test_shapes_and_no_output_activation(norm):
    encoder, decoder = VectorEncoder(136, norm=norm), VectorDecoder(136, norm=norm)
    code = encoder(torch.rand(4, 136))
    assert code.shape == (4, 1024)
    out = decoder(code * 1e4)
    assert out.shape == (4, 136)
    assert isinstance(list(decoder.modules())[-1], nn.Linear)


def test_a_vector_has_no_instance_normalisation():
    with pytest.raises(ValueError, match="for vectors"):
        VectorEncoder(4, norm="instance")


def test_the_discriminator_judges_each_sample_alone():
    judge = VectorDiscriminator(2 * 4 * 4)
    x = torch.rand(3, 2, 4, 4)
    assert judge(x).shape == (3, 1)
    torch.testing.assert_close(judge(x)[1:2], judge(x[1:2]))
    assert count(judge) == 32 * 256 + 256 + 256 * 128 + 128 + 128 * 64 + 64 + 64 + 1


def test_a_single_vector_is_normalised_by_the_running_statistics_in_training():
    encoder = VectorEncoder(6, (5,), norm="batch")
    for _ in range(20):
        encoder(torch.randn(32, 6) * 3 + 1)
    one = torch.randn(1, 6)
    trained = encoder(one)
    assert torch.equal(trained, encoder.eval()(one))
    assert encoder.train()(torch.cat([one, one])).shape == (2, 5)
