"""The timeline of kept evidence: what is drawn, and the same in words."""

import dora_repro
from dora_repro.widgets.evidence.timeline import description, timeline
from dora_repro.widgets.lanes import BLUE, RED


def test_it_has_a_lane_for_each_run_and_says_so_in_words(kept):
    report = dora_repro.evidence(kept).first
    drawn = timeline(report)
    assert drawn.count(">uninterrupted<") == drawn.count(">resumed<") == 1 and ">killed<" not in drawn
    assert drawn.count(">S</text>") == 1 and ">first differs: step 2, update<" in drawn
    assert f'stroke="{RED}" stroke-width="2"' in drawn and f'stroke="{BLUE}" stroke-width="2"' in drawn
    assert description(report) == (
        "uninterrupted: 3 steps, saved after step 1; resumed after step 1, at its end after step 3; "
        "first differs at step 2, phase update"
    )


def test_where_nothing_differs_nothing_is_red(several):
    report = dora_repro.evidence(several).reports[0]
    assert RED not in timeline(report)
    assert description(report).endswith("resumed after step 0, at its end after step 2")
