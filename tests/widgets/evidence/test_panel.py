"""The panel on kept evidence: what it shows of one, and a transplant by a click."""

import shutil

import dora_repro
from dora_repro.widgets.differences.explorer import DifferenceExplorer
from dora_repro.widgets.evidence.panel import TABS, EvidencePanel
from tests.widgets.evidence.conftest import MOMENTS


def test_it_shows_the_answer_and_makes_a_transplant_by_a_click(kept, tmp_path):
    panel = EvidencePanel(dora_repro.evidence(shutil.copytree(kept, tmp_path / "kept")))  # it adds to the evidence
    assert repr(panel) == "EvidencePanel(forgets its moments: DIFFERENT)"
    assert panel.tabs.titles == TABS
    assert "step 2, phase update, model/0.weight" in panel.summary.value
    assert "DIFFERENT" in panel.tabs.children[0].value and MOMENTS in panel.tabs.children[1].value
    (explorer,) = panel.tabs.children[2].children
    assert isinstance(explorer, DifferenceExplorer) and [step for _, step in explorer.step.options] == [1, 3]
    panel.components.value = (MOMENTS,)
    panel.launch.click()
    assert "put back: all 2 remaining steps are as the reference" in panel.outcome.value
    assert "1 transplant made since:" in panel.tabs.children[3].value
    panel.components.value, panel.globs.value = (), "nowhere/*"
    panel.launch.click()
    assert "matches no leaf of it" in panel.error.value
    panel.close()
    assert explorer.comm is None


def test_reports_are_shown_one_at_a_time(several):
    panel = EvidencePanel(dora_repro.evidence(several))
    assert repr(panel) == "EvidencePanel(every step: 2 reports, DIFFERENT)"
    assert panel.chosen.value == 1 and panel.launch.disabled is False
    panel.chosen.value = 0
    assert panel.launch.disabled and panel.components.options == ()
    assert "there is nothing to put back" in panel.outcome.value
    assert "EXACT" in panel.summary.value
    panel.close()
