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
    """Replace a check by one that gives this report (or raises it), and keep what it was asked.

    `stand_in("quick", report)` and its like return a list of (config, what `study.quick_request` was asked);
    `stand_in("run_check", report)` and its like a list of the requests themselves.
    """

    def stand_in(name: str, answer: object) -> list:
        from dora_repro.checks import options, running, study
        from dora_repro.sides import interpreters

        asked = []

        def keep(config, **given):
            asked.append((config, given))
            return options.request_of(dict, 3, (2,), {}, title=name)

        def run(request):
            if name.startswith("run_"):
                asked.append(request)
            request.on_event("reference", {"event": "built", "step": 0})
            request.on_event("reference", {"event": "step", "step": 1})
            if isinstance(answer, BaseException):
                raise answer
            return answer

        monkeypatch.setattr(interpreters.Interpreters, "expect", lambda self, sides: None)  # nobody will ask them
        if not name.startswith("run_"):
            monkeypatch.setattr(study, f"{name}_request", keep)
        ran = {"every_step": "run_every_step", "twice": "run_twice"}.get(name, "run_check")
        monkeypatch.setattr(running, name if name.startswith("run_") else ran, run)
        return asked

    return stand_in
