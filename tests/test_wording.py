"""Counts in words."""

import pytest

from dora_repro.wording import counted, differ, plural


@pytest.mark.parametrize(
    ("count", "noun", "words"),
    [
        (0, "step", "0 steps"),
        (1, "step", "1 step"),
        (2, "leaf", "2 leaves"),
        (1, "leaf", "1 leaf"),
        (1234, "entry", "1,234 entries"),
        (3, "batch", "3 batches"),
        (2, "epoch", "2 epochs"),
        (2, "pass", "2 passes"),
        (2, "key", "2 keys"),
        (2, "resumed run", "2 resumed runs"),
    ],
)
def test_a_count_declines_its_noun(count, noun, words):
    assert counted(count, noun) == words


@pytest.mark.parametrize(
    ("count", "total", "verb"),
    [(1, 3, "differs"), (0, 1, "differs"), (1, 1, "differs"), (2, 3, "differ"), (0, 3, "differ")],
)
def test_a_verb_goes_with_its_count(count, total, verb):
    assert differ(count, total) == verb


def test_a_noun_of_several_words_declines_the_last():
    assert plural("differing leaf") == "differing leaves"
