"""`rolekd weights`: files of weights that networks can start from."""

from pathlib import Path

import click

from rolekd.cli.groups import CommandGroup
from rolekd.display import say
from rolekd.errors import InputError

_NUMBERS = "One or three numbers in 0..1, as 0.485,0.456,0.406."


@click.group(cls=CommandGroup)
def weights() -> None:
    """Import weights of networks that others trained."""


@weights.command("import")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--mean", help=f"Mean of the images that they were trained on. {_NUMBERS}")
@click.option("--std", help=f"Their standard deviation. {_NUMBERS}")
def import_(source: Path, target: Path, mean: str | None, std: str | None) -> None:
    """Convert the weights SOURCE to TARGET, a safetensors file for teacher.weights.

    SOURCE is a state_dict written by torch.save (.pth, .pt, .bin; code in it is not run), or a
    safetensors file. Without --mean and --std they come from SOURCE, for torchvision's files from
    their names, otherwise from your data.
    """
    from rolekd.models.normalized import Normalization
    from rolekd.train import pretrained

    if (mean is None) != (std is None):
        raise InputError("weights import: give --mean and --std together, or neither")
    theirs: Normalization | None = None
    if mean is not None and std is not None:
        theirs = {"mean": _numbers("--mean", mean), "std": _numbers("--std", std)}
    count, prefix = pretrained.import_weights(source, target, theirs)
    without = f" (names without their prefix {prefix})" if prefix else ""
    say(f"{target}: {count} tensors{without}; name it as teacher.weights or student.weights")


def _numbers(option: str, text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(f"{option} {text}: not numbers; {_NUMBERS}") from error
