"""A folder of photos, and weights of other photos to begin with: the trial of the presets.

    python ../shared/data/unpack_cifar.py cifar10 /tmp/cifar10
    python ../shared/data/unpack_cifar.py cifar100 /tmp/cifar100
    python -m results.photos folder /tmp/cifar10 data/raw/photos --side 96
    python -m results.photos pretrain /tmp/cifar100 weights/cifar100.safetensors --preset photos-96

`folder` writes JPEGs in class folders, `train/` and `test/`, like a camera's photos reduced by a
photo manager: small photos of ten classes, enlarged to the side that the preset works at. The cost
of a side does not depend on what is in the photos; the accuracies are those of photos that were
once 32 pixels wide. `pretrain` trains the preset's teacher on the photos of CIFAR-100, none of
which is in CIFAR-10, also enlarged, without a policy.
"""

from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image

import rolekd
from rolekd.data.dataset import Dataset

QUALITY = 95  # of the JPEGs


@click.group(help=__doc__.splitlines()[0] if __doc__ else None)
def main() -> None:
    """One command a step."""


@main.command()
@click.argument("cifar10", type=click.Path(exists=True, path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--side", required=True, type=int)
@click.option("--training", default=1500, show_default=True)
@click.option("--test", default=1000, show_default=True)
def folder(cifar10: Path, output: Path, side: int, training: int, test: int) -> None:
    """Write a folder of photos, as many of each class."""
    data = _cifar("cifar10", cifar10)
    for part, count in (("train", training), ("test", test)):
        images, labels = data.split(part)
        for number, index in enumerate(_balanced(labels, count)):
            place = output / part / data.classes[labels[index]] / f"{number:05d}.jpg"
            place.parent.mkdir(parents=True, exist_ok=True)
            _enlarged(images[index], side).save(place, quality=QUALITY)
    click.echo(f"{output}: {training} photos of {side}x{side} to train on, {test} to test on")


@main.command()
@click.argument("cifar100", type=click.Path(exists=True, path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--preset", required=True)
@click.option("--images", default=10_000, show_default=True)
@click.option("--epochs", default=10, show_default=True)
@click.option("--learning-rate", default=0.002, show_default=True)
def pretrain(
    cifar100: Path, output: Path, preset: str, images: int, epochs: int, learning_rate: float
) -> None:
    """Train the teacher of a preset on other photos, briefly, and keep its weights."""
    changes = {
        "threads": 2,
        "teacher.training.epochs": epochs,
        "teacher.training.learning_rate": learning_rate,
    }
    params = rolekd.Params.preset(preset, changes)
    side = params.data.image_size
    assert isinstance(side, int)
    data = _cifar("cifar100", cifar100)
    parts = {
        part: _arrays(data, part, count, side)
        for part, count in (("train", images), ("test", 1000))
    }
    given = rolekd.load_data(parts["train"], params, test=parts["test"], classes=list(data.classes))
    teacher = rolekd.train_teacher(given, params)
    click.echo(f"{teacher.evaluate(given).accuracy:.2%} of {side}x{side} photos of 100 classes")
    output.parent.mkdir(parents=True, exist_ok=True)
    teacher.save(output)


def _cifar(name: str, place: Path) -> Dataset:
    changes = {"data.path": str(place), "data.training_images": None}
    return rolekd.load_data(name, rolekd.Params.preset("cifar10-small", changes))


def _balanced(labels: NDArray[np.integer], count: int) -> NDArray[np.intp]:
    """Return the first of each class, class by class in turns, so that each has as many."""
    places = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    return np.stack([one[: -(-count // len(places))] for one in places], axis=1).ravel()[:count]


def _arrays(
    data: Dataset, part: str, count: int, side: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    images, labels = data.split(part)
    chosen = _balanced(labels, count)
    large = [np.asarray(_enlarged(images[index], side)) for index in chosen]
    return np.stack(large), labels[chosen]


def _enlarged(image: NDArray[np.uint8], side: int) -> Image.Image:
    return Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)


if __name__ == "__main__":
    main()
