"""`rolekd serve`: a registered model over HTTP."""

import tempfile
from pathlib import Path
from typing import Any

import click

from rolekd import params, ports
from rolekd.display import say
from rolekd.track import store


@click.command()
@click.option(
    "--model",
    "address",
    help="models:/NAME@ALIAS or models:/NAME/VERSION; default: the champion of the data's student.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=5001, show_default=True, type=click.IntRange(1, 65535))
@click.option(
    "--workers", default=1, show_default=True, type=click.IntRange(1, 256), help="Processes."
)
@click.option(
    "--megabytes",
    default=16,
    show_default=True,
    type=click.IntRange(1, 1024),
    help="Largest request, in megabytes.",
)
@click.option(
    "--connections",
    default=100,
    show_default=True,
    type=click.IntRange(1, 65_536),
    help="Open connections, for each process.",
)
@click.option(
    "--seconds",
    default=30.0,
    show_default=True,
    type=click.FloatRange(0.1, 3600.0),
    help="Time for a request to arrive and to be answered.",
)
@click.option("--params", "params_file", default="params.yaml", help="Parameters.")
def serve(
    address: str | None,
    host: str,
    port: int,
    workers: int,
    params_file: str,
    **limits: Any,
) -> None:
    """Classify photos over HTTP: as files, on a page, and in the protocol of `mlflow models serve`.

    Only the registered file is served; code that the version names is not run.

    The version is looked up once: restart the server after a promotion.
    """
    from rolekd.registry import fetch, serving, versions
    from rolekd.registry.connections import Limits

    values = params.load(params_file)
    address = address or f"models:/{versions.model_name(values.data.name)}@{versions.CHAMPION}"
    with (
        ports.listen(host, port) as listener,
        ports.ended_by_signals(),
        tempfile.TemporaryDirectory() as folder,
    ):
        version = fetch.fetch_address(address, Path(folder), store.resolve(values.track.uri))
        version.open()  # faults are reported here, not by each worker
        say(
            f"{address} on http://{host}:{port}/ (a page for photos; /classify, /invocations), "
            "Ctrl-C ends it"
        )
        size = limits["megabytes"] * 2**20
        kept = Limits(size, limits["connections"], limits["seconds"])
        serving.serve(version, listener, workers, kept)
