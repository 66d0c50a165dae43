"""The style of figures: they lie on any page, in the kit's style alone."""

import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from dora_repro.show import style

PAGES = {"white": "#ffffff", "a dark cell": "#111111", "a dark tab": "#212121"}


def plotted() -> Figure:
    figure, axes = plt.subplots(figsize=(2, 2))
    axes.plot([0, 1], [0, 1])
    axes.set_xlabel("x")
    return figure


def pixels(figure: Figure) -> np.ndarray:
    """A figure as it is saved.  # (height, width, RGBA)"""
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return np.asarray(Image.open(file).convert("RGBA"))


def luminance(colour: str) -> float:
    """Relative luminance as in WCAG 2."""
    channels = np.array(to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_a_figure_has_no_background_and_nothing_black_or_white():
    seen = pixels(style.styled(plotted)())
    assert seen[0, 0, 3] == 0 and (seen[..., 3] == 0).mean() > 0.5
    drawn = seen[seen[..., 3] == 255][:, :3]
    assert len(drawn) and drawn.max(axis=1).min() > 60 and drawn.min(axis=1).max() < 200


def test_the_background_of_a_plain_figure_is_noticed():
    figure = plotted()
    plt.close(figure)
    seen = pixels(figure)
    assert seen[0, 0].tolist() == [255, 255, 255, 255]
    assert seen[..., :3].max(axis=2).min() < 60


@pytest.mark.parametrize("page", PAGES)
def test_text_and_lines_read_on_either_page(page):
    assert contrast(style.INK, PAGES[page]) >= 3.9
    assert min(contrast(colour, PAGES[page]) for colour in style.COLOURS) >= 2.2


def test_ticks_that_are_made_later_have_the_style_as_well():
    figure = style.styled(plotted)()
    (axes,) = figure.axes
    axes.set_xlim(0, 1000)
    figure.canvas.draw()
    assert {label.get_color() for label in axes.get_xticklabels()} == {style.INK}
    assert {tick.tick1line.get_color() for tick in axes.xaxis.get_major_ticks()} == {style.INK}


def test_the_users_own_style_is_put_back():
    with plt.rc_context({"figure.facecolor": "red"}):
        assert style.styled(plotted)().get_facecolor()[3] == 0
        assert plt.rcParams["figure.facecolor"] == "red"
    assert plt.get_fignums() == []


def test_values_of_both_signs_have_a_scale_about_zero_and_others_from_least_to_most():
    signed = style.scale_of(np.array([[-3.0, np.nan]]), np.array([[1.0, np.inf]]))
    assert (signed.low, signed.high) == (-3.0, 3.0) and signed.colours == style.SIGNED
    positive = style.scale_of(np.array([1.0]), np.array([2.0]))
    assert (positive.low, positive.high) == (1.0, 2.0) and positive.colours == style.UNSIGNED
    assert style.scale_of(np.array([5.0])).high == 10.0
    assert style.scale_of(np.array([np.nan])).high == 1.0
