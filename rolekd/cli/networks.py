"""What the networks of the two roles are: their taps and their cost, as data and as tables."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.text import Text
from torch import nn

from rolekd.console import Table, console
from rolekd.data import dataset as datasets
from rolekd.display import shown
from rolekd.errors import InputError
from rolekd.models import capture, stems, zoo
from rolekd.outputs import Outputs
from rolekd.params import DataParams, Params, Role
from rolekd.quantize.size import Size, layers, network_size
from rolekd.sources import open_source
from rolekd.train import roles

_DATA = Outputs().data


def describe(
    params: Params, wanted: Sequence[Role], *, taps: bool, size: bool
) -> dict[str, dict[str, Any]]:
    """Return, for each role, "model" and, if wanted, "taps" and "layers" with "total".

    Raises:
        InputError: a network cannot be built, or the shape of its images is unknown.
    """
    shape = _shape(params.data)
    found: dict[str, dict[str, Any]] = {}
    for role in wanted:
        about = roles.describe(params, role, shape)
        network = roles.build(about, seed=0)
        height, width = shape["image_size"]
        entry: dict[str, Any] = {"model": about["model"], **shape, "stem": stems.describe(network)}
        if taps:
            entry["taps"] = _taps(network, about["model"], (height, width))
        if size:
            entry |= _cost(network, (shape["channels"], height, width))
        found[role] = entry
    return found


def _shape(params: DataParams) -> dict[str, Any]:
    """Return classes, channels and image_size of the prepared data, or of the source."""
    if (_DATA / "dataset.json").exists():
        dataset = datasets.load(_DATA)
        if dataset.name == params.name:
            return roles.shape_of(dataset)
    try:
        source = open_source(params)
        height, width, channels = source.shape()
        classes = len(source.listing().classes)
    except InputError as error:
        raise InputError(
            f"{_DATA}: holds no prepared {params.name}, and the source cannot say what its images "
            f"are ({error})"
        ) from error
    return {"classes": classes, "channels": channels, "image_size": [height, width]}


def _taps(network: nn.Module, name: str, image_size: tuple[int, int]) -> list[dict[str, Any]]:
    found = capture.shapes(network, image_size)
    try:
        defaults = zoo.default_taps(network, name, image_size)
    except InputError:  # users choose from this list
        defaults = ()
    return [
        {"path": path, "shape": list(shape), "default": path in defaults}
        for path, shape in found.items()
    ]


def _cost(network: nn.Module, image_shape: tuple[int, int, int]) -> dict[str, Any]:
    rows = [
        {
            "path": layer.path,
            "weight_bits": layer.weight_bits,
            "activation_bits": layer.activation_bits,
            **_figures(layer.size),
        }
        for layer in layers(network, image_shape)
    ]
    return {"layers": rows, "total": _figures(network_size(network, image_shape))}


def _figures(cost: Size) -> dict[str, Any]:
    return {
        **asdict(cost),
        "bytes": cost.bytes,
        "bits_per_parameter": round(cost.bits_per_parameter, 3),
    }


def show(found: dict[str, dict[str, Any]]) -> None:
    """Print tables."""
    terminal = console()
    for role, entry in found.items():
        images = "x".join(map(str, (*entry["image_size"], entry["channels"])))
        facts = (entry["model"], f"images {images}", entry["stem"], f"{entry['classes']} classes")
        title = f"{role}: {', '.join(facts)}"
        if "taps" in entry:
            heading = Text(f"{shown(title)}\nMarked: the default taps")
            table = Table(title=heading, title_justify="left")
            for column in ("", "module", "output"):
                table.add_column(column)
            for tap in entry["taps"]:
                mark = "*" if tap["default"] else ""
                table.add_row(mark, tap["path"], " x ".join(map(str, tap["shape"])))
            terminal.print(table)
        if "total" in entry:
            terminal.print(_cost_table(title, entry))


def _cost_table(title: str, entry: dict[str, Any]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("layer", no_wrap=True)
    for heading in ("bits W/A", "parameters", "bytes", "bits each", "10⁶ bit operations"):
        table.add_column(heading, justify="right")
    for row in (*entry["layers"], entry["total"]):
        table.add_row(
            row.get("path", "all + BatchNorm"),
            f"{row['weight_bits']}/{row['activation_bits']}" if "path" in row else "",
            f"{row['parameters']:,}",
            f"{row['bytes']:,}",
            f"{row['bits_per_parameter']:.2f}",
            f"{row['bit_operations'] / 1e6:,.2f}",
        )
    return table
