"""The views of a lab: each is drawn anew when it is opened, and when something was done."""

import pytest

from tests.widgets.lab.test_panel import CLICKED, clicked, plain


@pytest.mark.parametrize(
    ("view", "words"),
    [
        ("State", "optimizer: "),
        ("RNG", "rng/torch.cpu"),
        ("Phases", "differs: model/0.weight"),
        ("Fix", "self.optimizer.load_state_dict"),
    ],
)
def test_a_view_that_is_opened_shows_the_lab(panel, view, words):
    clicked(panel, *CLICKED)
    panel.tabs.selected_index = list(panel.views).index(view)
    shown = panel.views[view]
    held = shown.value if hasattr(shown, "value") else "".join(c.children[1].value for c in shown.children[:-1])
    assert words in plain(held)


@pytest.mark.parametrize("view", ["Losses", "Batches", "Parameters"])
def test_a_figure_is_drawn_anew_when_something_was_done(panel, view):
    clicked(panel, *CLICKED)
    panel.tabs.selected_index = list(panel.views).index(view)
    before = bytes(panel.views[view].image.value)
    assert before.startswith(b"\x89PNG")
    clicked(panel, "step")
    assert bytes(panel.views[view].image.value) != before or view == "Batches"  # this run has no loader


def test_the_heat_map_is_of_what_was_loaded_by_either_measure(panel):
    panel.tabs.selected_index = list(panel.views).index("Parameters")
    heat = panel.views["Parameters"]
    assert "Nothing has been loaded" in heat.note.value and heat.image.layout.display == "none"
    clicked(panel, *CLICKED)
    before = bytes(heat.image.value)
    heat.measure.value = "max_ulp"
    assert bytes(heat.image.value) != before and heat.image.layout.display == ""
