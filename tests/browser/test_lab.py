"""The lab as a reader meets it: from Build to a divergence by clicks, and back; all of it in view on a laptop."""

import io
import re

import pytest
from PIL import Image

pytestmark = pytest.mark.browser

SHORT = {"script": "build,step,save,kill,load,step", "cure": "transplant rng"}


class Clicks:
    """The panel at the end of notebook 07, by what can be read on it."""

    def __init__(self, notebook):
        self.notebook = notebook
        self.cell = notebook.scroll_to("LabPanel(choices")
        self.panel = self.cell.locator(".dora-repro-panel").first

    def click(self, name: str) -> None:
        self.button(name).click()

    def button(self, name: str):
        """By its words; an icon's character may stand before them."""
        return self.panel.get_by_role("button", name=re.compile(rf"(^|\W){name}$"))

    def says(self, words: str) -> None:
        """Wait until the panel's summary holds these words."""
        self.panel.locator(".dora-repro-summary").filter(has_text=words).wait_for()

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


def test_clicks_lead_to_a_divergence_and_transplants_remove_it(notebook):
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
    assert lab.button("Both").is_disabled()
    lab.click("Load")
    lab.says("Loaded at step 2: different from the uninterrupted run")
    lab.click("Step")
    lab.says("first differs at step 3")
    lab.top()
    notebook.screenshot("07_lab_differs")
    lab.click("Transplant optimizer")
    lab.says("with optimizer transplanted")
    lab.click("Transplant rng")
    lab.says("all effects byte-identical")
    lab.top()
    notebook.screenshot("07_lab_transplanted")
    lab.click("Undo")
    lab.says("with optimizer transplanted: first differs at step 3, phase forward")
    assert notebook.output_errors() == [] and notebook.console_errors() == []


@pytest.mark.parametrize(
    ("tab", "words"),
    [
        ("RNG", "rng/torch.cpu"),
        ("Phases", "differs: outputs/model"),
        ("Fix", "self.losses"),
        ("State", "identical"),
    ],
)
def test_each_tab_shows_its_words(notebook, tab, words):
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
        assert image.evaluate("image => image.naturalWidth / image.clientWidth") > 1  # sharp, not blown up
    assert notebook.output_errors() == []


# --- on a laptop of 1366 x 768

# What of the panel is not in view, and which labels are cut: names.
OUT_OF_VIEW = """panel => {
  const view = panel.closest('.jp-WindowedPanel-outer').getBoundingClientRect();
  const parts = {'timeline': panel.querySelector('svg[role=img]'), 'tabs': panel.querySelector('.lm-TabBar')};
  for (const button of panel.querySelectorAll('button:not(.lm-TabPanel button)'))
    if (button.offsetParent) parts[button.innerText.trim()] = button;
  return Object.entries(parts).filter(([name, part]) => {
    const box = part.getBoundingClientRect();
    return box.top < view.top || box.bottom > view.bottom || box.left < view.left || box.right > view.right;
  }).map(([name]) => name);
}"""
HEIGHT_OF_TAB = """panel => {
  const view = panel.closest('.jp-WindowedPanel-outer').getBoundingClientRect();
  const tab = panel.querySelector('.widget-tab-contents').getBoundingClientRect();
  return Math.min(tab.bottom, view.bottom) - tab.top;
}"""
CUT = """panel => [...panel.querySelectorAll('.lm-TabBar-tabLabel, button, .widget-label')]
  .filter(label => label.offsetParent && label.scrollWidth > label.clientWidth).map(label => label.innerText.trim())"""


@pytest.mark.parametrize("side_bar", [True, False])
def test_buttons_timeline_and_the_open_tab_are_in_view_at_once(notebook, side_bar):
    lab = Clicks(notebook)
    lab.open("State")
    notebook.side_bar(side_bar)
    lab.top()
    notebook.screenshot(f"07_lab_laptop_{'with' if side_bar else 'without'}_side_bar")
    assert lab.panel.evaluate(OUT_OF_VIEW) == [] and lab.panel.evaluate(CUT) == []
    assert lab.panel.evaluate(HEIGHT_OF_TAB) >= 150
    top = {button.bounding_box()["y"] for button in map(lab.button, ("Build", "Step", "Kill", "Undo", "Reset"))}
    assert len(top) == 1  # one row


def test_what_is_out_of_view_and_what_is_cut_is_seen(notebook):
    lab = Clicks(notebook)
    lab.top()
    label = lab.panel.locator(".lm-TabBar-tabLabel").first
    label.evaluate("label => { label.innerText = 'Random numbers'.repeat(3); }")
    assert lab.panel.evaluate(CUT) == ["Random numbers" * 3]
    label.evaluate("label => { label.innerText = 'State'; }")
    lab.panel.evaluate("panel => { panel.style.paddingTop = '600px'; }")
    assert {"timeline", "tabs"} <= set(lab.panel.evaluate(OUT_OF_VIEW))
    lab.panel.evaluate("panel => { panel.style.paddingTop = ''; }")
    assert lab.panel.evaluate(OUT_OF_VIEW) == []


def corners(notebook, image) -> tuple[tuple, tuple]:
    """The colour of the page in the corner of an image, and just outside of it."""
    box = image.bounding_box()
    clip = {"x": box["x"] - 6, "y": box["y"] - 6, "width": 12, "height": 12}
    seen = Image.open(io.BytesIO(notebook.page.screenshot(clip=clip, animations="disabled"))).convert("RGB")
    return seen.getpixel((9, 9)), seen.getpixel((3, 3))


def test_the_background_of_a_figure_follows_the_theme(notebook):
    lab = Clicks(notebook)
    lab.open("Losses")
    image = lab.panel.locator("img:visible").first
    image.wait_for()
    seen = {}
    for theme in ("light", "dark"):
        notebook.theme(theme)
        lab.top()
        seen[theme], outside = corners(notebook, image)
        assert seen[theme] == outside
    assert sum(seen["light"]) > 700 and sum(seen["dark"]) < 150
    image.evaluate("image => { image.style.background = 'white'; }")  # planted: a white sheet
    sheet, outside = corners(notebook, image)
    assert sheet == (255, 255, 255) != outside
    image.evaluate("image => { image.style.background = ''; }")


# --- long work, and another run


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


def test_the_same_actions_with_a_fault_of_the_gallery(notebook):
    lab = Clicks(notebook)
    lab.panel.get_by_text("Settings:").click()
    before = lab.button("Reset").bounding_box()
    lab.panel.get_by_role("combobox", name="run").select_option("opt-missing")
    lab.panel.get_by_text("Settings: opt-missing").wait_for()
    assert lab.button("Reset").bounding_box() == before  # a button that is about to be clicked must not move
    lab.click("Reset")
    lab.says("Nothing is built yet")
    lab.click("Replay")
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
    lab.click("End")
    lab.says("first differs at step 4, phase update")
    lab.top()
    notebook.screenshot("07_lab_fault")
    assert notebook.output_errors() == [] and notebook.console_errors() == []
