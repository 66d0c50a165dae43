"""The difference explorer without a browser: set a control, read words and data."""

import io
import re

import pytest
import torch
from ipywidgets.widgets.widget import _instances
from PIL import Image

from dora_repro import BadInput, Snapshot
from dora_repro.comparison import stepwise
from dora_repro.comparison.stepwise import Sides
from dora_repro.widgets.differences import figures
from dora_repro.widgets.differences.explorer import VIEWS, DifferenceExplorer, worst_html
from tests.dora.layers import LAYER, two_runs, whole_layers
from tests.show import made
from tests.show.test_figures import drift


@pytest.fixture
def explorer():
    found = DifferenceExplorer(*two_runs(), sides=("uninterrupted", "resumed"))
    yield found
    found.close()


def size(explorer) -> tuple[int, int]:
    return Image.open(io.BytesIO(explorer.picture.value)).size


def test_it_opens_at_the_first_difference_and_has_a_short_repr(explorer):
    assert repr(explorer) == "DifferenceExplorer(3 leaves, 4 steps)"
    assert (explorer.step.value, explorer.leaf.value) == (2, f"{LAYER}.m")
    assert (
        "Step 2: 1 of 3 leaves differs.\nFirst difference: step 2, m.\nm (f32[5]): 1/5 elements (20 %) differ"
        in explorer.summary.value
    )
    assert [label[0] for label, _ in explorer.leaf.options] == ["≠", "=", "="]
    assert size(explorer)[0] == 960


def test_a_moved_slider_changes_words_marks_and_picture(explorer):
    before = explorer.picture.value
    explorer.step.value = 3
    assert "Step 3: 2 of 3 leaves differ" in explorer.summary.value
    assert [label[0] for label, _ in explorer.leaf.options] == ["≠", "≠", "="]
    assert explorer.leaf.value == f"{LAYER}.m" and explorer.picture.value != before
    explorer.step.value = 0
    assert "Step 0: all 3 leaves are byte-identical." in explorer.summary.value


def test_every_view_of_every_leaf_can_be_chosen(explorer):
    explorer.step.value = 3
    shown = set()
    for _, leaf in explorer.leaf.options:
        explorer.leaf.value = leaf
        for view in VIEWS:
            explorer.view.value = view
            shown.add((explorer.details.value, explorer.picture.value))
            assert explorer.details.value or explorer.picture.value
            assert explorer.error.value == ""
            assert (explorer.picture.layout.display == "none") == (view == "worst elements")
    # One and the same layer for all three leaves; an equal histogram looks like another only where sizes are one.
    assert len(shown) >= 3 * 3 + 1


def test_worst_elements_are_a_table(explorer):
    explorer.view.value = "worst elements"
    assert "The 1 worst element of model/block.0.out_proj.m" in explorer.details.value
    assert re.findall(r"<th scope=\"col\">(.*?)</th>", explorer.details.value) == [
        "index",
        "uninterrupted",
        "resumed",
        "difference",
        "ULP",
    ]
    assert "<td>[3]</td>" in explorer.details.value
    assert "No element of" in worst_html(Sides(*two_runs()), 0, f"{LAYER}.m")


def test_the_order_of_leaves_can_be_chosen(explorer):
    explorer.step.value = 3
    found = {}
    for order in stepwise.ORDERS.values():
        explorer.order.value = order
        found[order] = [leaf.rpartition(".")[2] for _, leaf in explorer.leaf.options]
    assert found["max_abs"] == ["delta_D_A", "m", "delta_D_B"]
    assert found["first"] == found["given"] == ["m", "delta_D_A", "delta_D_B"]


def test_a_search_filters_and_nothing_found_is_said(explorer):
    explorer.search.value = "delta_d"
    assert len(explorer.leaf.options) == 2 and explorer.leaf.value == f"{LAYER}.delta_D_A"
    explorer.search.value = "<nowhere>"
    assert explorer.leaf.options == () and explorer.leaf.value is None
    assert "&#x27;&lt;nowhere&gt;&#x27; is in the name of no leaf: there are 3 leaves." in explorer.summary.value
    assert explorer.picture.layout.display == "none" and explorer.details.value == ""
    explorer.search.value = ""
    assert len(explorer.leaf.options) == 3 and explorer.picture.value


