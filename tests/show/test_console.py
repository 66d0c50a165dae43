"""Reports as text, held as whole strings: what is printed is what users read and scripts look for."""

import subprocess
import sys
from pathlib import Path

import pytest

from dora_repro.checks.report import Control, Reports, SetAside, Verdict
from dora_repro.comparison.leaves import Comparison
from dora_repro.difference import LeafDifference
from dora_repro.show.answer import answer
from dora_repro.show.console import report_text, reports_text, verdict_line
from dora_repro.trace import Divergence
from tests.show import made
from tests.show.made import comparisons, different, differs, inconclusive, latent, missing, report, tolerated

EXACT = """\
✓ EXACT: resumed after step 2 of 3, the run is the same, bit for bit (quick)
  All effects of 1 step are equal by bytes, and so is the state at the end.
  Compared by bytes: loaded parameters (2), final parameters (2), outputs (1).

quick: 3 steps without a break, against 2, save, load and 1 more
  checkpoint: complete

DoRA parameters right after loading (step 2)
✓ a.m: max diff = 0.00e+00
✓ a.delta: max diff = 0.00e+00
  exact by bytes

DoRA parameters after training on (step 3)
✓ a.m: max diff = 0.00e+00
✓ a.delta: max diff = 0.00e+00
  exact by bytes

Outputs on the same input in eval mode
✓ Outputs match (max diff: 0.00e+00)
  exact by bytes

Control: not needed: both runs are byte-identical
Cost: 3 + 1 steps (reference + resumed), 1.2 + 0.5 s

✅ TEST PASSED: Checkpoint loading is reproducible!"""

DIFFERENT = """\
✗ DIFFERENT: resumed after step 2 of 3, the run is not the same (quick)
  First difference: step 3, phase update: model/a.m
    max diff = 1.23e-04, 3/64 elements, max 2 ULP
  Cause: not searched for

quick: 3 steps without a break, against 2, save, load and 1 more

Parameters right after loading (step 2)
✓ model/a.m: max diff = 0.00e+00
✓ model/a.delta: max diff = 0.00e+00
  exact by bytes

Parameters after training on (step 3)
✗ model/a.m: max diff = 1.23e-04  (3/64, max 2 ULP)
✓ model/a.delta: max diff = 0.00e+00
  not exact; beyond the study's tolerance 1e-08 (1 of 2 equal by bytes)

Outputs on the same input in eval mode
✗ Outputs differ (max diff: 5.67e-02)
  not exact; beyond the study's tolerance 1e-06 (0 of 1 equal by bytes)

First difference, in order of execution: step 3, phase update
  model/a.m  f32[64]  3/64 (4.69 %)  max diff = 1.23e-04  max 2 ULP at [17]
First memory that differs: end of step 3
  optimizer/a.m/exp_avg

What was lost (5 of 7 leaves that differ right after loading):
  2 × optimizer/*/step  missing
  2 × optimizer/*/exp_avg  missing
  rng/torch.cpu  different state
  Not listed: gradients of the last step (2)

Control: reference and resumed repeated, deterministic
Cost: 3 + 1 steps (reference + resumed), 1.2 + 0.5 s

What differs:
  - Parameters differ (max: 1.23e-04)
  - Outputs differ (max: 5.67e-02)
❌ TEST FAILED: Checkpoint loading has issues"""

TOLERATED_SECTIONS = """\
Parameters after training on (step 3)
✓ model/a.m: max diff = 1.23e-04  (3/64, max 2 ULP)
✓ model/a.delta: max diff = 0.00e+00
  not exact; beyond the study's tolerance 1e-08; within the tolerance asked for, 0.1 (1 of 2 equal by bytes)

Outputs on the same input in eval mode
✓ Outputs match (max diff: 5.67e-02)
  not exact; beyond the study's tolerance 1e-06; within the tolerance asked for, 0.1 (0 of 1 equal by bytes)
"""

