"""`rolekd params`: check params.yaml, print its values or its schema."""

import json

import click
import yaml

from rolekd import params as schema


@click.command()
@click.option("--params", "path", default="params.yaml", show_default=True, help="File to check.")
@click.option("--schema", "show_schema", is_flag=True, help="Print the JSON schema instead.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of YAML.")
def params(path: str, show_schema: bool, as_json: bool) -> None:
    """Check params.yaml and print every value, defaults included."""
    if show_schema:
        click.echo(json.dumps(schema.Params.model_json_schema(), indent=2))
        return
    from rolekd.train import names

    loaded = schema.load(path)
    names.check(loaded)
    values = loaded.model_dump(mode="json")
    text = json.dumps(values, indent=2) if as_json else yaml.safe_dump(values, sort_keys=False)
    click.echo(text.rstrip())
