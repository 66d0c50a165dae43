"""The command line called in this process, with or without a stand-in for the check."""

import pytest
from click.testing import CliRunner, Result

from dora_repro.cli import main


@pytest.fixture
def call():
    """`call("quick", "--steps", "4")`: exit code, stdout and stderr of the command."""

    def call(*arguments: object) -> Result:
        return CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="dora-repro")

    return call


@pytest.fixture
def stand_in(monkeypatch):
    """Replace a check by one that gives this report (or raises it), and keep what it was asked."""

    def stand_in(name: str, answer: object) -> list:
        from dora_repro.checks import checks, study
        from dora_repro.sides import processes

        asked = []

        def ask(first, *, on_event=None, interpreters=None, **options):
            asked.append((first, options))
            if on_event:
                on_event("reference", {"event": "built", "step": 0})
                on_event("reference", {"event": "step", "step": 1})
            if isinstance(answer, BaseException):
                raise answer
            return answer

        monkeypatch.setattr(processes.Interpreters, "expect", lambda self, sides: None)  # nobody will ask them
        monkeypatch.setattr(checks if name in ("check", "every_step", "twice") else study, name, ask)
        return asked

    return stand_in
