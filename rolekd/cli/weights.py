"""`rolekd weights`: files of weights that networks can begin with."""

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
@click.option("--mean", help=f"Of the images that they were trained on. {_NUMBERS}")
@click.option("--std", help=f"Their standard deviation. {_NUMBERS}")
def import_(source: Path, target: Path, mean: str | None, std: str | None) -> None:
    """Write the weights SOURCE as TARGET, a safetensors file that teacher.weights can name.

    SOURCE is what torch.save wrote of a state_dict (.pth, .pt, .bin; nothing in it is run), or a
    safetensors file. Without --mean and --std they are those that SOURCE says; files of torchvision
    are known by their names; otherwise the data's own.
    """
    from rolekd.models.normalized import Normalization
    from rolekd.train import pretrained

    if (mean is None) != (std is None):
        raise InputError("weights import: give --mean and --std together, or neither")
    theirs: Normalization | None = None
    if mean is not None and std is not None:
        theirs = {"mean": _numbers("--mean", mean), "std": _numbers("--std", std)}
    count = pretrained.import_weights(source, target, theirs)
    say(f"{target}: {count} tensors; name it as teacher.weights or student.weights")


def _numbers(option: str, text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(f"{option} {text}: not numbers; {_NUMBERS}") from error
