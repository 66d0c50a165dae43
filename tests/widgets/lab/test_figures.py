"""Figures of a lab: what is drawn is what was recorded."""

import functools

import pytest
import torch
from matplotlib.figure import Figure

from dora_repro.lab import Lab
from dora_repro.widgets.lab import figures
from tests import runs as small
from tests.show.test_figures import outside, overlapping

forgetful = functools.partial(small.Forgetful, "optimizer")


def test_the_losses_are_those_of_each_process():
    lab = Lab(forgetful, 6).play("build,step*3,save,kill,load,step*2")
    lines = {line.get_label(): line.get_xydata() for line in figures.losses(lab).axes[0].get_lines()}
    assert set(lines) >= {"uninterrupted", "interrupted", "resumed at step 3"}
    assert lines["resumed at step 3"][:, 0].tolist() == [4, 5]
    assert lines["uninterrupted"][:, 1].tolist() == [lab.reference.losses[step] for step in range(1, 6)]


def test_samples_that_differ_are_framed():
    lab = Lab(functools.partial(small.LoaderForgetful, "data"), 6).play("build,step*2,save,kill,load,step")
    panels = figures.batches(lab).axes
    framed = [axes.spines["left"].get_visible() for axes in panels]
    one, other = (process.streams.batches[3] for process in (lab.reference, lab.current))
    assert any(framed) and one != other
    same = Lab(small.Loader, 6).play("build,step*2,save,kill,load,step")
    assert not any(axes.spines["left"].get_visible() for axes in figures.batches(same).axes)


def test_a_sample_that_is_kept_negated_is_drawn_as_what_it_stands_for():
    axes = Figure().subplots()
    figures._draw_sample(axes, torch.complex(torch.zeros(2, 2), torch.eye(2)).conj().imag)
    assert axes.images[0].get_array().tolist() == [[-1, 0], [0, -1]]


@pytest.mark.parametrize("script", ["", "build,step*2", "build,step*3,save,kill,load,step*2"])
def test_no_label_lies_over_another_or_outside(script):
    lab = Lab(functools.partial(small.LoaderForgetful, "data"), 6).play(script)
    for figure in (figures.losses(lab), figures.batches(lab)):
        assert overlapping(figure) == [] and outside(figure) == []
