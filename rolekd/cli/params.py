"""`rolekd params`: check params.yaml; print its values, its schema or its networks."""

import click

from rolekd import params as schema
from rolekd import yamlfiles
from rolekd.display import say, say_json
from rolekd.secrets import blanked


@click.command()
@click.argument("file", required=False)
@click.option(
    "--params", "path", default="params.yaml", show_default=True, help="The same as FILE."
)
@click.option("--schema", "show_schema", is_flag=True, help="Print the JSON schema instead.")
@click.option("--taps", is_flag=True, help="List the modules that distillation can tap.")
@click.option("--size", is_flag=True, help="List bytes, bits and bit operations of the layers.")
@click.option("--role", type=click.Choice(["teacher", "student"]), help="Default: both networks.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def params(
    file: str | None,
    path: str,
    show_schema: bool,
    taps: bool,
    size: bool,
    role: schema.Role | None,
    as_json: bool,
) -> None:
    """Check a params file and print every value, including defaults.

    `rolekd params FILE` checks FILE instead of params.yaml. With --taps or --size it describes
    the networks of the two roles, for the images in outputs/data if they are prepared, otherwise
    for those of the source.
    """
    if show_schema:
        say_json(schema.Params.model_json_schema())
        return
    from rolekd.stages import checks

    loaded = schema.load(file or path)
    checks.check(loaded)
    checks.check_weights(loaded)
    checks.check_sizes(loaded)
    if taps or size:
        _show_networks(loaded, (role,) if role else ("teacher", "student"), taps, size, as_json)
        return
    values = loaded.model_dump(mode="json")
    if as_json:
        say_json(values)
    else:
        say(*yamlfiles.dump(blanked(values)).splitlines())


def _show_networks(
    loaded: schema.Params, roles: tuple[schema.Role, ...], taps: bool, size: bool, as_json: bool
) -> None:
    from rolekd.cli import networks

    found = networks.describe(loaded, roles, taps=taps, size=size)
    if as_json:
        say_json(found)
    else:
        networks.show(found)
