"""What one ledger has too much, in words; every pair of equal ledgers has a twin with a planted draw."""

import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

from dora_repro.explain.logs.draws import in_words, since_set, unmatched, what_drew
from dora_repro.recording.drawing import Draw, DrawLog
from tests import runs


def ledger(function, *args) -> list[Draw]:
    runs.seed_everything(0)
    with DrawLog() as log:
        log.mark("load")
        function(log, *args)
    return log.draws


def said(expected, actual) -> list[str]:
    return [str(draw) for draw in unmatched(expected, actual)]


def line_of(text: str) -> str:
    """`(test_draws.py:41: text)` of the first line that begins so."""
    with open(__file__, encoding="utf-8") as file:
        number = next(number for number, line in enumerate(file, 1) if line.strip().startswith(text))
    return f"(test_draws.py:{number}: {text})"


def epochs(log, count, workers=0, persistent=False, resumed=False):
    """Some epochs of training; a resumed run makes a loader of its own after the first."""

    def made():
        data = TensorDataset(torch.ones(4, 2))
        return DataLoader(data, batch_size=2, num_workers=workers, persistent_workers=persistent)

    loader = made()
    for epoch in range(count):
        log.mark(f"epoch {epoch}")
        if resumed and epoch == 1:
            loader = made()
        for (inputs,) in loader:
            nn.functional.dropout(inputs, 0.5)


# --- the loader's base seed


def test_the_same_draws_are_no_difference():
    assert said(ledger(epochs, 2), ledger(epochs, 2)) == []
    assert len(ledger(epochs, 2)) == 6, "and there was something to compare"


def test_one_epoch_more_is_a_base_seed_and_masks_once_more():
    assert said(ledger(epochs, 1), ledger(epochs, 2)) == [
        f"the loader's base seed, drawn once more in the resumed run {line_of('for (inputs,) in loader:')}",
        f"dropout, drawn 2 times more in the resumed run {line_of('nn.functional.dropout(inputs, 0.5)')}",
    ]
    assert said(ledger(epochs, 2), ledger(epochs, 1))[0].startswith("the loader's base seed, drawn once less in the ")


@pytest.mark.parametrize("persistent", [True, False])
def test_a_resumed_run_starts_its_persistent_workers_once_more_and_so_draws_a_base_seed_more(persistent):
    reference = ledger(epochs, 2, 1, persistent)
    resumed = ledger(epochs, 2, 1, persistent, True)
    expected = [f"the loader's base seed, drawn once more in the resumed run {line_of('for (inputs,) in loader:')}"]
    assert said(reference, resumed) == (expected if persistent else [])


# --- a draw after the generator was set


def loading(log, split_after):
    state = torch.get_rng_state()
    torch.rand(20)
    if not split_after:
        random_split(range(8), [6, 2])
    torch.set_rng_state(state)
    if split_after:
        random_split(range(8), [5, 3])


def test_a_split_after_the_generator_was_set_is_named():
    before = ledger(loading, False)
    assert said(before, ledger(loading, False)) == []
    extra, late = said(before, ledger(loading, True))
    assert extra == f"random_split, not drawn in the resumed run {line_of('random_split(range(8), [6, 2])')}"
    assert late == f"random_split drew 7 after the generator was set {line_of('random_split(range(8), [5, 3])')}"


def test_since_set_names_the_draws_that_a_run_is_ahead_by():
    entries = ledger(loading, True)
    (split,) = since_set(entries, "rng/torch.cpu", 7)
    assert in_words(split) == f"random_split: 7 draws {line_of('random_split(range(8), [5, 3])')}"
    assert since_set(entries, "rng/torch.cpu", 27) == (), "not those of before it was set"
    assert since_set(entries, "rng/torch.cpu", 5) == (), "not a part of what was drawn at once"
    assert since_set(entries, "rng/numpy", 7) == ()
    assert since_set(entries, "rng/torch.cpu", 0) == ()
    assert since_set([], "rng/torch.cpu", 7) == ()


def test_since_set_walks_back_over_other_generators_as_far_as_the_number_goes():
    def load(log):
        torch.rand(3)
        list(DataLoader(TensorDataset(torch.ones(2, 1))))
        np.random.rand()
        torch.rand(4)

    entries = ledger(load)
    assert [what_drew(draw) for draw in since_set(entries, "rng/torch.cpu", 6)] == [
        "the loader's base seed",
        "uniform numbers",
    ]
    assert [draw.draws for draw in since_set(entries, "rng/torch.cpu", 9)] == [3, 2, 4]
    assert [draw.draws for draw in since_set(entries, "rng/torch.cpu", 4)] == [4]


