"""Which convolutions are kept from oneDNN's error, and that they are."""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from rolekd.models import build
from rolekd.quantize import convert
from rolekd.train.onednn import shield

# an odd batch for two threads, channels last as batches are: without the shield this process
# dies of torch 2.15 on a processor with AVX-512, at the first or the tenth step
_STEPS = """
import torch
from rolekd.models import build
from rolekd.train.onednn import shield

torch.set_num_threads(2)
network = build("resnet8", classes=10, channels=1, image_size=(28, 28), width=8, seed=0).train()
shield(network)
for _ in range(40):
    images = torch.randn(127, 28, 28, 1).permute(0, 3, 1, 2)
    network(images).square().mean().backward()
"""


def test_strided_convolutions_of_few_channels_do_not_write_past_their_buffer():
    # threads that spin while they wait take minutes where others want the cores
    environment = os.environ | {"OMP_WAIT_POLICY": "passive"}
    subprocess.run([sys.executable, "-c", _STEPS], check=True, env=environment)


@pytest.mark.parametrize("bits", [None, 2])
def test_only_convolutions_at_risk_get_their_input_row_by_row(bits):
    network = build("resnet8", classes=10, channels=3, image_size=(16, 16), width=8, seed=0)
    if bits is not None:
        network = convert(network, weight_bits=bits, activation_bits=bits)
    images = torch.randn(5, 16, 16, 3).permute(0, 3, 1, 2)
    before = network.eval()(images)
    shield(network)
    seen = {}
    for path, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(
                lambda _module, inputs, _output, path=path: seen.update({path: inputs[0]})
            )
    assert torch.allclose(network(images), before, atol=1e-5)
    rows = {path for path, x in seen.items() if x.is_contiguous()}
    assert rows == {"stage2.0.shortcut.0"}  # 8 channels in; the others have 16 and more


@pytest.mark.parametrize("channels", [1, 3])
def test_strides_are_those_of_the_order_also_where_others_would_do(channels):
    convolution = nn.Conv2d(channels, 4, 1, stride=2)
    shield(convolution)
    strides = []
    convolution.register_forward_hook(lambda _m, inputs, _o: strides.append(inputs[0].stride()))
    convolution(torch.randn(2, 6, 6, channels).permute(0, 3, 1, 2))
    assert strides == [(36 * channels, 36, 6, 1)]
