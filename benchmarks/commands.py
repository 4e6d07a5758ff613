"""What `rolekd bench` offers: speed as ratios against named peers, measured in one run."""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import click

from rolekd.console import console
from rolekd.display import say_json
from rolekd.params import Ends, Target

_ENDS = click.Choice(get_args(get_args(Ends)[0]))
_SECONDS = click.FloatRange(0, min_open=True)
_LENGTH = "Length of a measurement."
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.group()
def bench() -> None:
    """Hold the benchmarks; `rolekd bench` shows them."""


def _report(name: str, as_json: bool, **options: object) -> None:
    module: ModuleType = importlib.import_module(f"benchmarks.{name}")
    result = module.run(**options)
    if as_json:
        say_json(result)
    else:
        console().print(module.table(result))


@bench.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--seconds", default=1.0, show_default=True, type=_SECONDS, help=_LENGTH)
def augment(as_json: bool, seconds: float) -> None:
    """Policy engine against Pillow and torchvision."""
    _report("augment", as_json, seconds=seconds)


@bench.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--images", default=10_000, show_default=True, type=click.IntRange(1), help="Files.")
def data(as_json: bool, images: int) -> None:
    """Reading of image files against torchvision's ImageFolder."""
    _report("data", as_json, images=images)


@bench.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--workers", default=50, show_default=True, type=click.IntRange(1, 1000))
@click.option("--tasks", default=2000, show_default=True, type=click.IntRange(1, 100_000))
@click.option("--seconds", default=10.0, show_default=True, type=_SECONDS, help="Of a training.")
@click.option("--kills", default=10, show_default=True, type=click.IntRange(0, 1000))
@click.option("--storage", help="URL of the database; default: SQLite.")
def fleet(
    as_json: bool, workers: int, tasks: int, seconds: float, kills: int, storage: str | None
) -> None:
    """What the study costs many workers whose trainings only sleep."""
    _report(
        "fleet",
        as_json,
        workers=workers,
        tasks=tasks,
        seconds=seconds,
        kills=kills,
        storage=storage,
    )


@bench.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--cifar/--no-cifar", default=True, show_default=True, help="The longer half.")
def search(as_json: bool, cifar: bool) -> None:
    """Share of a search's wall time that is spent in training."""
    _report("search", as_json, cifar=cifar)


@bench.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--seconds", default=3.0, show_default=True, type=_SECONDS, help=_LENGTH)
@click.option("--bits", default=2, show_default=True, help="Of weights and activations.")
@click.option("--student", type=_FILE, help="Weights of a trained student to measure.")
@click.option("--float-network", type=_FILE, help="Weights of the same network in float.")
@click.option("--data", type=_FOLDER, help="Prepared data, for test accuracy.")
@click.option("--target", default="cpu", show_default=True, type=click.Choice(get_args(Target)))
@click.option("--ends", default="float", show_default=True, type=_ENDS, help="Of random weights.")
@click.option("--openvino/--no-openvino", default=True, show_default=True, help="As a peer.")
def infer(as_json: bool, **options: Any) -> None:
    """The integer student against fp32 and int8 ONNX, OpenVINO, and PyTorch.

    Give --student, --float-network and --data for trained networks; without them, a CIFAR
    ResNet18 with random weights.
    """
    _report("infer", as_json, **options)


@bench.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--width", default=64, show_default=True, help="Of the ResNet18s.")
@click.option("--rounds", default=7, show_default=True, help="Steps of each kind.")
@click.option("--threads", default=1, show_default=True)
@click.option("--against", metavar="COMMIT", help="Compare the small students with this commit's.")
def step(as_json: bool, **options: Any) -> None:
    """A training step: quantised, distilled, in bfloat16; the share of batches."""
    _report("step", as_json, **options)
