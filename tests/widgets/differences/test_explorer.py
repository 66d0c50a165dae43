"""The difference explorer without a browser: set a control, read words and data."""

import io
import math
import re

import numpy as np
import pytest
import torch
from ipywidgets.widgets.widget import _instances
from PIL import Image

from dora_repro import BadInput, Snapshot
from dora_repro.comparison import stepwise
from dora_repro.comparison.stepwise import Sides
from dora_repro.dora.layers import dora_layer
from dora_repro.widgets.differences import figures, text
from dora_repro.widgets.differences.explorer import VIEWS, DifferenceExplorer, worst_html
from tests.dora.layers import LAYER, leaves_of_layer, two_runs, whole_layers
from tests.show import made
from tests.show.test_figures import drift


@pytest.fixture
def explorer():
    found = DifferenceExplorer(*two_runs(), sides=("uninterrupted", "resumed"))
    yield found
    found.close()


def size(explorer) -> tuple[int, int]:
    return Image.open(io.BytesIO(explorer.picture.value)).size


# --- words


def test_minus_zero_is_a_difference_in_bytes_alone():
    one = {"a": torch.tensor([0.0, math.nan])}
    sides = Sides(one, {"a": torch.tensor([-0.0, math.nan])})
    assert text.leaf_sentence(sides, None, "a") == (
        "a (f32[2]): 1/2 elements (50 %) differ, in bytes alone (as numbers they are equal: −0 and +0); "
        "the worst is at [0]."
    )


def test_each_kind_of_difference_has_its_words():
    one = {
        "same": 1,
        "gone": 2,
        "dtype": torch.zeros(2),
        "shape": torch.zeros(2),
        "text": "complete",
        "one": torch.ones(()),
    }
    other = {
        "same": 1,
        "new": 3,
        "dtype": torch.zeros(2).half(),
        "shape": torch.zeros(3),
        "text": "dora",
        "one": torch.zeros(()),
    }
    sides = Sides(one, other, ("A", "B"))
    said = {leaf: text.leaf_sentence(sides, None, leaf) for leaf in sides.leaves(None)}
    assert said == {
        "same": "same (1) is equal by bytes.",
        "gone": "gone (2) is there in A and missing in B.",
        "dtype": "dtype has another dtype: f32[2] in A, f16[2] in B.",
        "shape": "shape has another shape: f32[2] in A, f32[3] in B.",
        "text": "text differs: 'complete' in A, 'dora' in B.",
        "one": "one (f32[]): 1/1 elements (100 %) differ, max diff = 1.00e+00, max 1065353216 ULP.",
        "new": "new (3) is there in B and missing in A.",
    }
    assert text.label(sides, None, "gone", "gone") == "≠ gone  2  missing"
    assert text.label(sides, None, "same", "same") == "= same  1"
    assert [line.split() for line in text.parts_text(sides).splitlines()[2:4]] == [
        ["same", "0", "1"],
        ["gone", "1", "1"],
    ]


# --- pictures


def test_the_difference_is_grey_where_bytes_are_equal():
    one = torch.randn(6, 6)
    other = one.clone()
    other[2, 3] += 1e-5
    figure = figures.both_and_difference(one, other, "leaf", ("A", "B"))
    first, second, third = figure.axes[:3]
    assert [axes.get_title(loc="left") for axes in (first, second, third)] == ["A", "B", "difference"]
    shown = third.images[0].get_array()
    assert shown.count() == 1 and not np.ma.getmaskarray(shown)[2, 3]
    np.testing.assert_allclose(first.images[0].get_array(), one)
    equal = figures.both_and_difference(one, one)
    assert (
        equal.axes[2].get_title(loc="left") == "difference: none" and equal.axes[2].images[0].get_array().count() == 0
    )


def test_a_tall_matrix_lies_down():
    figure = figures.both_and_difference(torch.zeros(30, 2), torch.ones(30, 2))
    assert figure.axes[0].images[0].get_array().shape == (2, 30)
    assert figure.axes[2].get_xlabel() == "row"


def test_a_histogram_counts_the_elements_of_the_leaf():
    one = torch.ones(8)
    other = one.clone()
    other[:3] = torch.nextafter(one[:3], torch.full((3,), 2.0))
    figure = figures.leaf_ulp_histogram(one, other, "leaf")
    assert [bar.get_height() for bar in figure.axes[0].patches] == [5, 3]
    with pytest.raises(BadInput, match="int64 is not a floating-point dtype"):
        figures.leaf_ulp_histogram(torch.ones(2).long(), torch.ones(2).long())


def test_without_directions_the_picture_is_of_the_low_rank_update():
    one, other = (leaves_of_layer(layer) for layer in whole_layers())
    del one[f"{LAYER}.D"], other[f"{LAYER}.D"]
    alone = dora_layer(Sides(one, other), None, f"{LAYER}.m")
    assert "low-rank update: absolute difference" in figures.dora_rows(alone).axes[3].get_title(loc="left")


def test_a_row_picture_shows_both_lengths_and_leaves_equal_rows_out():
    one, other = whole_layers()
    figure = figures.dora_rows(
        dora_layer(Sides(leaves_of_layer(one), leaves_of_layer(other)), None, f"{LAYER}.m"), ("A", "B")
    )
    lengths, turned, off, _ = figure.axes[:4]
    assert [line.get_label() for line in lengths.lines] == ["A", "B"]
    np.testing.assert_allclose(lengths.lines[1].get_ydata(), other.m.detach())
    assert np.isfinite(turned.lines[0].get_ydata()[3])
    assert np.flatnonzero(np.isfinite(off.lines[1].get_ydata())).tolist() == [1]


