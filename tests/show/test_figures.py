"""Figures: what is drawn is what was measured, and no label lies over another."""

import itertools
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from dora_repro.comparison.drift import Drift
from dora_repro.show import figures
from dora_repro.trace import Divergence, Step, Trace
from tests.show import made


def trace(first: int, *losses: float) -> Trace:
    return Trace([Step(first + index, loss, (0.1,), (), {}) for index, loss in enumerate(losses)])


REPORT = made.different(
    save_at=2,
    reference=trace(1, 4.0, 3.0, 2.0, 1.0),
    resumed=trace(3, 2.0, 1.5),
    divergence=Divergence(4, "update", "w"),
)


def drift(
    leaves: int = 3, steps: int = 5, grow: float = 1e-6, name: str = "model/tower.blocks.{}.attn.out_proj.m"
) -> Drift:
    generator = torch.Generator().manual_seed(0)
    names = [name.format(index) for index in range(leaves)]
    expected = {
        step: {name: torch.randn(4, 3, generator=generator) for name in names} for step in range(10, 10 + steps)
    }
    actual = {
        step: {name: value + grow * (step - 10) for name, value in held.items()} for step, held in expected.items()
    }
    return Drift.between(expected, actual)


def overlapping(figure) -> list[tuple[str, str]]:
    """Pairs of texts whose boxes overlap, as the figure is saved, with two pixels between them at least."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in _texts(figure)]
    return [
        (one, two)
        for (one, first), (two, second) in itertools.combinations(boxes, 2)
        if min(first.x1, second.x1) - max(first.x0, second.x0) > -2
        and min(first.y1, second.y1) - max(first.y0, second.y0) > -2
    ]


def outside(figure) -> list[str]:
    """Texts that do not lie within the figure."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    boxes = [(text.get_text(), text.get_window_extent(canvas.get_renderer())) for text in _texts(figure)]
    width, height = figure.bbox.width, figure.bbox.height
    return [text for text, box in boxes if box.x0 < -1 or box.y0 < -1 or box.x1 > width + 1 or box.y1 > height + 1]


def _texts(figure) -> list[Text]:
    """All that is written: labels of ticks where these are in view, everything else where it is visible."""
    of_ticks, in_view = set(), []
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                of_ticks |= {tick.label1, tick.label2}
                in_view += [text for text in (tick.label1, tick.label2) if low <= tick.get_loc() <= high]
    others = [text for text in figure.findobj(Text) if text not in of_ticks]
    return [text for text in (*others, *in_view) if text.get_visible() and text.get_text().strip()]