LATENT_END = """\
Lost at the end, with no effect in 1 step:
  ema/0.weight  f32[64]  3/64 (4.69 %)  max diff = 1.23e-04  max 2 ULP at [17]

Control: reference and resumed repeated, deterministic
Cost: 3 + 1 steps (reference + resumed), 1.2 + 0.5 s

❌ TEST FAILED: state lost, no effect in 1 step"""

INCONCLUSIVE_END = """\
Control: reference repeated, not deterministic: first differs at step 1, phase batch, batch/0
Cost: 3 + 1 steps (reference + resumed), 1.2 + 0.5 s

⚠ INCONCLUSIVE: not deterministic: a repeat of the same side first differs at step 1, phase batch, batch/0"""


def test_an_exact_report_reads_as_the_studys():
    def short(path):
        return path.removeprefix("model/")

    assert report_text(report(), short, about=["checkpoint: complete"], parameters="DoRA parameters") == EXACT


def test_a_different_report_says_what_where_and_what_was_lacking():
    assert report_text(different()) == DIFFERENT


def test_a_report_prints_itself():
    assert str(different()) == DIFFERENT


def test_a_tolerated_difference_passes_with_its_tolerance_in_every_place():
    text = report_text(tolerated())
    assert TOLERATED_SECTIONS in text
    assert text.endswith("\n\n✅ TEST PASSED within tolerance 0.1, not exact")
    assert "What differs" not in text


def test_the_same_difference_is_not_ticked_where_it_was_not_accepted():
    text = report_text(different(tolerance=1e-6))
    assert "✗ model/a.m: max diff = 1.23e-04" in text
    assert "beyond the tolerance asked for, 1e-06" in text


def test_a_latent_loss_is_named():
    assert report_text(latent()).endswith(LATENT_END)


def test_an_inconclusive_report_ends_with_why():
    assert report_text(inconclusive()).endswith(INCONCLUSIVE_END)


def test_a_reason_of_many_lines_keeps_the_last_line_one_line():
    text = report_text(inconclusive(reason="the resumed side did not finish: killed by SIGKILL\n  last words"))
    assert text.splitlines()[-1] == "⚠ INCONCLUSIVE: the resumed side did not finish: killed by SIGKILL"
    assert "\nWhat happened:\n    last words\n" in text


@pytest.mark.parametrize(
    ("made", "line"),
    [
        (report(), "✅ TEST PASSED: Checkpoint loading is reproducible!"),
        (tolerated(tolerance=1e-6), "✅ TEST PASSED within tolerance 1e-06, not exact"),
        (latent(steps_done={"resumed": 7}), "❌ TEST FAILED: state lost, no effect in 7 steps"),
        (different(), "❌ TEST FAILED: Checkpoint loading has issues"),
        (inconclusive(reason="why"), "⚠ INCONCLUSIVE: why"),
    ],
    ids=lambda value: str(getattr(value, "verdict", "")),
)
def test_the_last_line_is_the_verdicts(made, line):
    assert verdict_line(made) == line
    assert report_text(made).splitlines()[-1] == line


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (LeafDifference("p", "missing", "f32[64]"), "✗ p: missing (expected f32[64])"),
        (LeafDifference("p", "unexpected", "", "f32[2]"), "✗ p: unexpected (f32[2])"),
        (LeafDifference("p", "dtype", "f32[64]", "bf16[64]"), "✗ p: dtype changed: expected f32[64], got bf16[64]"),
        (LeafDifference("p", "shape", "f32[64]", "f32[32]"), "✗ p: shape changed: expected f32[64], got f32[32]"),
        (differs("p", 0.0, differing=1, max_ulp=1), "✗ p: max diff = 0.00e+00  (1/64, max 1 ULP)"),
        (differs("p", 1.0, nan=2), "✗ p: max diff = 1.00e+00  (3/64, max 2 ULP, 2 NaN)"),
        (
            differs("p", None, max_ulp=None, nan=3),
            "✗ p: f32[64]  3/64 (4.69 %)  3 NaN at [17]",
        ),
    ],
    ids=["missing", "unexpected", "dtype", "shape", "signed zero", "some NaN", "all NaN"],
)
def test_each_kind_of_difference_has_its_line(found, line):
    made = different(comparisons=(Comparison("parameters", ("p",), (found,), 1e-8),))
    assert line in report_text(made).splitlines()


