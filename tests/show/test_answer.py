"""The answer: at most ten lines of eighty columns, whatever the report; held as whole strings."""

from dataclasses import replace

import pytest

from dora_repro.checks.report import Control, Reports, SetAside, Verdict
from dora_repro.explain.trials.trial import Outcome, TrialResult
from dora_repro.show.answer import COLUMNS, LINES, answer
from dora_repro.show.console import report_text, reports_text
from dora_repro.trace import Divergence
from tests.show import made

ANSWERS = {
    "report": """\
✓ EXACT: resumed after step 2 of 3, the run is the same, bit for bit (quick)
  All effects of 1 step are equal by bytes, and so is the state at the end.
  Compared by bytes: loaded parameters (2), final parameters (2), outputs (1).""",
    "different": """\
✗ DIFFERENT: resumed after step 2 of 3, the run is not the same (quick)
  First difference: step 3, phase update: model/a.m
    max diff = 1.23e-04, 3/64 elements, max 2 ULP
  Cause: not searched for""",
    "latent": """\
✗ LATENT: resumed after step 2 of 3, state is lost; no effect in 1 step (quick)
  Lost: ema/0.weight: max diff = 1.23e-04, 3/64 elements, max 2 ULP
  Cause: not searched for
  If this state does not matter, name it in ignore (--ignore).""",
    "inconclusive": """\
⚠ INCONCLUSIVE: resumed after step 2 of 3, no verdict can be given (quick)
  Why: not deterministic: a repeat of the same side first differs at step 1,
    phase batch, batch/0
  Next: make the run deterministic: seed every generator, iterate over no set,
    and call torch.use_deterministic_algorithms(True).""",
    "tolerated": """\
✓ WITHIN_TOLERANCE: resumed after step 2 of 3, not exact but within 0.1 (quick)
  First difference: step 3, phase update: model/a.m
    max diff = 1.23e-04, 3/64 elements, max 2 ULP""",
    "explained": """\
✗ DIFFERENT: resumed after step 2 of 3, the run is not the same (quick)
  First difference: step 3, phase update: model/a.m
    max diff = 1.23e-04, 3/64 elements, max 2 ULP
  Cause (proved): rng/torch.cpu: 2 draws ahead
    + 2 × optimizer/*/exp_avg: lost; not in the checkpoint
  Fix (4 lines; not tried):
    save(): state["optimizer"] = 1
            state["rng"] = 1
    load(): load(state["optimizer"])
            set(state["rng"])""",
    "unexplained": """\
✗ DIFFERENT: resumed after step 2 of 3, the run is not the same (quick)
  First difference: step 3, phase update: model/a.m
    max diff = 1.23e-04, 3/64 elements, max 2 ULP
  Cause: not found; no captured state explains it
  First operator that differs: aten.mul.Tensor: equal inputs, different output
    (train.py:12)
  Next: ruled out: all 4 leaves""",
    "raised": """\
✗ DIFFERENT: resumed after step 2 of 3, the run is not the same (quick)
  First difference: step 2, phase load: run/exception: KeyError: 'optimizer'
  Cause (proved): run/exception: KeyError: 'optimizer'""",
    "unfinished": """\
⚠ INCONCLUSIVE: resumed after step 2 of 3, no verdict can be given (quick)
  Why: the resumed side did not finish: killed by SIGKILL
  Next: read how its process ended, below; where it only needs longer, raise
    timeout (--timeout).""",
    "untested": """\
⚠ INCONCLUSIVE: resumed after step 2 of 3, no verdict can be given (quick)
  Why: nothing was tested: no trainable parameter changed in the reference
  Next: check a run that trains after the save: at least one step, gradients
    that are not zero, a moving loss.""",
    "uncontrolled": """\
⚠ INCONCLUSIVE: resumed after step 2 of 3, no verdict can be given (quick)
  Why: not controlled: it differs at step 3, phase update, model/a.m
  Next: allow the control (control='auto'): it repeats both runs before one of
    them is accused.""",
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_is_these_lines(name):
    assert "\n".join(answer(made.every()[name])) == ANSWERS[name]


def test_every_verdict_has_its_answer_here():
    assert {report.verdict for report in made.every().values()} == set(Verdict)


@pytest.mark.parametrize("name", made.every())
def test_an_answer_has_at_most_ten_lines_of_eighty_columns(name):
    report = made.every()[name]
    several = Reports("every step, by a script with a name of some length", (made.report(), report, made.different()))
    for lines in (answer(report), answer(several)):
        assert 0 < len(lines) <= LINES == 10
        assert max(map(len, lines)) <= COLUMNS == 80


@pytest.mark.parametrize("name", made.every())
def test_every_text_begins_with_the_answer(name):
    report = made.every()[name]
    assert report_text(report).startswith("\n".join(answer(report)) + "\n\n")
    several = Reports("twice", (made.report(), report))
    assert reports_text(several).startswith("\n".join(answer(several)) + "\n\n")


def test_where_all_is_long_some_of_the_code_is_shown_and_the_rest_counted():
    assert (
        "\n".join(answer(made.long_names()))
        == """\
✗ DIFFERENT: resumed after step 2 of 3, the run is not the same
  (some/long/path/to/t…/script.py:Training)
  First difference: step 3, phase update: optimizer/clip_mod…more.parts/exp_avg
    max diff = 1.23e-04, 3/64 elements, max 2 ULP
  Cause (proved): optimizer/clip_model.visual.t….of.some.more.parts/exp_avg/0:
    lost; not in the checkpoint lost; not in the checkpoint lost; not in the …
    + 8 more parts, the first: optimizer/clip_model.v…e.more.parts/exp_avg/1: …
  Fix (1 of 18 lines; tried: not enough, step 3 still differs in phase update):
    save(): state["optimizer/clip_model.vis….of.some.more.parts/exp_avg/0"] =
                self.optimizer.state[self.param…ore.parts/exp_avg"]]["exp_avg"]"""
    )


def test_more_than_four_lines_of_code_are_counted_and_both_methods_have_some():
    one = made.explained().explanation
    causes = [
        replace(one.causes[0], leaves=(f"x{number}",), save=(f"s{number}",), load=(f"l{number}",))
        for number in range(3)
    ]
    lines = answer(made.explained(explanation=replace(one, causes=tuple(causes))))
    assert lines[4:] == [
        "    + 2 more parts, the first: x1: 2 draws ahead",
        "  Fix (4 of 6 lines; not tried):",
        "    save(): s0",
        "            s1",
        "    load(): l0",
        "            l1",
    ]


def test_of_more_lines_those_are_shown_that_save_and_load_the_same():
    """And not the lines around them, which make a file and read it: these are below."""
    one = made.explained().explanation
    moments = replace(one.causes[0], role="moment", leaves=("m",), save=("s0",), load=("l0",), beside="BESIDE")
    generator = replace(one.causes[0], save=("s1", "s2"), load=("l1",))
    found = replace(one, causes=(generator, moments))
    lines = answer(made.explained(explanation=found))
    assert len(found.lines.save) + len(found.lines.load) == 8
    assert lines[-3:] == ["  Fix (2 of 8 lines; not tried):", "    save(): s0", "    load(): l0"]
    assert all(line in str(made.explained(explanation=found)) for line in ("more = {}", "torch.save(more, BESIDE)"))


@pytest.mark.parametrize(
    ("tried", "words"),
    [
        (None, "not tried"),
        (TrialResult(Outcome.UNRESOLVED), "not tried"),
        (TrialResult(Outcome.SAME), "tried: the resumed run then repeats the reference"),
        (
            TrialResult(Outcome.DIFFERENT, Divergence(4, "update", "w")),
            "tried: not enough, step 4 still differs in phase update",
        ),
    ],
)
def test_whether_the_fix_was_tried_is_said(tried, words):
    one = replace(made.explained().explanation, lines_tried=tried)
    assert f"  Fix (4 lines; {words}):" in answer(made.explained(explanation=one))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "proved"),
        ({"proved": False}, "sufficient, but perhaps more than needed"),
        ({"confirmation_missing": {"a": "why"}}, "proved; 1 leaf not restored in the confirmation"),
    ],
)
def test_whether_the_cause_is_proved_is_said(changes, words):
    one = replace(made.explained().explanation, **changes)
    assert any(line.startswith(f"  Cause ({words}): rng/torch.cpu") for line in answer(made.explained(explanation=one)))


