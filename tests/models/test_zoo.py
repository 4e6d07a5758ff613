"""Networks by name: shapes, seeds, names."""

import pytest
import torch
from torch import nn

from rolekd.errors import InputError
from rolekd.models import build, copy_matching


@pytest.mark.parametrize("name", ["resnet8", "resnet18", "alexnet"])
@pytest.mark.parametrize(("channels", "side"), [(1, 8), (1, 28), (3, 32)])
def test_every_network_takes_every_image_size(name: str, channels: int, side: int) -> None:
    model = build(
        name, classes=7, channels=channels, image_size=(side, side), width=4, seed=0
    ).eval()
    assert model(torch.zeros(2, channels, side, side)).shape == (2, 7)


def test_resnets_have_the_stages_of_the_method() -> None:
    model = build("resnet18", classes=10, channels=3, image_size=(32, 32), width=64, seed=0)
    shapes = {name: tuple(weight.shape) for name, weight in model.named_parameters()}
    assert shapes["conv1.weight"] == (64, 3, 3, 3)
    assert shapes["stage4.1.conv2.weight"] == (512, 512, 3, 3)
    assert shapes["stage2.0.shortcut.0.weight"] == (128, 64, 1, 1)
    assert "stage1.0.shortcut.0.weight" not in shapes
    convolutions = sum(isinstance(module, nn.Conv2d) for module in model.modules())
    assert convolutions == 1 + 16 + 3
    # He et al.'s ResNet18 has 11,689,512 parameters: without the 7x7 stem and its 1000 classes
    # 11,689,512 - 9,408 - 513,000, plus a 3x3 stem and 10 classes.
    assert sum(p.numel() for p in model.parameters()) == 11_167_104 + 1_728 + 5_130


def test_seed_decides_the_weights_and_leaves_the_global_generator_alone() -> None:
    def state(seed: int) -> dict[str, torch.Tensor]:
        return build(
            "resnet8", classes=3, channels=1, image_size=(8, 8), width=4, seed=seed
        ).state_dict()

    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = state(1), state(1), state(2)
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["conv1.weight"], other["conv1.weight"])


def test_unknown_network_is_named_with_its_neighbours() -> None:
    with pytest.raises(InputError, match=r"resnet81.*did you mean resnet8, resnet18"):
        build("resnet81", classes=3, channels=1, image_size=(8, 8), width=4, seed=0)


def test_weights_are_copied_where_name_and_shape_agree() -> None:
    def make(name: str, width: int, seed: int) -> nn.Module:
        return build(name, classes=10, channels=1, image_size=(8, 8), width=width, seed=seed)

    teacher, same, narrow = make("resnet18", 8, 0), make("resnet8", 8, 1), make("resnet8", 4, 1)
    copied = copy_matching(same, teacher)
    assert set(copied) == set(same.state_dict())
    assert torch.equal(
        same.state_dict()["stage4.0.conv2.weight"], teacher.state_dict()["stage4.0.conv2.weight"]
    )
    before = narrow.state_dict()["conv1.weight"].clone()
    copied = copy_matching(narrow, teacher)
    assert "classifier.bias" in copied
    assert "conv1.weight" not in copied
    assert torch.equal(before, narrow.state_dict()["conv1.weight"])