def test_many_parameters_are_counted_and_the_wrong_ones_shown_up_to_a_limit():
    leaves = tuple(f"model/{index}.w" for index in range(301))
    wrong = [differs(path) for path in leaves[:300]]
    made = different(comparisons=comparisons(parameters=wrong, leaves=leaves))
    lines = report_text(made).splitlines()
    assert sum(line.startswith("✗ model/") for line in lines) == 40
    assert "… and 260 more that differ" in lines
    assert "✓ 1 more: max diff = 0.00e+00" in lines
    assert "✓ 301 parameters: max diff = 0.00e+00" in lines  # right after loading
    everything = report_text(made, verbose=True).splitlines()
    assert sum(line.startswith("✗ model/") for line in everything) == 300
    assert sum(line.startswith("✓ model/") for line in everything) == 302
    assert not any("more" in line for line in everything if "save, load" not in line)


def test_forty_parameters_each_have_their_line():
    leaves = tuple(f"model/{index}.w" for index in range(40))
    text = report_text(report(comparisons=comparisons(leaves=leaves)))
    assert text.count("✓ model/") == 80


def test_leftover_gradients_are_told_of_only_where_gradients_differ_first():
    assert "/grad" not in report_text(different())
    in_window = different(divergence=Divergence(3, "backward", "model/a.m/grad"))
    assert "  2 × model/*/grad  missing\n" in report_text(in_window)


def test_what_was_set_aside_is_listed_by_its_reason():
    text = report_text(
        report(
            set_aside=SetAside(ignored=("count",), expected_loss=("rng/torch.cpu",), noise=("started",)),
            notes=("a remark",),
            unseen=("batch",),
            uncaptured={"batches": "generator"},
        )
    )
    assert "Lost, but ignored as requested: count\n" in text
    assert "Lost, but never read in 1 step: rng/torch.cpu\n" in text
    assert "Noise: also differs between two identical runs; not counted: started\n" in text
    assert "Phases not recorded (their differences show in the next phase): batch\n" in text
    assert "Not captured: batches (generator)\n" in text
    assert "Note: a remark\n" in text


def test_what_raised_is_shown_and_is_what_differs():
    traceback = "Traceback\n" + "\n".join(f"  line {number}" for number in range(50)) + "\nKeyError: 'optimizer'\n"
    made = different(
        divergence=Divergence(2, "load", "run/exception", "raised"), error=traceback, comparisons=(), lost=()
    )
    text = report_text(made)
    assert "step 2, phase load\n  run/exception  raised\n" in text
    assert "  … 32 lines before\n" in text and "  KeyError: 'optimizer'\n" in text
    assert "  - The runs differ (step 2, phase load)\n❌" in text
    assert "  line 0\n" not in text and "line 0\n" in report_text(made, verbose=True)


def test_a_save_that_changes_the_run_is_named():
    made = different(divergence=Divergence(2, "save", "model/a.m"), changed_by_save=(differs("model/a.m"),))
    assert "Changed by save() itself (1 leaf):\n  model/a.m  f32[64]" in report_text(made)


def test_a_control_that_was_not_run_is_not_claimed():
    assert "Control: not run\n" in report_text(inconclusive(control=Control()))


def test_a_check_at_the_last_step_says_so():
    assert "\n\nquick: 3 steps without a break, against 3, save and load\n" in report_text(report(save_at=3))


