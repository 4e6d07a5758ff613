"""`rolekd bench`: the benchmarks, which are part of a checkout of the project."""

import importlib
import sys
from pathlib import Path

import click

from rolekd.cli.groups import CommandGroup
from rolekd.errors import InputError

_ROOT = Path(__file__).parents[2]


class _Checkout(CommandGroup):
    """The commands of `benchmarks/`, which is not part of the installed package."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return _commands().list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return _commands().get_command(ctx, cmd_name)


@click.group(cls=_Checkout)
def bench() -> None:
    """Measure speed against other tools, in one run on the same images and cores."""


def _commands() -> click.Group:
    if not (_ROOT / "benchmarks" / "commands.py").is_file():
        raise InputError(
            f"bench: {_ROOT} does not have the benchmarks, which are not installed with the "
            "package; run it in a checkout of the project (git clone, make setup)"
        )
    if str(_ROOT) not in sys.path:  # if it is not the editable install of this environment
        sys.path.insert(0, str(_ROOT))
    group = importlib.import_module("benchmarks.commands").bench
    assert isinstance(group, click.Group)
    return group