def test_a_fix_in_words_is_said_where_there_is_no_code():
    one = made.explained().explanation
    cause = replace(one.causes[0], save=(), load=(), advice=("Save it.", "And load it."))
    assert answer(made.explained(explanation=replace(one, causes=(cause,))))[-1] == "  Fix: Save it."


def test_a_comment_that_does_not_fit_its_line_is_left_out_and_quoted_text_is_no_comment():
    long = "x" * 60
    for line, shown in (
        (f"a = {long}  # of a loader", f"a = {long}"),
        ("a = b  # of a loader", "a = b  # of a loader"),
        (f'a["k  # k"] = {long}', f'a["k  # k"] = {long}'),
    ):
        one = made.explained().explanation
        cause = replace(one.causes[0], save=(line,), load=())
        text = answer(made.explained(explanation=replace(one, causes=(cause,))))
        assert " ".join(part.strip() for part in text[-2:]).endswith(f"save(): {shown}")


def test_what_was_ignored_is_said_of_an_exact_run():
    aside = SetAside(ignored=("count",), expected_loss=("rng/a", "rng/b"))
    assert answer(made.report(set_aside=aside))[-2:] == [
        "  Ignored, as requested: count",
        "  Lost, but never read: rng/a, rng/b",
    ]


def test_a_nondeterministic_run_is_told_what_makes_it_so():
    found = replace(
        made.unexplained().explanation,
        look_at=("The result depends on hash order: with PYTHONHASHSEED=0 it is reproducible.",),
    )
    lines = answer(made.inconclusive(explanation=found))
    assert "  First nondeterministic operator: aten.mul.Tensor: equal inputs, different" in lines
    assert lines[-2] == "  Next: The result depends on hash order: with PYTHONHASHSEED=0 it is"


