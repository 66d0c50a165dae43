"""The lab as a reader meets it: a whole story by clicks, from Build to a divergence, and healed again."""

import re

import pytest

pytestmark = pytest.mark.browser

SHORT = {"script": "build,step,save,kill,load,step", "cure": "transplant rng"}


class Clicks:
    """The panel at the end of notebook 07, by what can be read on it."""

    def __init__(self, notebook):
        self.notebook = notebook
        self.cell = notebook.scroll_to("LabPanel(choices")
        self.panel = self.cell.locator(".dora-repro").first

    def click(self, name: str) -> None:
        self.button(name).click()

    def button(self, name: str):
        """By its words; an icon's character may stand before them."""
        return self.panel.get_by_role("button", name=re.compile(rf"(^|\W){name}$"))

    def says(self, words: str) -> None:
        """Wait until the panel's finding holds these words."""
        self.panel.locator(".widget-html-content").first.filter(has_text=words).wait_for()

    def open(self, tab: str) -> None:
        self.panel.get_by_role("tab", name=tab).click()

    def top(self) -> None:
        """Scroll the panel itself, not the cell's source, to the top of the page."""
        self.panel.evaluate("node => node.scrollIntoView({block: 'start'})")


@pytest.fixture(scope="module")
def notebook(open_notebook):
    opened = open_notebook("07_lab", **SHORT)
    opened.run_all()
    return opened


def test_a_story_is_clicked_to_a_divergence_and_healed(notebook):
    assert notebook.output_errors() == []
    lab = Clicks(notebook)
    lab.says("Nothing is built yet")
    lab.click("Build")
    lab.says("Both runs have done 0 steps")
    lab.click("Step")
    lab.says("Both runs have done 1 step;")
    lab.click("Step")
    lab.says("Both runs have done 2 steps")
    lab.click("Save")
    lab.click("Kill")
    lab.says("Killed after step 2")
    assert lab.button("Step both").is_disabled()
    lab.click("Load")
    lab.says("Loaded at step 2: not as they were")
    lab.click("Step")
    lab.says("first differs at step 3")
    lab.top()
    notebook.screenshot("07_lab_differs")
    lab.click("Transplant optimizer")
    lab.says("with optimizer transplanted")
    lab.click("Transplant rng")
    lab.says("every effect equal by bytes")
    lab.top()
    notebook.screenshot("07_lab_healed")
    lab.click("Undo")
    lab.says("with optimizer transplanted: first differs at step 3, phase forward")
    assert notebook.output_errors() == [] and notebook.console_errors() == []


@pytest.mark.parametrize(
    ("tab", "words"),
    [
        ("Random numbers", "rng/torch.cpu"),
        ("Phases", "differs: outputs/model"),
        ("Mend", "self.losses"),
        ("State", "the same"),
    ],
)
def test_each_tab_tells(notebook, tab, words):
    lab = Clicks(notebook)
    lab.open(tab)
    lab.panel.get_by_text(words).locator("visible=true").first.wait_for()
    lab.top()
    notebook.screenshot(f"07_lab_{tab.split()[0].lower()}")


@pytest.mark.parametrize("tab", ["Losses", "Batches", "Parameters"])
def test_each_figure_is_there_in_both_themes(notebook, tab):
    lab = Clicks(notebook)
    lab.open(tab)
    image = lab.panel.locator("img:visible").first
    image.wait_for()
    notebook.page.wait_for_function("image => image.naturalWidth >= 700", arg=image.element_handle())
    for theme in ("light", "dark"):
        notebook.theme(theme)
        lab.top()
        notebook.screenshot(f"07_lab_{tab.lower()}_{theme}")
    assert notebook.output_errors() == []


def test_many_steps_can_be_cancelled_by_the_keyboard(notebook):
    lab = Clicks(notebook)
    lab.open("State")
    steps = lab.panel.get_by_role("spinbutton", name="steps")
    steps.fill("900")
    steps.press("Enter")
    lab.button("Step").focus()
    notebook.page.keyboard.press("Enter")
    cancel = lab.button("Cancel")
    cancel.wait_for()
    cancel.focus()
    notebook.page.keyboard.press("Enter")
    cancel.wait_for(state="hidden")
    assert notebook.output_errors() == [] and notebook.console_errors() == []


def test_the_same_story_with_a_fault_of_the_gallery(notebook):
    lab = Clicks(notebook)
    lab.panel.get_by_role("combobox", name="run").select_option("opt-missing")
    lab.click("Reset")
    lab.says("Nothing is built yet")
    lab.click("Tell it again")
    steps = lab.panel.get_by_role("spinbutton", name="steps")
    steps.fill("3")
    steps.press("Enter")
    lab.click("Build")
    lab.says("0 steps")
    lab.click("Step")
    lab.says("3 steps")
    lab.click("Save")
    lab.click("Load")
    lab.says("Loaded at step 3")
    lab.click("Run to the end")
    lab.says("first differs at step 4, phase update")
    lab.top()
    notebook.screenshot("07_lab_fault")
    assert notebook.output_errors() == [] and notebook.console_errors() == []
