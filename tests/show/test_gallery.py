"""The gallery of faults as text: listed by family, a row for each, what was declared beside what was found."""

from dataclasses import replace

import pytest

from dora_repro.checks.expectation import UnexpectedVerdict
from dora_repro.checks.report import Verdict
from dora_repro.faults.gallery import Fault
from dora_repro.faults.plain import Training
from dora_repro.faults.trying import Tried
from dora_repro.show import gallery
from dora_repro.trace import Divergence
from tests.show.made import explained, latent, report

FAULT = Fault(
    name="opt-forgotten",
    family="optimizer",
    factory=Training,
    steps=3,
    save_at=2,
    lesson="The moments are lost. And more.",
    fix="save them",
    verdict="DIFFERENT",
    step=3,
    phase="update",
    causes=(("rng/torch.cpu", "optimizer/*/exp_avg"),),
    threads=("some/where#1",),
)


def tried(fault=FAULT, found=None, **changes):
    return Tried(replace(fault, **changes), found or explained(), seconds=1.0)


def test_faults_are_listed_by_family_with_their_first_sentence():
    clean = replace(FAULT, name="fine", family="clean", needs="cuda")
    assert gallery.listed([FAULT, clean]).splitlines() == [
        "optimizer",
        "  opt-forgotten  The moments are lost.",
        "",
        "clean",
        "  fine           The moments are lost. [needs cuda]",
    ]


def test_a_row_says_what_was_found():
    row = gallery.line(tried(), 15)
    assert row == "✓ opt-forgotten    DIFFERENT; step 3, update; rng/torch.cpu + optimizer/*/exp_avg"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"verdict": "LATENT"}, "declared: LATENT"),
        ({"step": 4}, "declared: step 4, update"),
        ({"phase": "batch"}, "declared: step 3, batch"),
        ({"causes": (("rng/torch.cpu",),)}, "declared: rng/torch.cpu"),  # the moments are too much
        ({"causes": (("rng/*", "optimizer/*", "model/x"),)}, "declared: rng/* + optimizer/* + model/x"),
        ({"causes": ((),)}, "declared: no captured state"),
        ({"causes": (("a",), ("b", "c"))}, "declared: a or b + c"),
    ],
)
def test_whatever_is_not_as_declared_is_told(changes, said):
    one = tried(**changes)
    assert not one.as_declared
    assert gallery.line(one).splitlines()[1].strip() == said
    with pytest.raises(UnexpectedVerdict, match="opt-forgotten is declared as"):
        one.check()


def test_of_alternatives_one_must_be_named_whole():
    assert tried(causes=(("x",), ("rng/*", "optimizer/*"))).cause_right
    assert not tried(causes=(("rng/*",), ("optimizer/*",))).cause_right


def test_what_no_state_explains_must_be_said_to_be():
    found = explained()
    bare = replace(found.explanation, causes=(), unexplained="no captured state explains it")
    assert tried(found=explained(explanation=bare), causes=((),)).as_declared
    assert not tried(found=explained(explanation=None), causes=((),)).as_declared


def test_a_clean_run_must_name_nothing():
    fine = {"verdict": "EXACT", "step": None, "phase": None, "causes": (), "family": "clean"}
    assert tried(found=report(), **fine).as_declared
    assert not tried(**fine).as_declared
    assert repr(tried(found=report(), **fine).check()).startswith("EXACT, as expected")


def test_the_summary_counts_faults_and_clean_runs_apart():
    fine = tried(found=report(), verdict="EXACT", step=None, phase=None, causes=(), family="clean")
    skipped = Tried(replace(FAULT, needs="cuda"), skipped="needs a CUDA device")
    done = [tried(), tried(step=9), fine, skipped]
    assert gallery.summary(done) == "❌ 1 of 2 faults as declared, 1 of 1 clean run as declared, 1 skipped"
    assert gallery.summary(done[:1]) == "✅ 1 of 1 fault as declared"
    assert gallery.line(skipped, 15) == "– opt-forgotten    skipped: needs a CUDA device"
    assert gallery.costs(done) == "3 trials at the median, 3 at most; 3 s in all"


def test_a_verdict_without_a_divergence_is_told_without_one():
    one = tried(found=latent(), verdict="LATENT", step=None, phase=None, causes=(("ema/*",),))
    assert gallery.found(one.report).startswith("LATENT")
    assert one.verdict_right and one.place_right and not one.cause_right
    found = replace(latent(), verdict=Verdict.DIFFERENT, divergence=Divergence(3, "batch", "batch/0"))
    assert "step 3, batch" in gallery.found(found)


def test_the_source_shown_is_the_class_without_its_registration():
    text = gallery.source(replace(FAULT, factory=Training))
    assert text.startswith("class Training:") and "@fault" not in text


def test_a_row_as_data_holds_what_was_declared_and_the_report():
    row = gallery.to_dict(tried())
    assert row["as_declared"] and row["declared"]["causes"] == [["rng/torch.cpu", "optimizer/*/exp_avg"]]
    assert row["report"]["explanation"]["proved"] is True
    assert gallery.to_dict(Tried(FAULT, skipped="no"))["report"] is None
