"""What fixes a resume, in words."""

from dataclasses import replace

import pytest

from dora_repro.explain.explanation import Explanation
from dora_repro.explain.trials.trial import Outcome, TrialResult
from dora_repro.show.fixes import code_lines, fix_block, lines_verdict, sentences
from dora_repro.trace import Divergence
from tests.show.made import explained

FOUND = explained().explanation


@pytest.mark.parametrize(
    "outcome, said",
    [
        (None, ""),
        (TrialResult(Outcome.UNRESOLVED), ""),
        (TrialResult(Outcome.SAME), "tried: the resumed run then repeats the reference"),
        (
            TrialResult(Outcome.DIFFERENT, Divergence(4, "update", "w")),
            "tried: not enough, step 4 still differs in phase update",
        ),
        (TrialResult(Outcome.DIFFERENT), "tried: not enough, the state at the end still differs"),
        (
            TrialResult(Outcome.UNRESOLVED, error="KeyError: 'model'\n  more"),
            "tried: not enough, they raise KeyError: 'model'",
        ),
    ],
)
def test_what_came_of_lines_in_words(outcome, said):
    assert lines_verdict(replace(FOUND, lines_tried=outcome)) == said


def test_the_block_has_all_lines_generators_last_and_the_sentences_and_what_came_of_trying_them():
    assert fix_block(replace(FOUND, lines_tried=TrialResult(Outcome.SAME))) == [
        "Fix:",
        "  in save():",
        '      state["optimizer"] = 1',
        '      state["rng"] = 1',
        "  in load():",
        '      load(state["optimizer"])',
        '      set(state["rng"])',
        "  Restore generators last.",
        "  Tried: the resumed run then repeats the reference.",
    ]


def test_without_advice_there_is_no_block():
    assert fix_block(Explanation()) == [] == code_lines(Explanation()) == sentences(Explanation())


def test_a_line_or_sentence_that_several_causes_need_is_given_once():
    twice = replace(FOUND, causes=(*FOUND.causes, *FOUND.causes))
    assert code_lines(twice) == code_lines(FOUND) and sentences(twice) == ["Restore generators last."]
