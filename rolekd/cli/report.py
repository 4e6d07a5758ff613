"""`rolekd report`: the page of a finished pipeline, also after parameters or code have changed."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from rolekd import files, params
from rolekd.display import say
from rolekd.outputs import Arms, Outputs
from rolekd.track import provenance, store

if TYPE_CHECKING:
    from rolekd.report.costs import Cost


@click.command()
@click.option(
    "--outputs",
    default="outputs",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder of the stages' outputs.",
)
@click.option(
    "--params", "params_file", default="params.yaml", show_default=True, help="Parameters."
)
@click.option(
    "--to",
    "target",
    default="report.html",
    show_default=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write.",
)
@click.option("--registry", is_flag=True, help="Add the registered versions.")
def report(outputs: Path, params_file: str, target: Path, registry: bool) -> None:
    """Write the self-contained HTML report of the last `dvc repro`."""
    from rolekd.report.gather import page_content
    from rolekd.report.measured import costs
    from rolekd.report.page import build
    from rolekd.stages.report import links

    values, written = params.load(params_file), Outputs(outputs)
    teacher = values.compare.arms[Arms.load(written.arms).exported].teacher
    measured = [*costs(written, teacher), *(_registered(written, values) if registry else ())]
    content = page_content(
        written, values, provenance.collect().describe(), measured, links(values)
    )
    files.write_text(target, build(content))
    say(f"{target}: open it in a browser")


def _registered(outputs: Outputs, values: params.Params) -> list["Cost"]:
    """Return the costs of registered versions that were tested on the same images.

    Latencies were measured at registration, perhaps on another machine.
    """
    from rolekd.data import dataset as datasets
    from rolekd.registry import versions
    from rolekd.report.costs import Cost

    digest = datasets.load(outputs.data).digest
    found = versions.all_versions(
        versions.model_name(values.data.name), store.resolve(values.track.uri)
    )
    return [
        Cost(
            f"version {number}, {tags.get('weight_bits', '?')} bits",
            float(tags["test_accuracy"]),
            int(tags["bytes"]),
            float(tags["latency_ms"]),
        )
        for number, tags in sorted(found.items())
        if tags.get("data_digest") == digest
        and {"test_accuracy", "bytes", "latency_ms"} <= set(tags)
    ]
