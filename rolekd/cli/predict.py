"""`rolekd predict`: classes of image files, by a registered model or an ONNX file."""

import csv
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rolekd import params
from rolekd.display import named, say, say_json, shown
from rolekd.track import store

if TYPE_CHECKING:
    from rolekd.export.predict import Prediction
    from rolekd.export.session import Session

_COLUMNS = ("image", "class", "probability", "error")


@click.command()
@click.argument("images", nargs=-1, required=True)
@click.option(
    "--model",
    "address",
    required=True,
    help="models:/NAME@ALIAS, models:/NAME/VERSION, or a .onnx file.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print a JSON object per line instead of CSV."
)
@click.option(
    "--batch", default=64, show_default=True, type=click.IntRange(1, 65_536), help="At once."
)
@click.option("--resize", is_flag=True, help="Crop and scale other sizes as in training.")
@click.option("--params", "params_file", default="params.yaml", help="Parameters.")
@click.pass_context
def predict(
    context: click.Context,
    images: tuple[str, ...],
    address: str,
    as_json: bool,
    batch: int,
    resize: bool,
    params_file: str,
) -> None:
    """Classify IMAGES: files, folders of images, or - for one image from standard input.

    An image that cannot be read gets a line with the reason; the others are classified, and the
    exit code is 1.
    """
    from rolekd.export.predict import classify, expand

    network = _open(address, params_file)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    if not as_json:
        writer.writerow(_COLUMNS)
    broken = 0
    for prediction in classify(network, expand(images), batch, resize):
        broken += prediction.error is not None
        if as_json:
            row = {**_row(prediction), "probabilities": prediction.probabilities}
            say_json(row, indent=None, exact=True)
        else:
            writer.writerow(None if v is None else named(v) for v in _row(prediction).values())
    if broken:
        say(f"{broken} of the images could not be classified; the error column says why", err=True)
        context.exit(1)


def _row(prediction: "Prediction") -> dict[str, object]:
    # names are data and stay as they are; an error is text for people
    error = None if prediction.error is None else shown(prediction.error)
    values = (prediction.image, prediction.label, prediction.probability, error)
    return dict(zip(_COLUMNS, values, strict=True))


def _open(address: str, params_file: str) -> "Session":
    """Load the network at an address."""
    from rolekd.export import session

    if not address.startswith("models:"):
        return session.load(Path(address))
    from rolekd.registry import fetch

    uri = store.resolve(params.load(params_file).track.uri)
    with tempfile.TemporaryDirectory() as folder:
        return fetch.fetch_address(address, Path(folder), uri).open()
