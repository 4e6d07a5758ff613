"""`rolekd serve`: a registered model over HTTP."""

import tempfile
from pathlib import Path

import click

from rolekd.display import say


@click.command()
@click.option(
    "--model",
    "address",
    help="models:/NAME@ALIAS or models:/NAME/VERSION; default: the champion of the data's student.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=5001, show_default=True, type=click.IntRange(1, 65535))
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1), help="Processes.")
@click.option(
    "--megabytes",
    default=8,
    show_default=True,
    type=click.IntRange(1),
    help="Largest body of a request.",
)
@click.option("--params", "params_file", default="params.yaml", help="Parameters.")
def serve(
    address: str | None, host: str, port: int, workers: int, megabytes: int, params_file: str
) -> None:
    """Answer predictions over HTTP, as `mlflow models serve` does, and safe against bad requests.

    The version is looked up once: start it again after a promotion.
    """
    from rolekd import params
    from rolekd.export import session
    from rolekd.track import registry, serving, store

    values = params.load(params_file)
    address = address or f"models:/{registry.model_name(values.data.name)}@{registry.CHAMPION}"
    with tempfile.TemporaryDirectory() as folder:
        model = registry.fetch_address(address, Path(folder), store.resolve(values.track.uri))
        # MLflow starts the file without a look at what this processor does with it
        session.load(model / registry.GRAPH_FILE, name=address)
        say(f"{address} on http://{host}:{port}/invocations, Ctrl-C ends it")
        serving.serve(model, host, port, workers, megabytes * 2**20)
