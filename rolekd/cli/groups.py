"""Groups of commands: a wrong command gets a suggestion, as all wrong names do."""

import importlib
from collections.abc import Mapping
from typing import NamedTuple

import click
from click.shell_completion import CompletionItem

from rolekd.errors import InputError, did_you_mean


class Lazy(NamedTuple):
    """A command that is imported when it is called.

    Attributes:
        module: where it is.
        attribute: its name there.
        line: what it does, for the list of commands.
    """

    module: str
    attribute: str
    line: str

    def load(self) -> click.Command:
        """Import the command."""
        command = getattr(importlib.import_module(self.module), self.attribute)
        assert isinstance(command, click.Command)
        return command


class CommandGroup(click.Group):
    """A group that suggests the command that was probably meant."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command at the beginning of the arguments."""
        name = args[0]
        known = self.list_commands(ctx)
        if not (name.startswith("-") or name in known or ctx.resilient_parsing):
            remedy = did_you_mean(name, known, f"{ctx.command_path} --help lists them")
            raise InputError(f"{ctx.command_path}: no command {name!r}; {remedy}")
        return super().resolve_command(ctx, args)


class LazyGroup(CommandGroup):
    """A group in sections, whose commands are imported when they are called.

    So its help, its suggestions and its completion answer at once.
    """

    sections: Mapping[str, Mapping[str, Lazy]] = {}

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names, section by section."""
        return [name for section in self.sections.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command."""
        for section in self.sections.values():
            if cmd_name in section:
                return section[cmd_name].load()
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands, under the heading of each section."""
        width = max(map(len, self.list_commands(ctx)))
        for title, section in self.sections.items():
            with formatter.section(title):
                formatter.write_dl([(f"{name:{width}}", one.line) for name, one in section.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands and options that begin with `incomplete`."""
        found = [
            CompletionItem(name, help=one.line)
            for section in self.sections.values()
            for name, one in section.items()
            if name.startswith(incomplete)
        ]
        # click.Command's, since click.Group's would import every command for its line
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]