def test_what_was_drawn_is_not_drawn_again(explorer, monkeypatch):
    explorer.step.value = 3
    monkeypatch.setattr("dora_repro.widgets.differences.explorer.render", lambda *_, **__: pytest.fail("drawn again"))
    monkeypatch.setattr(stepwise, "compare_leaf", lambda *_: pytest.fail("compared again"))
    explorer.step.value = 2
    explorer.step.value = 3


def test_what_a_view_raises_is_shown_and_raised(explorer, monkeypatch):
    def broken(*_):
        raise RuntimeError("<no> picture")

    monkeypatch.setattr(figures, "both_and_difference", broken)
    with pytest.raises(RuntimeError, match="<no> picture"):
        explorer.step.value = 3
    assert "RuntimeError: &lt;no&gt; picture" in explorer.error.value


def test_without_steps_there_is_no_slider_and_other_values_are_text():
    one = {"text": "complete", "number": torch.tensor(1.5), "rng": torch.arange(6, dtype=torch.uint8)}
    explorer = DifferenceExplorer(one, {**one, "text": "dora", "number": torch.tensor(2.5)}, names=str.upper)
    assert repr(explorer) == "DifferenceExplorer(3 leaves)" and explorer.step.layout.display == "none"
    assert "2 of 3 leaves differ.\nFirst difference: TEXT." in explorer.summary.value
    assert "expected: &#x27;complete&#x27;\nactual: &#x27;dora&#x27;" in explorer.details.value
    explorer.leaf.value = "number"
    assert "As text: this is a single number.\nexpected: 1.5\nactual: 2.5" in explorer.details.value
    explorer.leaf.value = "rng"
    assert explorer.picture.value
    explorer.view.value = "ULP histogram"
    assert "numbers of torch.uint8 have no ULP" in explorer.details.value
    explorer.close()


def test_a_report_with_values_is_opened_by_its_steps():
    explorer = DifferenceExplorer.of(made.different(drift=drift(3, 5)))
    assert repr(explorer) == "DifferenceExplorer(3 leaves, 5 steps)"
    explorer.view.value = "worst elements"
    assert '<th scope="col">uninterrupted</th>' in explorer.details.value
    explorer.close()
    with pytest.raises(BadInput, match="give the check values='model/\\*', for instance"):
        DifferenceExplorer.of(made.report())


def test_files_and_snapshots_are_read(tmp_path):
    one, other = two_runs()
    torch.save(one[3], tmp_path / "one.pt")
    Snapshot.capture({"model": whole_layers()[0]}).write(tmp_path / "snapshot.pt")
    torch.save(other[3], tmp_path / "other.pt")
    explorer = DifferenceExplorer(str(tmp_path / "one.pt"), tmp_path / "other.pt")
    assert "2 of 3 leaves differ" in explorer.summary.value
    explorer.close()
    by_step = DifferenceExplorer({1: tmp_path / "one.pt", 2: one[2]}, {1: tmp_path / "other.pt", 2: other[2]})
    assert "Step 1: 2 of 3 leaves differ" in by_step.summary.value
    by_step.close()
    same = Sides(tmp_path / "snapshot.pt", tmp_path / "snapshot.pt")
    assert same.first is None and any(leaf.endswith("D") for leaf in same.leaves(None))


def test_bad_input_is_refused_before_there_is_a_widget(tmp_path):
    before = set(_instances)
    one, other = two_runs()
    for given, said in [
        (({"a": 1}, {"b": 1}), "no leaf in common (they begin with 'a' and 'b')"),
        ((tmp_path / "gone.pt", tmp_path / "gone.pt"), "gone.pt"),
        ((one, other[0]), "one side has steps and the other has none"),
        (({1: one[1]}, {2: one[1]}), "no step in common (steps 1 and 2)"),
        ((3, {"a": 1}), "cannot compare a int: give a snapshot"),
        (({}, {}), "no leaf in common"),
    ]:
        with pytest.raises(BadInput, match=re.escape(said)):
            DifferenceExplorer(*given)
    assert set(_instances) == before


def test_closing_leaves_no_widget_open():
    before = set(_instances)
    explorer = DifferenceExplorer(*two_runs())
    explorer.view.value = "DoRA layer"
    assert set(_instances) != before
    explorer.close()
    assert set(_instances) == before