# --- the widget


def test_it_opens_at_the_first_difference_and_has_a_short_repr(explorer):
    assert repr(explorer) == "DifferenceExplorer(3 leaves, 4 steps)"
    assert (explorer.step.value, explorer.leaf.value) == (2, f"{LAYER}.m")
    assert (
        "Step 2: 1 of 3 leaves differ by bytes.\nFirst difference: step 2, m.\nm (f32[5]): 1/5 elements (20 %) differ"
        in explorer.finding.value
    )
    assert [label[0] for label, _ in explorer.leaf.options] == ["≠", "=", "="]
    assert size(explorer)[0] == 960


def test_a_moved_slider_changes_words_marks_and_picture(explorer):
    before = explorer.picture.value
    explorer.step.value = 3
    assert "Step 3: 2 of 3 leaves differ" in explorer.finding.value
    assert [label[0] for label, _ in explorer.leaf.options] == ["≠", "≠", "="]
    assert explorer.leaf.value == f"{LAYER}.m" and explorer.picture.value != before
    explorer.step.value = 0
    assert "Step 0: all 3 leaves are equal by bytes." in explorer.finding.value


def test_every_view_of_every_leaf_can_be_chosen(explorer):
    explorer.step.value = 3
    shown = set()
    for _, leaf in explorer.leaf.options:
        explorer.leaf.value = leaf
        for view in VIEWS:
            explorer.view.value = view
            shown.add((explorer.told.value, explorer.picture.value))
            assert explorer.told.value or explorer.picture.value
            assert explorer.trouble.value == ""
            assert (explorer.picture.layout.display == "none") == (view == "worst elements")
    # One and the same layer for all three leaves; an equal histogram looks like another only where sizes are one.
    assert len(shown) >= 3 * 3 + 1


def test_worst_elements_are_a_table(explorer):
    explorer.view.value = "worst elements"
    assert "The 1 worst element of model/block.0.out_proj.m" in explorer.told.value
    assert re.findall(r"<th scope=\"col\">(.*?)</th>", explorer.told.value) == [
        "index",
        "uninterrupted",
        "resumed",
        "difference",
        "ULP",
    ]
    assert "<td>[3]</td>" in explorer.told.value
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
    assert "No leaf of 3 has &#x27;&lt;nowhere&gt;&#x27; in its name." in explorer.finding.value
    assert explorer.picture.layout.display == "none" and explorer.told.value == ""
    explorer.search.value = ""
    assert len(explorer.leaf.options) == 3 and explorer.picture.value


def test_what_was_drawn_is_not_drawn_again(explorer, monkeypatch):
    explorer.step.value = 3
    monkeypatch.setattr("dora_repro.widgets.differences.explorer.made", lambda *_, **__: pytest.fail("drawn again"))
    monkeypatch.setattr(stepwise, "compare_leaf", lambda *_: pytest.fail("compared again"))
    explorer.step.value = 2
    explorer.step.value = 3


def test_what_a_view_raises_is_shown_and_raised(explorer, monkeypatch):
    def broken(*_):
        raise RuntimeError("<no> picture")

    monkeypatch.setattr(figures, "both_and_difference", broken)
    with pytest.raises(RuntimeError, match="<no> picture"):
        explorer.step.value = 3
    assert "RuntimeError: &lt;no&gt; picture" in explorer.trouble.value


def test_without_steps_there_is_no_slider_and_other_values_are_text():
    one = {"text": "complete", "number": torch.tensor(1.5), "rng": torch.arange(6, dtype=torch.uint8)}
    explorer = DifferenceExplorer(one, {**one, "text": "dora", "number": torch.tensor(2.5)}, names=str.upper)
    assert repr(explorer) == "DifferenceExplorer(3 leaves)" and explorer.step.layout.display == "none"
    assert "2 of 3 leaves differ by bytes.\nFirst difference: TEXT." in explorer.finding.value
    assert "expected: &#x27;complete&#x27;\nactual: &#x27;dora&#x27;" in explorer.told.value
    explorer.leaf.value = "number"
    assert "As text, since this is one number.\nexpected: 1.5\nactual: 2.5" in explorer.told.value
    explorer.leaf.value = "rng"
    assert explorer.picture.value
    explorer.view.value = "ULP histogram"
    assert "numbers of torch.uint8 have no ULP" in explorer.told.value
    explorer.close()


def test_a_report_with_values_is_opened_by_its_steps():
    explorer = DifferenceExplorer.of(made.different(drift=drift(3, 5)))
    assert repr(explorer) == "DifferenceExplorer(3 leaves, 5 steps)"
    explorer.view.value = "worst elements"
    assert '<th scope="col">uninterrupted</th>' in explorer.told.value
    explorer.close()
    with pytest.raises(BadInput, match="ask the check for them, as in values='model/\\*'"):
        DifferenceExplorer.of(made.report())


def test_files_and_snapshots_are_read(tmp_path):
    one, other = two_runs()
    torch.save(one[3], tmp_path / "one.pt")
    Snapshot.capture({"model": whole_layers()[0]}).write(tmp_path / "snapshot.pt")
    torch.save(other[3], tmp_path / "other.pt")
    explorer = DifferenceExplorer(str(tmp_path / "one.pt"), tmp_path / "other.pt")
    assert "2 of 3 leaves differ" in explorer.finding.value
    explorer.close()
    by_step = DifferenceExplorer({1: tmp_path / "one.pt", 2: one[2]}, {1: tmp_path / "other.pt", 2: other[2]})
    assert "Step 1: 2 of 3 leaves differ" in by_step.finding.value
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
