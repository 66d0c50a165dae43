"""Kept evidence as a reader meets it: a transplant is chosen and made by a click, and its result is shown."""

import pytest

pytestmark = pytest.mark.browser

PLACE = "panel.EvidencePanel(check)"


def test_a_transplant_is_made_by_a_click_and_its_result_is_shown(open_notebook):
    notebook = open_notebook("11_the_evidence", restore="")
    notebook.run_all()
    panel = notebook.scroll_to(PLACE).locator(".dora-repro-panel").first
    for tab in ("Lost", "Differences", "Trials", "Transplant"):
        panel.get_by_role("tab", name=tab, exact=True).click()
        notebook.screenshot(f"11_the_evidence_{tab.lower()}")
    panel.get_by_role("listbox").last.select_option(label="optimizer (12 moments)")
    panel.get_by_role("button", name="Put back and resume").click()
    panel.get_by_role("button", name="Cancel").wait_for()
    made = "With optimizer (12 moments) put back: all 3 remaining steps are as the reference's."
    panel.get_by_text(made).last.wait_for(timeout=120_000)
    notebook.screenshot("11_the_evidence_made")
    assert notebook.output_errors() == [] and notebook.console_errors() == []