REPORTS = """\
✗ DIFFERENT: 3 resumed runs: 1 DIFFERENT, 1 LATENT, 1 EXACT (every step)
  The first DIFFERENT one: resumed at step 1
  First difference: step 3, phase update: model/a.m
    max diff = 1.23e-04, 3/64 elements, max 2 ULP
  Cause: not searched for

every step: 3 resumed runs against one that was not interrupted
✓ resumed at step 0: EXACT  fine
✗ resumed at step 1: DIFFERENT  first differs
✗ resumed at step 2: LATENT  lost

resumed at step 1: 3 steps without a break, against 2, save, load and 1 more
"""


def test_several_reports_are_a_table_and_the_first_of_the_worst_in_full():
    made = Reports(
        "every step",
        (
            report(title="resumed at step 0", reason="fine"),
            different(title="resumed at step 1", reason="first differs"),
            latent(title="resumed at step 2", reason="lost"),
        ),
    )
    text = reports_text(made)
    assert text.startswith(REPORTS)
    assert text.count("First difference, in order of execution") == 1 and "Lost at the end" not in text
    assert text.endswith(
        "  - Outputs differ (max: 5.67e-02)\n\nCost: 3 steps uninterrupted, 3 resumed\n\n"
        "❌ TEST FAILED: Checkpoint loading has issues"
    )
    assert str(made) == text
    assert "Lost at the end" in reports_text(made, verbose=True)


def test_several_exact_reports_are_a_table_and_a_verdict():
    made = Reports("twice", (report(title="one", reason="r"), report(title="two", reason="r")))
    assert reports_text(made) == (
        "✓ EXACT: 2 resumed runs, each the same run, bit for bit (twice)\n\n"
        "twice: 2 resumed runs against one that was not interrupted\n✓ one: EXACT  r\n✓ two: EXACT  r\n\n"
        "Cost: 3 steps uninterrupted, 2 resumed\n\n✅ TEST PASSED: Checkpoint loading is reproducible!"
    )


@pytest.mark.parametrize(
    ("worst", "line"),
    [
        (tolerated(tolerance=1e-8), "✅ TEST PASSED within tolerance 1e-08, not exact"),
        (latent(), "❌ TEST FAILED: state lost, no effect in 1 step"),
        (inconclusive(title="resumed at step 4", reason="why"), "⚠ INCONCLUSIVE: resumed at step 4: why"),
    ],
    ids=lambda value: str(getattr(value, "verdict", "")),
)
def test_several_reports_end_with_the_verdict_of_the_worst(worst, line):
    made = Reports("every step", (report(), worst, report()))
    assert reports_text(made).splitlines()[-1] == line


def test_every_verdict_has_a_report_here():
    assert {made.verdict for made in (report(), tolerated(), latent(), different(), inconclusive())} == set(Verdict)


def test_a_hundred_lost_leaves_are_a_few_lines():
    lost = tuple(
        missing(f"optimizer/layer.{index}.w/{moment}") for index in range(99) for moment in ("exp_avg", "step")
    )
    text = report_text(different(lost=lost))
    assert (
        "(198 leaves differ right after loading):\n  99 × optimizer/*/exp_avg  missing\n  99 × optimizer/*/step" in text
    )


@pytest.mark.parametrize(("shown", "whole"), [("report", True), ("Plain(repr(report))", False)])
def test_a_failed_assertion_begins_with_the_whole_answer(shown, whole, tmp_path):
    code = (
        "from tests.show import made\n\nreport = made.explained()\n\n"
        "class Plain:\n    def __init__(self, text): self.text = text\n"
        "    def __repr__(self): return str.__str__(self.text)\n\n"
        f"def test_it():\n    assert report.passed, {shown}\n"
    )
    (tmp_path / "test_it.py").write_text(code, encoding="utf-8")
    root = Path(__file__).parents[2]
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)]
    done = subprocess.run(words, cwd=root, capture_output=True, text=True, timeout=120)
    printed = [line.removeprefix("E").strip() for line in done.stdout.splitlines()]
    expected = [line.strip() for line in answer(made.explained())]
    begin = next(place for place, line in enumerate(printed) if line.endswith(expected[0]))
    assert (printed[begin + 1 : begin + len(expected)] == expected[1:]) is whole
