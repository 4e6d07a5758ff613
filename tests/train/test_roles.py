"""Whose weights are they? Class names and the data's digest travel with them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rolekd.data.dataset import Dataset
from rolekd.errors import InputError
from rolekd.params import Params
from rolekd.train import roles, state


def made_of(classes: tuple[str, ...]) -> Dataset:
    images = np.zeros((6, 8, 8, 1), np.uint8)
    labels = np.arange(6) % 3
    splits = {"train": np.arange(6)}
    return Dataset("x", images, labels, classes, splits, (0.5,), (0.25,), "d" * 64)


DATA = made_of(("ant", "bee", "cat"))


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    network, about = roles.teacher(Params().teacher, DATA, 0)
    state.save_weights(tmp_path / "teacher.safetensors", network, about)
    return tmp_path / "teacher.safetensors"


def test_names_and_digest_travel_with_both_roles(teacher: Path) -> None:
    network, about = roles.load(teacher, DATA)
    assert (about["class_names"], about["data_digest"]) == (["ant", "bee", "cat"], "d" * 64)
    _, about = roles.student(Params().student, DATA, 0, network)
    assert (about["class_names"], about["data_digest"]) == (["ant", "bee", "cat"], "d" * 64)


def test_more_images_of_the_same_classes_are_fine(teacher: Path) -> None:
    assert roles.load(teacher, replace(DATA, digest="e" * 64))


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (("ant", "cat", "bee"), r"same classes in another order \(class 1 is bee there, cat in"),
        (("ant", "bee", "dog"), r"trained for other classes \(cat not in the data\)"),
    ],
)
def test_other_classes_and_another_order_are_refused(
    classes: tuple[str, ...], message: str, teacher: Path
) -> None:
    with pytest.raises(InputError, match=rf"teacher\.safetensors: .*{message}"):
        roles.load(teacher, made_of(classes))
