"""Folded teachers give what the networks give that they are made from."""

import pytest
import torch
from torch import nn

from rolekd.models import Taps, build, default_taps, folded


def _trained(name: str, size: int = 32) -> nn.Module:
    """Return a network whose BatchNorms do something."""
    network = build(name, classes=10, channels=3, image_size=(size, size), width=8, seed=0)
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                tensor.data = torch.rand(tensor.shape, generator=generator) + 0.5
    return network.eval()


@pytest.mark.parametrize("name", ["resnet8", "resnet18", "alexnet"])
def test_a_folded_network_gives_the_same_logits_and_taps(name):
    network = _trained(name)
    paths = default_taps(network, name)
    fast = folded(network, keep=paths)
    images = torch.randn(4, 32, 32, 3).permute(0, 3, 1, 2)
    with torch.no_grad(), Taps(network, paths) as ours, Taps(fast, paths) as theirs:
        assert torch.allclose(fast(images), network(images), rtol=1e-4, atol=1e-4)
        for one, other in zip(ours.values(), theirs.values(), strict=True):
            assert torch.allclose(one, other, rtol=1e-4, atol=1e-4)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fast.modules())
    assert not any(parameter.requires_grad for parameter in fast.parameters())


def test_a_tapped_convolution_keeps_its_own_output():
    network = _trained("resnet8")
    fast = folded(network, keep=["conv1"])
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad(), Taps(network, ["conv1"]) as ours, Taps(fast, ["conv1"]) as theirs:
        assert torch.allclose(fast(images), network(images), rtol=1e-4, atol=1e-4)
        assert torch.allclose(ours.values()[0], theirs.values()[0], atol=1e-6)


class _Twice(nn.Module):
    """One BatchNorm on two convolutions, and a convolution whose value two layers take."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3)
        self.norm, self.other = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, x):
        x = self.norm(self.first(x))
        y = self.second(self.norm(x))
        return self.other(y) + y


class _Branching(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


def test_what_cannot_be_folded_stays():
    torch.manual_seed(0)
    network = _Twice()
    network(torch.randn(8, 3, 9, 9))
    images = torch.randn(4, 3, 9, 9)
    with torch.no_grad():
        assert torch.equal(folded(network.eval())(images), network(images))
    branching = _Branching()
    assert folded(branching) is branching
