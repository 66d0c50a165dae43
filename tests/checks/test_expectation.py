"""What a checkpoint must come to, by reasoning: held against all that was run for docs/verdicts.md."""

import importlib
import shlex
from pathlib import Path

import pytest

from dora_repro.checks.expectation import MIME
from dora_repro.checks.report import Reports, Verdict
from dora_repro.cli.options import made_config
from dora_repro.study import TrainingConfig, UnexpectedVerdict, expectation
from tests.show import made

DOCS = Path(__file__).parents[2] / "docs"
OTHER = ("--tolerance", "--control", "--lr 0", "--save-at 3", "check ")  # asked for another verdict by another option


@pytest.fixture(scope="module")
def asked():
    """(command, verdict) of every row that a checkpoint's content decides."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DOCS))
        patch.setattr("sys.dont_write_bytecode", True)
        cases = importlib.import_module("verdict_cases")
    rows = [(case.command, cases.REASONS[case.reason].verdict) for section in cases.SECTIONS for case in section.cases]
    return [(command, verdict) for command, verdict in rows if not any(word in command for word in OTHER)]


def config_of(command: str) -> TrainingConfig:
    from dora_repro.cli import main

    name, *words = shlex.split(command)
    context = main.get_command(None, name).make_context(name, words)
    config = made_config(dict(context.params))
    return config if name != "quick" else TrainingConfig(**{**vars(config), "data": "synthetic", "shuffle": False})


def test_the_reasoning_agrees_with_every_row_of_the_table(asked):
    assert len(asked) > 80
    wrong = {command: verdict for command, verdict in asked if verdict not in expectation(config_of(command)).verdicts}
    assert wrong == {}


def test_the_reasoning_commits_itself(asked):
    """Only early stopping, which goes by the losses, leaves more than one verdict open."""
    several = [command for command, _ in asked if len(expectation(config_of(command)).verdicts) > 1]
    assert several and all("--early-stopping" in command for command in several)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "all that a step reads is in the checkpoint"),
        ({"checkpoint": "dora+optimizer+rng+data"}, "nothing that the checkpoint lacks is read"),
        (
            {"checkpoint": "dora-only"},
            "the checkpoint lacks AdamW's moments, dropout's generator and the order of samples",
        ),
        (
            {"checkpoint": "dora-only", "optimizer": "sgd", "momentum": 0.9, "dropout": 0.0, "shuffle": False},
            "the checkpoint lacks SGD's momentum",
        ),
        (
            {"checkpoint": "dora+optimizer+rng+data", "early_stopping": 2},
            "the losses decide whether what early stopping goes by matters",
        ),
    ],
)
def test_the_reason_is_told(changes, reason):
    assert expectation(TrainingConfig(**changes)).reason == reason


def test_a_kept_promise_says_so_in_text_and_for_the_runner():
    kept = expectation(TrainingConfig()).check(made.report())
    assert repr(kept) == "EXACT, as expected: all that a step reads is in the checkpoint"
    bundle = kept._repr_mimebundle_()
    assert bundle == {"text/plain": repr(kept), MIME: {"verdict": "EXACT", "expected": ["EXACT"]}}
    both = Reports("every step", (made.report(), made.different()))
    assert expectation(TrainingConfig(checkpoint="dora-only")).check(both).verdict is Verdict.DIFFERENT


def test_a_broken_promise_is_raised():
    with pytest.raises(UnexpectedVerdict, match=r"expected EXACT, since all that a step reads .*; found DIFFERENT"):
        expectation(TrainingConfig()).check(made.different())
    with pytest.raises(UnexpectedVerdict, match=r"expected DIFFERENT, since the checkpoint lacks .*; found EXACT"):
        expectation(TrainingConfig(checkpoint="dora-only")).check(made.report())
