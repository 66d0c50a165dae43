"""Advised lines of a script: what is tried, what came of it, and why where nothing is."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from dora_repro.explain.explanation import Cause
from dora_repro.explain.trials.trial import Outcome, TrialResult
from dora_repro.scripts.aligning import Alignment
from dora_repro.scripts.assignment import LINES, Assignment, GivenLine, GivenLines
from dora_repro.scripts.belonging import Calls
from dora_repro.scripts.commands import Launchable
from dora_repro.scripts.launching import Launch
from dora_repro.scripts.trying import lines_of, try_lines

SAVE = {"file": "/a/train.py", "line": 9, "function": "save"}
LOAD = {"file": "/a/train.py", "line": 4, "function": "main"}
BEST = Cause("main/best", ("main/best",), "value", save=("state['best'] = best",), load=("best = state['best']",))
RNG = Cause("rng/torch.cpu", ("rng/torch.cpu",), "generator", load=("torch.set_rng_state(state['rng'])",))
CALLS, FILE = Calls((SAVE,), (LOAD,)), Alignment(3, "files", ("a.pt",))


def test_each_line_goes_with_the_function_whose_variables_it_names(tmp_path):
    given = lines_of([RNG, BEST], CALLS, FILE, tmp_path)
    assert given.save == (GivenLine("state['best'] = best", "main"),)
    assert given.load == (
        GivenLine("best = state['best']", "main", ("main/best",)),
        GivenLine("torch.set_rng_state(state['rng'])", "main", ("rng/torch.cpu",)),
    )
    assert (given.wrote, given.read) == ((("/a/train.py", 9),), (("/a/train.py", 4),))
    assert given.files == (str(tmp_path.resolve() / "a.pt"),)
    assignment = Assignment(tmp_path, tmp_path, lines=replace(given, saved=tmp_path / "before.pt"))
    assignment.write(tmp_path / "job.json")
    assert Assignment.read(tmp_path / "job.json") == assignment


@pytest.mark.parametrize("root", ["trainer", "callback", "accelerate"])
def test_what_a_library_holds_is_of_no_function(tmp_path, root):
    cause = replace(BEST, leaves=(f"{root}/ema",))
    assert lines_of([cause], CALLS, FILE, tmp_path).save == (GivenLine("state['best'] = best", ""),)


@pytest.mark.parametrize(
    ("causes", "calls", "alignment", "why"),
    [
        ([BEST, Cause("rng/draws", ())], CALLS, FILE, "what brings `rng/draws` back is told in words"),
        ([BEST], CALLS, Alignment(3, "option"), "it is not known which file was read"),
        ([BEST], Calls((SAVE,), ()), FILE, "the line that reads the checkpoint was not seen"),
        ([BEST], Calls((), (LOAD,)), FILE, "the line that writes the checkpoint was not seen"),
        (
            [Cause("data/batches", ("data/batches",), load=("x",), save=("y",))],
            CALLS,
            FILE,
            "they belong before the iterator of a loader is made",
        ),
        ([Cause("a/b", ("a/b",), load=("x",), save=("y",), filled="checkpoint")], CALLS, FILE, "a library fills"),
    ],
)
def test_what_cannot_be_tried_has_a_reason(tmp_path, causes, calls, alignment, why):
    assert lines_of(causes, calls, alignment, tmp_path).startswith(why)
    tried = try_lines(causes, calls, alignment, tmp_path, None, None, 12)
    assert tried.result is None and tried.words.startswith(f"These lines were not tried in the script: {why}")


ELSEWHERE = {**SAVE, "line": 11}
SEVERAL = Alignment(3, "files", ("epoch1/a.pt", "epoch1/b.pt"))
LOST = Cause("main/opt", ("main/opt",), load=("opt.load_state_dict(state)",), file="epoch1/c.pt")


def test_of_several_files_the_last_counts_and_lines_write_one_beside_it(tmp_path):
    calls = Calls((SAVE, ELSEWHERE), (LOAD, ELSEWHERE), "epoch1/b.pt", "epoch1/a.pt")
    best = replace(BEST, save=("more['best'] = best",), load=("best = more['best']",), beside="f'{path}.more'")
    given = lines_of([best, LOST], calls, SEVERAL, tmp_path)
    out = tmp_path.resolve()
    assert (given.wrote, given.read) == ((("/a/train.py", 11),), (("/a/train.py", 11),))
    assert (given.beside, given.files) == (str(out / "epoch1/b.pt"), (str(out / "epoch1/a.pt"),))
    assert [line.file for line in given.load if line.file] == [str(out / "epoch1/c.pt")]
    assert not given.needs_value and replace(given, state="best").needs_value
    assert lines_of([replace(BEST, beside="x")], replace(calls, folder=True), SEVERAL, tmp_path).beside == str(
        out / "epoch1"
    )
    one = lines_of([replace(LOST, file="c.pt")], CALLS, Alignment(3, "files", ("epoch1/a.pt",)), tmp_path)
    assert [line.file for line in one.load] == [str(out / "epoch1/c.pt")]


def test_lines_for_what_batches_are_made_of_are_run_in_the_function_that_has_it(tmp_path):
    sources = ("main/sampler/weights",)
    cause = Cause("data/batches", ("data/batches",), restored=sources, save=("x",), load=("y",))
    given = lines_of([cause], CALLS, FILE, tmp_path)
    assert [line.function for line in (*given.save, *given.load)] == ["main", "main"]


def test_launches_that_are_not_left_are_not_made(tmp_path):
    tried = try_lines([BEST], CALLS, FILE, tmp_path, None, None, 1)
    assert "the launches that --budget allows were used up" in tried.words
    assert try_lines([Cause("rng/draws", ())], CALLS, FILE, tmp_path, None, None, 12) is None


class Trials:
    """In place of what judges a launch."""

    saved = Path("before.pt")

    def __init__(self, result):
        self.result = result

    def judged(self, launched):
        return self.result


@pytest.mark.parametrize(
    ("told", "result", "outcome", "words"),
    [
        (
            [{"saved": "train.py:9"}, {"loaded": ["train.py:5"]}],
            TrialResult(Outcome.SAME),
            Outcome.SAME,
            "run in the script, whose files stay as they are: those of save where the checkpoint is written at "
            "train.py:9; those of load just before train.py:5.",
        ),
        (
            [{"saved": "train.py:9"}, {"loaded": ["train.py:5"], "again": {"lines": "`a = 1`", "at": "train.py:7"}}],
            TrialResult(Outcome.SAME),
            Outcome.SAME,
            "train.py:5; `a = 1` once more when train.py:7 is first reached, since that state had changed by then.",
        ),
        ([{"saved": "train.py:9"}, {"error": "KeyError: 'a'"}], None, Outcome.UNRESOLVED, "is written at train.py:9."),
        (
            [{"error": "NameError: at first"}, {"error": "KeyError: so then"}],
            None,
            Outcome.UNRESOLVED,
            "",
        ),
        ([{"why": "it is no dict"}], None, None, "not tried in the script: it is no dict."),
        ([{}, {}], None, None, "the checkpoint was not written there once more."),
        ([{"saved": "train.py:9"}, {}], TrialResult(Outcome.SAME), None, "their place was not reached."),
        ([{"saved": "a"}, {}], TrialResult(Outcome.UNRESOLVED, error="the command ended"), Outcome.UNRESOLVED, "save"),
    ],
)
def test_what_came_of_it_is_told(tmp_path, told, result, outcome, words):
    launches = []
    for number, about in enumerate(told):
        folder = tmp_path / f"trial-{number}"
        folder.with_name(f"{folder.name}.{LINES}").write_text(json.dumps(about), encoding="utf-8")
        (tmp_path / "log").write_text("ValueError: no\n", encoding="utf-8")
        launches.append(Launch("trial", Launchable(("train",), {}), folder, 0, 1.0, tmp_path / "log"))
    given: list[GivenLines] = []

    def launch(lines):
        given.append(lines)
        return launches

    tried = try_lines([BEST], CALLS, FILE, tmp_path, Trials(result), launch, 2)
    assert given == [replace(lines_of([BEST], CALLS, FILE, tmp_path), saved=Trials.saved)]
    assert words in tried.words
    assert (tried.result and tried.result.outcome) == outcome
    if "error" in told[0]:
        assert tried.result.error == "NameError: at first"
    if result is not None and result.error:
        assert tried.result.error == "ValueError: no"
