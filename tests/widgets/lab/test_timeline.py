"""The timeline of a lab: what is drawn, and the same in words."""

import functools

from dora_repro.lab import Lab
from dora_repro.widgets import lanes
from dora_repro.widgets.lab import timeline
from tests import runs as small

forgetful = functools.partial(small.Forgetful, "optimizer")


def test_it_has_a_lane_for_each_process_and_says_so_in_words():
    lab = Lab(forgetful, 6).play("build,step*2,save,step,kill,load,step,save,load,transplant optimizer,step")
    drawn = timeline.timeline(lab)
    assert [drawn.count(name) for name in (">interrupted, killed<", ">resumed, killed<", ">resumed<")] == [1, 1, 1]
    assert drawn.count("✕") == 2 and drawn.count(">uninterrupted<") == 1 and drawn.count(">S</text>") == 2
    words = timeline.description(lab)
    assert "interrupted: built, saved after step 2, killed after step 3" in words
    assert "loaded at step 3, optimizer transplanted at step 3, at step 4" in words
    assert timeline.timeline(Lab(forgetful)) == ""
    long = Lab(small.Plain, 500).play("build,step*70")
    assert timeline.timeline(long).count("<circle") == 4  # ends alone


def test_a_timeline_of_many_processes_scrolls_and_does_not_grow():
    lab = Lab(forgetful, 6).play("build,step,save," + ",".join(["load,step,save"] * 3))
    drawn = timeline.timeline(lab)
    assert drawn.startswith(f'<div style="max-height:{lanes.TALLEST}px; overflow-y:auto;')
    assert drawn.count(">resumed, killed<") == 2
