"""Why, in words: causes with what became of them, how much each matters, the lines that mend, the trials."""

from dataclasses import replace

from dora_repro.checks.report import SetAside
from dora_repro.explain.explanation import TrialRecord
from dora_repro.explain.trials.trial import Outcome, TrialResult
from dora_repro.show.console import report_text
from dora_repro.show.html import page
from dora_repro.show.why import trial_lines
from tests.show.made import different, explained, missing


def test_each_cause_is_told_with_what_it_does_by_itself_and_the_proof():
    text = report_text(explained())
    assert "Why: these together made the difference\n  ✗ rng/torch.cpu: 2 draws ahead\n" in text
    assert "  ✗ 2 × optimizer/*/exp_avg: lost; not in the checkpoint\n" in text
    assert "    with all but this restored: parameters off by 1.0e-03, loss off by 2.0e-04\n" in text
    assert "  Restoring these alone makes the remaining step identical" in text
    assert "  Random numbers: random_split: 2 draws (train.py:3" in text
    assert "strict=False ignored 2 of 2 keys" in text
    assert "  Found in 3 trials, 3 steps in all\n" in text


def test_the_lines_that_mend_it_restore_generators_last():
    text = report_text(explained())
    saved, loaded = text.partition("in save():")[2].partition("in load():")[::2]
    assert saved.index('state["optimizer"]') < saved.index('state["rng"]')
    assert loaded.index('load(state["optimizer"])') < loaded.index('set(state["rng"])')
    assert "  Restore generators last.\n" in loaded


def test_trials_are_listed_where_that_is_asked():
    assert "all that was lost: restores exact resume" not in report_text(explained())
    text = report_text(explained(), verbose=True)
    assert "  nothing: differs at step 3, phase update (parameters off by 1.0e-03, loss off by 2.0e-04)\n" in text
    assert "  all that was lost: restores exact resume\n" in text
    assert "  rng/torch.cpu: unresolved: KeyError: 'step'\n" in text


def test_what_no_state_explains_is_said_with_the_operator_and_what_was_ruled_out():
    explanation = replace(
        explained().explanation,
        causes=(),
        unexplained="no captured state explains it",
        operator="aten.mul.Tensor: equal inputs, different output",
        look_at=("ruled out: all 4 leaves",),
    )
    text = report_text(explained(explanation=explanation))
    assert "Why: no captured state explains it\n" in text
    assert "  First operator that differs: aten.mul.Tensor: equal inputs, different output\n" in text
    assert "  - ruled out: all 4 leaves\n" in text and "\nFix" not in text


def test_many_causes_are_cut_and_counted():
    one = explained().explanation
    many = replace(one, causes=tuple(replace(one.causes[0], name=f"x{n}", leaves=(f"x{n}",)) for n in range(9)))
    text = report_text(explained(explanation=many))
    assert "✗ x5: " in text and "✗ x6: " not in text and "  … and 3 more parts\n" in text
    assert "✗ x8: " in report_text(explained(explanation=many), verbose=True)


def test_without_an_explanation_nothing_is_said():
    assert "Why:" not in report_text(different())


def test_a_page_shows_it_with_all_names_escaped():
    one = explained().explanation
    odd = replace(one, causes=(replace(one.causes[0], leaves=("<b>x",), how="<i>gone"),))
    text = page(explained(explanation=odd), figures=False)
    assert "&lt;b&gt;x" in text and "<b>x" not in text and "<i>gone" not in text


def test_a_list_that_grows_is_told_among_what_was_lost_where_it_is_a_cause():
    grown = report_text(explained(set_aside=SetAside(bookkeeping=("rng/torch.cpu", "optimizer/a.m/step"))))
    lacked = grown.partition("What was lost")[2].partition("\n\n")[0]
    assert "rng/torch.cpu" in lacked and "optimizer/a.delta/step" in lacked and "2 × optimizer/*/step" not in lacked


def test_what_was_lost_without_effect_is_said():
    one = replace(explained().explanation, harmless=tuple(f"optimizer/{name}/step" for name in ("a.m", "a.delta")))
    line = "  Also lost, without effect once the above is restored: 2 × optimizer/*/step\n"
    assert line in report_text(explained(explanation=one))
    assert "Also lost" not in report_text(explained())


def test_much_that_was_lost_without_effect_is_counted():
    paths = tuple(f"helper/of{number}/x{number}" for number in range(9))
    one = replace(explained().explanation, harmless=paths)
    report = explained(explanation=one, lost=tuple(map(missing, paths)))
    assert "helper/of5/x5, … and 3 more leaves\n" in report_text(report)
    assert "helper/of8/x8\n" in report_text(report, verbose=True)


def test_leftover_gradients_and_histories_are_not_called_lost():
    paths = ("model/a.m/grad", "optimizer/a.m/step")
    one = replace(explained().explanation, harmless=paths)
    assert "Also lost, without effect once the above is restored: optimizer/a.m/step\n" in report_text(
        explained(explanation=one)
    )
    set_aside = SetAside(bookkeeping=paths[1:])
    assert "Also lost" not in report_text(explained(explanation=one, set_aside=set_aside))


def test_leaves_that_the_confirmation_could_not_restore_are_named_with_the_reason():
    one = replace(explained().explanation, confirmation_missing={"loop/handle": "a _io.TextIOWrapper"})
    verbose = report_text(explained(explanation=one), verbose=True)
    assert "    not restored there: loop/handle: a _io.TextIOWrapper\n" in verbose
    assert "not restored there" not in report_text(explained(), verbose=True)


def test_trials_have_a_line_for_each_result():
    trials = (
        TrialRecord("a", 1, TrialResult(Outcome.UNRESOLVED)),
        TrialRecord("b", 1, TrialResult(Outcome.DIFFERENT, error="it died")),
        TrialRecord("c", 1, TrialResult(Outcome.DIFFERENT)),
        TrialRecord("d", 1, TrialResult(Outcome.SAME), "does what the resumed run did"),
    )
    assert trial_lines(replace(explained().explanation, trials=trials)) == [
        "  a: unresolved",
        "  b: differs: it died",
        "  c: differs at the end",
        "  d: does what the resumed run did",
    ]
