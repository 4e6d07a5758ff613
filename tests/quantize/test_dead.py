"""Quantisers that pass nothing on."""

import pytest
import torch

from rolekd.models import build
from rolekd.quantize import convert
from rolekd.quantize.dead import dead


@pytest.mark.parametrize("ends", ["float", 8])
@pytest.mark.parametrize("quantizer", ["dorefa", "lsq"])
def test_dead_weights_and_activations_are_named(quantizer, ends):
    usual = build("resnet8", classes=10, channels=3, image_size=(8, 8), width=4, seed=0)
    network = convert(usual, weight_bits=2, activation_bits=2, quantizer=quantizer, ends=ends)
    images = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    network(images)
    assert dead(network, images) == []
    assert dead(usual, images) == []
    with torch.no_grad():
        network.get_parameter("stage2.0.conv1.weight").fill_(0.5)
        network.get_parameter("stage3.0.bn1.bias").fill_(-99)  # before a ReLU
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.train()
    names = dead(network, images)
    assert {"stage2.0.conv1", "stage3_0_relu1_quantizer"} <= set(names)
    assert not any(name.startswith(("stage1", "stage4")) for name in names)
    assert network.training
    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in after)
    assert not any(module._forward_hooks for module in network.modules())
