"""Which convolutions run as products, that these are equal, and that oneDNN's error is gone."""

import copy
import os
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rolekd.models import as_products, build
from rolekd.quantize import convert

# an odd batch for two threads, channels last as batches are: with the convolutions this process
# dies of torch 2.15 on a processor with AVX-512, at the first or the tenth step
_STEPS = """
import torch
from rolekd.models import build
from rolekd.models import as_products

torch.set_num_threads(2)
network = build("resnet8", classes=10, channels=1, image_size=(28, 28), width=8, seed=0).train()
as_products(network)
for _ in range(40):
    images = torch.randn(127, 28, 28, 1).permute(0, 3, 1, 2)
    network(images).square().mean().backward()
"""


def test_strided_convolutions_of_few_channels_do_not_write_past_their_buffer():
    # threads that spin while they wait take minutes where others want the cores
    environment = os.environ | {"OMP_WAIT_POLICY": "passive"}
    subprocess.run([sys.executable, "-c", _STEPS], check=True, env=environment)


@pytest.mark.parametrize("bits", [None, 2])
def test_products_are_the_convolutions(bits):
    network = build("resnet8", classes=10, channels=3, image_size=(16, 16), width=8, seed=0)
    images = torch.randn(5, 16, 16, 3).permute(0, 3, 1, 2)
    if bits is not None:
        # float64: a sum in another order must not end on another level; values at an end of the
        # range, as those of channels that are all zero, pass a gradient or not by their rounding
        network = convert(network, weight_bits=bits, activation_bits=bits).double()
        images = images.double()
    other = copy.deepcopy(network)
    as_products(other)
    results = []
    # row by row, oneDNN's convolutions are right
    for one, batch in ((network, images.contiguous()), (other, images)):
        logits = one.train()(batch)
        logits.square().mean().backward()
        gradients = [parameter.grad for parameter in one.parameters()]
        results.append([logits, *(gradients if bits is None else gradients[-1:])])
    for ours, theirs in zip(*results, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_only_strided_ones_of_one_pixel_are_products(monkeypatch):
    network = nn.Sequential(
        *(
            nn.Conv2d(4, 4, size, **options)
            for size, options in [
                (1, {"stride": 2}),
                (1, {"stride": (1, 2), "bias": False}),
                (1, {}),
                (3, {"stride": 2, "padding": 1}),
                (1, {"stride": 2, "groups": 4}),
                (1, {"stride": 2, "padding": 1}),
            ]
        )
    )
    as_products(network)
    called = []
    monkeypatch.setattr(F, "linear", lambda *a, f=F.linear: called.append(a[1].shape) or f(*a))
    images = torch.randn(2, 4, 32, 32).contiguous(memory_format=torch.channels_last)
    maps = images
    for module in network[:2]:
        maps = module(maps)
        assert maps.is_contiguous(memory_format=torch.channels_last)
    network(images)
    assert called == [(4, 4)] * 4


@pytest.mark.parametrize(
    ("side", "options", "product"),
    [
        (1, {"padding": 1}, True),
        (2, {"padding": 1, "stride": 2}, True),
        (3, {}, True),
        (4, {"stride": 2}, True),
        ((1, 2), {"padding": 1, "stride": 2}, True),
        (2, {"padding": 2, "stride": 4}, True),
        (2, {"padding": 1}, False),
        (3, {"padding": 1, "stride": 2}, False),
        (1, {"padding": 3, "stride": 9}, False),
        (1, {"padding": "same"}, False),
        (1, {"padding": 2, "dilation": 2}, False),
        (1, {"padding": 1, "groups": 2}, False),
    ],
)
def test_convolutions_to_one_pixel_are_products(side, options, product, monkeypatch):
    torch.manual_seed(0)
    module = nn.Conv2d(4, 6, 3, **options)
    sides = side if isinstance(side, tuple) else (side, side)
    images = torch.randn(2, 4, *sides).contiguous(memory_format=torch.channels_last)
    called, results = [], []
    monkeypatch.setattr(F, "linear", lambda *a, f=F.linear: called.append(1) or f(*a))
    for _ in range(2):
        given = images.clone().requires_grad_()
        module.zero_grad()
        maps = module(given)
        maps.square().sum().backward()
        results.append([maps, given.grad, module.weight.grad, module.bias.grad])
        as_products(nn.Sequential(module))
    assert len(called) == product
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_another_device_keeps_its_convolutions():
    for module, side in (
        (nn.Conv2d(4, 4, 1, stride=2, device="meta"), 8),
        (nn.Conv2d(4, 4, 3, padding=1, device="meta"), 1),
    ):
        as_products(module)
        assert module(torch.empty(2, 4, side, side, device="meta")).shape[2] == max(1, side // 2)
