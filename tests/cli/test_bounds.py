"""Every number on the command line has both bounds, as those of params.yaml have."""

from collections.abc import Iterator

import click
import pytest

from rolekd.cli import root


def _numbers(command: click.Command, name: str) -> Iterator[tuple[str, click.ParamType]]:
    if isinstance(command, click.Group):
        context = click.Context(command, **command.context_settings)
        for each in command.list_commands(context):
            if each == "bench":  # of benchmarks/, for those who work on rolekd
                continue
            yield from _numbers(command.get_command(context, each), f"{name} {each}")
    for option in command.params:
        if isinstance(option.type, click.types.IntParamType | click.types.FloatParamType):
            yield f"{name} {option.opts[0]}", option.type


@pytest.mark.parametrize(("option", "type_"), _numbers(root, "rolekd"), ids=lambda x: str(x))
def test_a_number_has_both_bounds(option, type_):
    assert isinstance(type_, click.IntRange | click.FloatRange), option
    assert None not in (type_.min, type_.max), option