# --- what else differs


def splitting(log, late):
    """As the study does: the split before the weights are made, or after."""
    for now in (not late, late):
        if now:
            random_split(range(8), [7, 1])
        else:
            nn.Linear(2, 1)


def test_a_draw_that_has_moved_is_told_once():
    assert said(ledger(splitting, True), ledger(splitting, True)) == []
    (moved,) = said(ledger(splitting, False), ledger(splitting, True))
    assert (
        moved == f"random_split, drawn at another place in the resumed run {line_of('random_split(range(8), [7, 1])')}"
    )


def test_a_draw_more_after_the_generator_was_set_says_both():
    def load(log, skip):
        loader = DataLoader(TensorDataset(torch.ones(2, 1)))
        torch.manual_seed(8)
        for _ in range(1 + skip):
            list(loader)

    assert said(ledger(load, 0), ledger(load, 1)) == [
        f"the loader's base seed, drawn once more in the resumed run, after the generator was set "
        f"{line_of('list(loader)')}"
    ]


def test_a_generator_that_was_seeded_inside_of_a_step_is_named():
    def step(log, seeded):
        torch.rand(1)
        if seeded:
            torch.manual_seed(7)
        torch.rand(1)

    assert said(ledger(step, True), ledger(step, True)) == []
    assert said(ledger(step, False), ledger(step, True)) == [
        f"torch's generator was set in the resumed run only {line_of('torch.manual_seed(7)')}"
    ]
    assert said(ledger(step, True), ledger(step, False)) == [
        f"torch's generator was set in the reference only {line_of('torch.manual_seed(7)')}"
    ]


def test_another_number_of_draws_of_the_same_call_is_told_as_one_difference():
    def step(log, size):
        nn.functional.dropout(torch.ones(size), 0.5)

    assert said(ledger(step, 16), ledger(step, 32)) == [
        f"dropout drew 64 instead of 32 {line_of('nn.functional.dropout(torch.ones(size), 0.5)')}"
    ]


def test_draws_of_numpy_and_python_are_named_as_well():
    def step(log, augment):
        if augment:
            random.shuffle([1, 2, 3])
            np.random.shuffle([1, 2, 3])
            number = random.random()
            return number

    assert said(ledger(step, False), ledger(step, False)) == []
    assert said(ledger(step, False), ledger(step, True)) == [
        f"Python's shuffle, drawn in the resumed run only {line_of('random.shuffle([1, 2, 3])')}",
        f"numpy's random, drawn in the resumed run only {line_of('np.random.shuffle([1, 2, 3])')}",
        f"Python's random, drawn in the resumed run only {line_of('number = random.random()')}",
    ]


@pytest.mark.parametrize(
    ("function", "operator", "words"),
    [
        ("torch.utils.data.dataloader._BaseDataLoaderIter.__init__", "aten.random_.default", "the loader's base seed"),
        ("torch.utils.data.sampler.RandomSampler.__iter__", "aten.random_.default", "the loader's shuffle"),
        ("torch.nn.functional.dropout2d", "aten.bernoulli_.float", "dropout"),
        ("torch.nn.init._no_grad_normal_", "aten.normal_.default", "the initialisation of weights"),
        ("library.layers.Layer.reset_parameters", "aten.normal_.default", "the initialisation of weights"),
        ("library.noise.added", "aten.randn_like.default", "normal numbers"),
        ("", "aten.bernoulli_.float", "a random mask"),
        ("", "library.drawing.default", "library.drawing.default"),
        ("library.noise.added", "library.drawing.default", "added"),
        ("", "", "loader/generator"),
    ],
)
def test_what_drew_is_said_in_plain_words(function, operator, words):
    assert what_drew(Draw("loader/generator", 2, "draw", operator, function, "", 0, "", "")) == words


def test_a_place_that_is_not_known_is_left_out():
    entry = Draw("rng/torch.cuda:0", None, "draw", "aten.bernoulli_.float", "", "", 0, "", "")
    assert in_words(entry) == "a random mask: drawn"
    assert said([], [entry]) == ["a random mask, drawn in the resumed run only"]
