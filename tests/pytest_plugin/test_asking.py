"""What a test asks becomes the check that answers it; what means nothing to that is refused by name."""

import pytest

from dora_repro.checks.report import Report, Reports, Verdict
from dora_repro.errors import BadInput
from dora_repro.pytest_plugin import asking
from tests.runs import Forgetful, Plain


def asked(run, timeout=None, page=False, **options):
    return asking.ask(run, options, title="test_mine", timeout=timeout, page=page)


def test_one_step_several_all_and_a_resume_of_a_resumed_run():
    one = asked(Plain, steps=3, save_at=2, in_process=True)
    assert isinstance(one, Report) and one.verdict is Verdict.EXACT and one.title == "Plain"
    every = {"every": {"every_step": True}, "some": {"save_at": [1, 2]}, "again": {"save_at": (1, 2), "twice": True}}
    found = {name: asked(Plain, steps=2, in_process=True, **options) for name, options in every.items()}
    assert all(isinstance(each, Reports) and each.passed for each in found.values())
    assert [report.save_at for report in found["every"].reports] == [0, 1, 2]
    assert [report.save_at for report in found["some"].reports] == [1, 2]
    assert [report.title for report in found["again"].reports] != [report.title for report in found["some"].reports]


def test_what_has_no_name_is_called_as_the_test_and_a_page_is_given_values():
    found = asked(lambda: Forgetful("optimizer"), steps=3, save_at=1, in_process=True, explain=False, page=True)
    assert (found.title, found.verdict) == ("test_mine", Verdict.DIFFERENT)
    assert found.drift is not None and found.drift.first is not None
    assert asked(Plain, steps=2, save_at=1, in_process=True).drift is None


def test_the_time_limit_of_the_test_goes_before_that_of_the_configuration(monkeypatch):
    seen = []
    monkeypatch.setattr(asking, "run_check", seen.append)
    asked(Plain, steps=2, save_at=1, timeout=5.0)
    asked(Plain, steps=2, save_at=1, timeout=5.0, **{})
    asking.ask(Plain, {"steps": 2, "save_at": 1, "timeout": 7.0}, title="x", timeout=5.0, page=False)
    asked(Plain, steps=2, save_at=1)
    assert [request.timeout for request in seen] == [5.0, 5.0, 7.0, 3600.0]


def test_a_command_is_a_script_and_is_asked_as_one(monkeypatch):
    seen = []
    monkeypatch.setattr(asking, "check_script", lambda run, **options: seen.append((run, options)))
    asking.ask("python t.py {out}", {"resume": "python t.py", "kill_after": 3}, title="x", timeout=9.0, page=True)
    assert seen == [("python t.py {out}", {"resume": "python t.py", "kill_after": 3, "timeout": 9.0})]


@pytest.mark.parametrize(
    ("run", "options", "words"),
    [
        (Plain, {"step": 6, "save_at": 3}, "there is no option 'step': did you mean 'steps'?"),
        (Plain, {"steps": 6, "kill_after": 3}, "kill_after is for scripts: give the script's command"),
        (Plain, {"save_at": 3}, "give steps, the last step to do"),
        (Plain, {"steps": 6}, "give save_at, the step to save after, or every_step=True"),
        (Plain, {"steps": 6, "save_at": 3, "every_step": True}, "leave save_at out"),
        (Plain, {"steps": 6, "twice": True, "every_step": True}, "leave twice out"),
        (Plain, {"steps": "6", "every_step": True}, "steps='6': at least one step must be done"),
        (Plain(), {"steps": 6, "save_at": 3}, "cannot be called"),
        ("python train.py --out {out}", {"save_at": 3}, "save_at is for run objects; of a script give kill_after"),
        ("python train.py --out {out}", {"killafter": 3}, "there is no option 'killafter': did you mean 'kill_after'?"),
        ("{python} train.py", {}, "does not say where it writes"),
    ],
)
def test_what_cannot_be_asked_is_told(run, options, words):
    with pytest.raises(BadInput) as refused:
        asked(run, **options)
    assert words in str(refused.value)
