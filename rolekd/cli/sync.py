"""`rolekd sync`: send waiting records to MLflow."""

import click

from rolekd import params
from rolekd.display import say, say_json
from rolekd.track import store
from rolekd.track import sync as spools


@click.command()
@click.option("--uri", help="MLflow tracking URI; default: that of the stages.")
@click.option(
    "--params", "params_file", default="params.yaml", show_default=True, help="Parameters."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def sync(context: click.Context, uri: str | None, params_file: str, as_json: bool) -> None:
    """Send records that did not reach MLflow during their runs.

    The next stage also does this. The exit code is 1 if some records cannot be sent.
    """
    address = store.resolve(uri or params.load(params_file).track.uri)
    outcomes = spools.sync(store.spool_folder(), address)
    if as_json:
        say_json([outcome.to_json() for outcome in outcomes])
    elif not outcomes:
        say(f"nothing to send: no records wait in {store.spool_folder()}")
    else:
        for outcome in outcomes:
            say(outcome.describe())
    if any(outcome.problem for outcome in outcomes):
        context.exit(1)