def test_a_control_that_did_not_finish_is_named():
    made_so = made.uncontrolled(notes=("the control did not finish: killed",), control=Control())
    assert answer(made_so)[-1] == "  Next: the control did not finish: killed"


def test_names_are_given_to_the_leaves():
    assert "phase update: MODEL/A.M" in answer(made.explained(), str.upper)[1]
    assert "RNG/TORCH.CPU" in answer(made.explained(), str.upper)[3]


def test_several_reports_answer_with_the_first_of_the_worst():
    reports = Reports("every step", (made.report(), made.explained(title="resumed at step 1"), made.latent()))
    assert answer(reports)[:3] == [
        "✗ DIFFERENT: 3 resumed runs: 1 DIFFERENT, 1 LATENT, 1 EXACT (every step)",
        "  The first DIFFERENT one: resumed at step 1",
        "  First difference: step 3, phase update: model/a.m",
    ]


def test_one_of_several_reports_is_named_by_its_step():
    assert answer(made.different(title="resumed at step 4"))[0] == (
        "✗ DIFFERENT: resumed at step 4, the run is not the same"
    )


def test_no_report_at_all_is_inconclusive():
    assert answer(Reports("twice", ())) == ["⚠ INCONCLUSIVE: nothing was resumed (twice)"]


def test_code_is_broken_beside_quoted_text_and_hangs():
    one = made.explained().explanation
    line = 'state["model buffers"] = {name: buffer.clone() for name, buffer in self.model.named_buffers("the model")}'
    cause = replace(one.causes[0], save=(line,), load=())
    assert answer(made.explained(explanation=replace(one, causes=(cause,))))[-2:] == [
        '    save(): state["model buffers"] = {name: buffer.clone() for name, buffer in',
        '                self.model.named_buffers("the model")}',
    ]


def test_a_save_that_changes_the_run_is_told_what_to_do():
    report = made.different(divergence=Divergence(2, "save", "model/a.m"))
    assert answer(report)[-1] == "  Next: let save() work on copies, or undo what it changes before it returns."
    assert "let save()" not in "\n".join(answer(made.different()))


def test_a_leaf_that_one_run_lacks_is_told_so_and_not_sized():
    report = made.different(divergence=Divergence(3, "load", "model/x", "unexpected", made.differs("model/x")))
    assert answer(report)[1] == "  First difference: step 3, phase load: model/x: only in the resumed run"


def test_a_script_that_came_to_no_verdict_was_killed_and_is_told_what_to_do():
    script = {"launched": ("Script:  a", "Resumed: b"), "steps_done": {}, "comparisons": ()}
    undecided = made.report(verdict=Verdict.INCONCLUSIVE, reason="it began anew", next_step="say how.", **script)
    assert answer(undecided) == [
        "⚠ INCONCLUSIVE: killed after step 2 of 3, no verdict can be given (quick)",
        "  Why: it began anew",
        "  Next: say how.",
    ]
    assert "Control: not run" in report_text(undecided)


def test_a_script_is_told_with_its_commands():
    text = report_text(made.report(launched=("Script:  a", "Resumed: b")))
    assert "quick: 3 steps without a break, against 2, kill, resume and 1 more\n  Script:  a\n  Resumed: b\n" in text
