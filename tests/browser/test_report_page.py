"""The page of a report as a reader opens it: at once, on a narrow screen and a wide one, light and dark."""

import re

import pytest

from dora_repro.show.answer import answer
from dora_repro.show.html import page
from tests.show import made

pytestmark = pytest.mark.browser

WIDTHS = (400, 1000)
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
COPIED = "node => { getSelection().selectAllChildren(node); return `${getSelection()}` }"
UNFOLD = "document.querySelectorAll('details').forEach(each => each.open = true)"
LOADED = "performance.getEntriesByType('navigation')[0].loadEventEnd"  # milliseconds
UNFOLDED = (  # milliseconds
    f"(() => {{ const begun = performance.now(); {UNFOLD}; document.body.offsetHeight; "
    "return performance.now() - begun })()"
)


@pytest.fixture
def opened(browser, tmp_path):
    """`opened(html, width=1000, theme="light")`: the page in a window of its own."""
    windows = []

    def open_page(html: str, width: int = 1000, theme: str = "light"):
        (tmp_path / "page.html").write_text(html, encoding="utf-8")
        windows.append(browser.new_page(viewport={"width": width, "height": 900}, color_scheme=theme))
        windows[-1].goto((tmp_path / "page.html").as_uri())
        return windows[-1]

    yield open_page
    for window in windows:
        window.close()


def large(leaves: int = 1000) -> str:
    """The page of a report in which all of so many parameters differ, and as much was lost."""
    paths = tuple(f"model/clip_model.visual.transformer.resblocks.{index}.attn.out_proj.m" for index in range(leaves))
    wrong = [made.differs(path) for path in paths]
    lost = tuple(made.missing(f"optimizer/{path}/{index}") for index, path in enumerate(paths))
    compared = made.comparisons(load=wrong, parameters=wrong, leaves=paths)
    return page(made.explained(comparisons=compared, lost=lost), figures=False)


def test_a_page_of_a_thousand_leaves_opens_and_unfolds_within_a_second(opened):
    html, took = large(), []
    for _ in range(3):  # the best of three: other processes share this machine
        window = opened(html)
        took.append(window.evaluate(LOADED) + window.evaluate(UNFOLDED))
    assert window.evaluate("document.body.offsetHeight") > 30_000  # pixels: all of it is laid out
    assert 0 < min(took) < 1000  # milliseconds


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("report", [made.explained(), made.long_names()], ids=["explained", "long names"])
def test_nothing_lies_outside_of_the_page(opened, report, width):
    window = opened(page(report), width)
    window.evaluate(UNFOLD)
    assert window.evaluate(OVERFLOW) == 0


def test_what_lies_outside_is_seen(opened):
    html = page(made.long_names()).replace("overflow-wrap: anywhere", "").replace("pre-wrap", "pre")
    window = opened(html, WIDTHS[0])
    window.evaluate(UNFOLD)
    assert window.evaluate(OVERFLOW) > 0


def test_the_answer_is_in_view_at_once_and_the_evidence_folded(opened):
    window = opened(page(made.explained()))
    box = window.locator(".answer").bounding_box()
    assert box["y"] + box["height"] < 400  # pixels
    assert window.locator("details[open]").count() == 0 < window.locator("details").count()


def test_what_is_copied_is_the_text_with_its_marks(opened):
    window = opened(page(made.explained()))
    assert window.locator(".answer").evaluate(COPIED).strip().splitlines() == answer(made.explained())
    assert window.locator(".verdict").evaluate(COPIED).strip() == "❌ TEST FAILED: Checkpoint loading has issues"


def test_marks_are_drawn_without_a_font(opened):
    window = opened(page(made.explained()))
    mark = window.locator(".answer .mark").first
    assert mark.evaluate("node => getComputedStyle(node).color") == "rgba(0, 0, 0, 0)"
    drawn = mark.evaluate("node => { const { clipPath, backgroundColor } = getComputedStyle(node, '::before'); "
                          "return { clipPath, backgroundColor } }")  # fmt: skip
    assert drawn["clipPath"].startswith("polygon(") and drawn["backgroundColor"] == "rgb(213, 94, 0)"


def test_the_page_follows_the_theme(opened):
    lightness = {}
    for theme in ("light", "dark"):
        window = opened(page(made.explained(), figures=False), theme=theme)
        colour = window.evaluate("getComputedStyle(document.body).color")
        lightness[theme] = sum(map(int, re.findall(r"\d+", colour)[:3]))
    assert lightness["light"] < 100 < 600 < lightness["dark"]
