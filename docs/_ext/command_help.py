"""The directive `command-help`: the help text of each command of the command line, as the command prints it."""

from __future__ import annotations

import click
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from dora_repro.cli.group import main


class CommandHelp(SphinxDirective):
    """A section for each command, with what `dora-repro COMMAND --help` prints."""

    def run(self) -> list[nodes.Node]:
        group = click.Context(main, info_name="dora-repro")
        return [section for name in main.list_commands(group) for section in self._of(name, group)]

    def _of(self, name: str, group: click.Context) -> list[nodes.Node]:
        command = main.get_command(group, name)
        commands = {name: command}
        if isinstance(command, click.Group):
            inner = click.Context(command, info_name=name, parent=group)
            commands |= {f"{name} {sub}": command.get_command(inner, sub) for sub in command.list_commands(inner)}
        section = nodes.section(ids=[f"dora-repro-{name}"], names=[f"dora-repro {name}"])
        section += nodes.title("", "", nodes.literal("", f"dora-repro {name}"))
        for words, one in commands.items():
            context = click.Context(one, info_name=f"dora-repro {words}", terminal_width=80)
            section += nodes.literal_block(one.get_help(context), one.get_help(context), language="text")
        return [section]


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("command-help", CommandHelp)
    return {"parallel_read_safe": True}
