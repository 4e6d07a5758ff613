"""The list of networks says what is true of them."""

import itertools
import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from declared import declare

from rolekd.cli.models import models
from rolekd.errors import InputError
from rolekd.models import build, catalogue, external
from rolekd.models.zoo import OURS
from rolekd.quantize import convert
from rolekd.quantize.lower import lower

_OWN = """
from torch import nn
def make(*, classes, channels, image_size):
    return nn.Sequential(nn.Conv2d(channels, 4, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes))
def broken(*, classes, channels, image_size, width):
    raise ValueError("no")
class Branching(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.layer = nn.Linear(3, classes)
    def forward(self, x):
        return self.layer(x.mean((2, 3))) if x.sum() > 0 else self.layer(x.amax((2, 3)))
def branching(*, classes, channels, image_size, **others):
    return Branching(classes)
"""


def test_ours_the_users_and_torchvisions_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = {name: f"own:{name}" for name in ("make", "broken", "branching")}
    declare(tmp_path, monkeypatch, "rolekd.models", points, _OWN)
    found = {entry.name: entry for entry in catalogue.entries()}
    assert list(found)[: len(OURS) + 3] == [*OURS, "branching", "broken", "make"]
    # 3x3 convolutions, 1x1 shortcuts of three stages, scales and shifts, the classifier
    widths = [3, 16, 16, 32, 64, 128]
    blocks = sum(9 * i * o + 9 * o * o for i, o in itertools.pairwise(widths[1:]))
    shortcuts = sum(i * o for i, o in itertools.pairwise(widths[2:]))
    norms = 2 * 16 + sum(4 * o for o in widths[2:]) + sum(2 * o for o in widths[3:])
    total = 9 * 3 * 16 + blocks + shortcuts + norms + 10 * 129
    assert found["resnet8"].parameters == total
    assert (found["make"].student, found["make"].width) == (True, False)
    assert (found["broken"].student, found["broken"].parameters) == (False, None)
    assert (found["branching"].student, found["branching"].width) == (False, True)
    small = found["torchvision:mobilenet_v3_small"]
    assert (small.student, small.weights) == (True, ("IMAGENET1K_V1",))
    assert not found["torchvision:vit_b_16"].student
    # these train with auxiliary logits, which no stage can use
    theirs = {name.removeprefix("torchvision:") for name in found}
    assert set(external.torchvision_names()) - theirs == {"googlenet", "inception_v3"}
    listed = CliRunner().invoke(models, catch_exceptions=False).output
    assert "resnet8" in listed
    assert "make" in listed
    assert "vit_b_16" not in listed
    assert "vit_b_16" in CliRunner().invoke(models, ["--all"], catch_exceptions=False).output
    content = json.loads(CliRunner().invoke(models, ["--json"], catch_exceptions=False).output)
    assert len(content) == len(found)


def _can_be_a_student(name: str) -> bool:
    side = (96, 96)
    network = build(f"torchvision:{name}", classes=3, channels=3, image_size=side, seed=0)
    try:
        low = convert(network, weight_bits=4, activation_bits=4, quantizer="lsq")
        with torch.no_grad():
            low.train()(torch.rand(2, 3, *side))
        lower(low.eval(), mean=[0.5] * 3, std=[0.5] * 3, image_size=side)
    except (InputError, RuntimeError):
        return False
    return True


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_what_is_said_to_be_a_student_can_be_one_and_nothing_else() -> None:
    from torchvision import models as theirs

    small = [
        name
        for name in external.torchvision_names()
        if theirs.get_model_weights(name).DEFAULT.meta["num_params"] < 30e6
    ]
    assert len(small) > 30
    wrong = [name for name in small if _can_be_a_student(name) != catalogue.converts(name)]
    assert wrong == []