HISTORIES = {"reference": {"validation_losses": [3.0, 2.0, 1.0]}, "resumed": {"validation_losses": [1.5]}}
LAYERS = [
    (f"model/clip_model.{tower}_model.encoder.layers.{block}.self_attn.out_proj", [1, 2, 3], [8.0, 8.1, 8.2])
    for _ in range(2)
    for tower in ("text", "vision")
    for block in (1, 2)
]
_WHY = made.explained().explanation
_LONG = "optimizer/clip_model.vision_model.encoder.layers.{}.self_attn.out_proj.delta_D_A/exp_avg_sq"
ONE_CAUSE = made.explained(explanation=replace(_WHY, causes=_WHY.causes[:1]))
MANY_CAUSES = made.explained(
    explanation=replace(_WHY, causes=tuple(replace(_WHY.causes[0], name=_LONG.format(n)) for n in range(6)))
)
GROWTH = {f"validation, forked after epoch {n}": [(e, 0.01 * n * e) for e in range(1, 21)] for n in (1, 5, 10)}
DRAWN = {
    "losses": lambda: figures.losses(REPORT),
    "losses, one step": lambda: figures.losses(made.report(reference=trace(1, 1.0), resumed=trace(1, 1.0))),
    "history": lambda: figures.history(made.report(histories=HISTORIES), "validation_losses"),
    "causes": lambda: figures.causes(made.explained()),
    "one cause": lambda: figures.causes(ONE_CAUSE),
    "many causes": lambda: figures.causes(MANY_CAUSES),
    "growth": lambda: figures.growth(GROWTH, {"the lab, training": [(2, 0.0), (9, 0.03)], "the lab, test": [(9, 1.1)]}),
    "map of 3": lambda: figures.drift_map(drift(3)),
    "map of 300": lambda: figures.drift_map(drift(300, 40)),
    "map of 40, 200 steps": lambda: figures.drift_map(drift(40, 200), "max_ulp"),
    "map of nothing": lambda: figures.drift_map(drift(grow=0.0)),
    "curves of 7": lambda: figures.drift_curves({f"checkpoint with part {n}": drift(grow=n * 1e-6) for n in range(7)}),
    "histogram": lambda: figures.ulp_histogram(drift()),
    "histogram, far": lambda: figures.ulp_histogram(drift(grow=10.0)),
    "norms": lambda: figures.norms(dict.fromkeys(("length of m", "size of the low-rank update"), LAYERS)),
    "matrix": lambda: figures.matrix_difference(torch.randn(64, 4), torch.randn(64, 4), "delta_D_B"),
    "equal matrix": lambda: figures.matrix_difference(torch.ones(3, 5), torch.ones(3, 5)),
    "vector": lambda: figures.matrix_difference(torch.zeros(6), torch.ones(6)),
    "negated when read": lambda: figures.matrix_difference(
        torch.ones(6, dtype=torch.complex128).conj().imag, torch.ones(6, dtype=torch.float64)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_is_closed_and_its_labels_lie_apart(name):
    figure = DRAWN[name]()
    assert plt.get_fignums() == []
    assert figure.get_size_inches()[0] == figures.WIDTH
    assert overlapping(figure) == []
    assert outside(figure) == []


def test_labels_that_do_overlap_are_noticed():
    figure = DRAWN["map of 300"]()
    axes = figure.axes[0]
    axes.set_yticks(range(300), [f"block {row}" for row in range(300)])
    assert overlapping(figure)


def test_a_label_that_lies_outside_is_noticed():
    figure = DRAWN["map of 3"]()
    figure.axes[0].set_ylabel("x" * 80)
    assert outside(figure) == ["x" * 80]


def test_the_losses_of_both_sides_and_their_difference_are_drawn():
    above, below = figures.losses(REPORT).axes
    lines = {line.get_label(): line.get_xydata().tolist() for line in above.lines}
    assert lines["uninterrupted"] == [[1, 4.0], [2, 3.0], [3, 2.0], [4, 1.0]]
    assert lines["resumed"] == [[3, 2.0], [4, 1.5]]
    assert lines["saved, loaded"][0][0] == 2.5 and lines["first difference"][0][0] == 4
    assert below.lines[0].get_xydata().tolist() == [[3, 0.0], [4, 0.5]]


def test_without_losses_there_is_nothing_to_draw():
    with pytest.raises(ValueError, match=r"no losses to draw: step\(\) returned None"):
        figures.losses(made.report(reference=Trace(), resumed=Trace()))


def test_each_part_of_a_cause_is_drawn_as_large_as_it_was_measured():
    axes = figures.causes(made.explained()).axes[0]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == [
        "nothing restored",
        "only rng/torch.cpu",
        "only optimizer/*/exp_avg",
        "all but rng/torch.cpu",
        "all but optimizer/*/exp_avg",
        "all of these",
    ]
    axes.figure.canvas.draw()
    boxes = [label.get_window_extent() for label in axes.get_xticklabels(which="both") if label.get_text()]
    boxes.sort(key=lambda box: box.x0)
    assert len(boxes) >= 2 and all(one.x1 < other.x0 for one, other in itertools.pairwise(boxes))
    ends = [bar.get_x() + bar.get_width() for bar in axes.patches]
    assert np.allclose(ends, [1.23e-4, 1e-3, 1e-3, 1e-3, 1e-3])
    assert [text.get_text().strip() for text in axes.texts] == ["identical"]
    labels = [label.get_text() for label in figures.causes(ONE_CAUSE).axes[0].get_yticklabels()]
    assert labels == ["nothing restored", "all but rng/torch.cpu", "only rng/torch.cpu"]


def test_without_a_cause_there_is_none_to_draw():
    with pytest.raises(ValueError, match="no cause"):
        figures.causes(made.different())


def test_a_loss_that_drifts_is_a_line_and_what_others_measured_are_marks():
    axes = figures.growth({"ours": [(1, 0.1), (2, 0.4)]}, {"theirs": [(2, 0.5)]}).axes[0]
    ours, theirs = axes.lines
    assert list(ours.get_ydata()) == [0.1, 0.4] and ours.get_linestyle() == "-"
    assert list(theirs.get_ydata()) == [0.5] and theirs.get_linestyle() == "None"


def test_a_history_that_was_lost_has_its_last_entries():
    (axes,) = figures.history(made.report(histories=HISTORIES), "validation_losses").axes
    assert [line.get_xydata().tolist() for line in axes.lines] == [[[1, 3.0], [2, 2.0], [3, 1.0]], [[3, 1.5]]]
    with pytest.raises(ValueError, match="no history 'loses'; recorded: validation_losses"):
        figures.history(made.report(histories=HISTORIES), "loses")


def test_a_map_holds_the_measurements_and_leaves_out_what_is_equal():
    measured = drift(3, 5)
    image = figures.drift_map(measured).axes[0].images[0].get_array()
    assert image.shape == (3, 5) and image.mask[:, 0].all() and not image.mask[:, 1:].any()
    assert np.array_equal(image.data, measured.max_abs)
    with pytest.raises(ValueError, match="measure='ulp': choose one of max_abs, max_ulp, share"):
        figures.drift_map(measured, "ulp")


def test_the_histogram_counts_every_element_once():
    measured = drift(3, 5)
    counts = figures.ulp_counts(measured, 14)
    assert sum(counts.values()) == 3 * 12
    bars = figures.ulp_histogram(measured).axes[0].patches
    assert [bar.get_height() for bar in bars] == list(counts.values())
    assert figures.ulp_counts(measured, 10) == {"0": 36}
    with pytest.raises(ValueError, match="step=99: the two runs have 10 to 14 in common"):
        figures.ulp_counts(measured, 99)


def test_a_curve_is_the_largest_difference_of_any_parameter():
    measured = drift(2, 4)
    line, none = figures.drift_curves({"one": measured, "two": drift(grow=0.0)}).axes[0].lines
    assert line.get_xdata().tolist() == [0, 1, 2, 3]
    assert np.array_equal(line.get_ydata()[1:], measured.max_abs.max(axis=0)[1:]) and np.isnan(line.get_ydata()[0])
    assert none.get_label() == "two (byte-identical)"


def test_a_matrix_is_shown_lying_down_with_its_difference():
    one, two = torch.arange(8.0).reshape(4, 2), torch.arange(8.0).reshape(4, 2) + 1
    panels = [axes for axes in figures.matrix_difference(one, two).axes if axes.images]
    assert [panel.images[0].get_array().shape for panel in panels] == [(2, 4)] * 3
    assert panels[2].images[0].get_array().tolist() == [[1.0] * 4] * 2
    with pytest.raises(ValueError, match=r"shapes \(2,\) and \(3,\): give two matrices of one shape"):
        figures.matrix_difference(torch.zeros(2), torch.zeros(3))


def test_a_users_own_style_changes_nothing():
    with plt.rc_context({"font.size": 30, "figure.dpi": 300}):
        figure = DRAWN["map of 3"]()
    assert figure.get_dpi() == 100 and overlapping(figure) == []
