"""The command `dora-repro` itself: its commands, found when they are asked for, and its exit codes."""

import gc
import importlib
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import click

from dora_repro.errors import BadInput, Defect, MissingExtra
from dora_repro.sides.own_fork import Become

# 0 exact or within the given tolerance, 1 different or latent, 3 inconclusive: `Verdict.exit_code`.
BAD_INPUT = 2
DEFECT = 70  # sysexits.h, EX_SOFTWARE: a defect of the kit must not read as a verdict
INTERRUPTED = 130  # 128 + SIGINT

_COMMANDS = {
    "quick": "checking",
    "full": "checking",
    "every-step": "checking",
    "twice": "checking",
    "check": "checking",
    "watch": "journal",
    "journal": "journal",
    "inspect": "files",
    "diff": "files",
    "notebooks": "notebooks",
    "lab": "lab",
    "faults": "faults",
}


class Interrupted(Exception):
    """Ctrl-C, with a sentence that says what was done."""


class Kit(click.Group):
    """Imports a command when it is named, and turns exceptions into a message and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        return _command(name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _COMMANDS:
            self.commands = {name: _command(name) for name in _COMMANDS}
        return super().resolve_command(ctx, args)  # click looks in `commands` for the nearest name

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """As click's, but with this kit's exit codes. Without `standalone_mode` everything is raised, as in click's."""
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        try:
            code = self._exit_code(args, prog_name, complete_var, extra)
        except Become as interpreter:
            become = interpreter
        else:
            if _is_own_process:  # on its way out, Python would look through all that torch is: half a second
                gc.freeze()
            sys.exit(code)
        become.run()  # where nothing of the command is on the stack any more
        sys.exit(0)

    def _exit_code(
        self, args: Sequence[str] | None, prog_name: str | None, complete_var: str | None, extra: dict[str, Any]
    ) -> int:
        global _is_own_process
        _is_own_process = args is None
        try:
            code = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
            return code if isinstance(code, int) else 0
        except click.ClickException as error:
            error.show()
            return error.exit_code
        except (BadInput, MissingExtra) as error:
            click.echo(f"Error: {_indented(str(error))}", err=True)
            return BAD_INPUT
        except Defect as defect:
            click.echo(f"Error: {_indented(str(defect))}", err=True)
            return DEFECT
        except Interrupted as interrupted:
            click.echo(f"\nInterrupted: {interrupted}", err=True)
            return INTERRUPTED
        except (click.Abort, KeyboardInterrupt):
            click.echo("\nInterrupted: there is no result yet, and nothing was written.", err=True)
            return INTERRUPTED
        except BrokenPipeError:
            _let_go_of_stdout()
            return 141  # 128 + SIGPIPE: the reader, as `| head`, had enough
        except OSError as error:
            from dora_repro.checkpoint.replacing import OF_DISK

            if error.filename is not None or error.errno not in OF_DISK:
                traceback.print_exc()
                return DEFECT
            _let_go_of_stdout()
            click.echo(f"Error: the answer could not be printed: {error.strerror}; send it elsewhere", err=True)
            return BAD_INPUT
        except Exception:
            traceback.print_exc()
            return DEFECT


_is_own_process = False


def is_own_process() -> bool:
    """Whether this process is the command, called as it was typed, and no program that calls it with arguments."""
    return _is_own_process


def _indented(message: str) -> str:
    """The lines of a message after its first set in: each is seen to be part of it, whatever it quotes."""
    first, *rest = message.split("\n")
    return "\n".join([first, *(line if line.startswith("  ") else f"  {line}" for line in rest)])


def _command(name: str) -> click.Command:
    module = importlib.import_module(f"dora_repro.cli.{_COMMANDS[name]}")
    return getattr(module, name.replace("-", "_"))


def _let_go_of_stdout() -> None:
    """Keep the interpreter from complaining once more when it flushes on its way out."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        click.echo(f"dora-repro {sys.modules['dora_repro'].__version__}")
        ctx.exit()


@click.group(cls=Kit, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--version", is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Show version.")
def main() -> None:
    """Is a training run that was saved, killed and resumed the same run, bit for bit?

    Exit codes: 0 exact, or within the given tolerance; 1 different, or state lost; 2 bad input; 3 inconclusive.
    """
