"""What fixes a resume, in words."""

from dataclasses import replace

import pytest

from dora_repro.explain.explanation import Cause, Explanation, Named
from dora_repro.explain.trials.trial import Outcome, TrialResult
from dora_repro.show.fixes import LATE, code_lines, fix_block, label, lines_verdict, sentences
from dora_repro.sides.places import Place
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


def test_a_statement_stays_where_no_line_needs_the_dict_that_it_would_name():
    saving = Place(
        "R.save", where="in place of run.py:3", instead="run.py:3", head=["state = {}"], tail=["save(state)"]
    )
    loading = Place("R.load", where="at its end (after run.py:8)", instead="run.py:6-7", head=["state = read()"])
    own = Cause("n", ("n",), "memory", "", save=('more["n"] = self.n',), load=('self.n = more["n"]',), beside="path")
    block = fix_block(Explanation((own,), places=(saving, loading)))
    assert "  in save():" in block and "  in load(), at its end (after run.py:8):" in block
    assert not any("in place of" in line or "state = " in line for line in block)
    named = Cause("n", ("n",), "memory", "", save=('state["n"] = self.n',), load=('self.n = state["n"]',))
    block = fix_block(Explanation((named,), places=(saving, loading)))
    assert block[1:5] == [
        "  in save(), in place of run.py:3:",
        "      state = {}",
        '      state["n"] = self.n',
        "      save(state)",
    ]
    assert block[5:7] == ["  in load(), in place of run.py:6-7:", "      state = read()"]


def test_lines_for_a_script_go_by_the_lines_that_save_and_load_its_checkpoint():
    known, unknown = (replace(FOUND, script=calls) for calls in (("train.py:9, in keep()", "train.py:4"), ("", "")))
    heads = [line for line in fix_block(known) if line.endswith(":")]
    assert heads == [
        "Fix:",
        "  where the checkpoint is saved (train.py:9, in keep()):",
        "  where the checkpoint is loaded (train.py:4):",
    ]
    assert fix_block(unknown)[1] == "  where the checkpoint is saved:"
    ran = fix_block(replace(known, ran_before=("train.py:6, in main()",)))
    assert [line for line in ran if line.endswith(":")] == [
        *heads[:2],
        "  where the checkpoint is loaded (train.py:4; just before train.py:6, in main()):",
    ]
    ran = fix_block(replace(unknown, ran_before=("a.py:1",)))
    assert "  where the checkpoint is loaded (just before a.py:1):" in ran
    assert [label(method, known) for method in ("save", "load", LATE)] == ["save", "load", LATE]
    assert [label(method, FOUND) for method in ("save", "load", LATE)] == ["save()", "load()", LATE]
    load = tuple(replace(cause, save=()) for cause in FOUND.causes)
    assert not any("saved" in line for line in fix_block(replace(known, causes=load)))


def test_a_dict_that_a_script_writes_without_a_name_is_given_one_around_the_lines_that_fill_it():
    named = Named("blob", "`torch.save({…}, p)` (train.py:9)", ("blob = {}",), ("torch.save(blob, p)",))
    save = ("import random", 'blob["r"] = random.getstate()')
    causes = (Cause("r", ("r",), save=save, load=('random.setstate(c["r"])',)),)
    found = Explanation(causes, script=("train.py:9", "train.py:4"), named=named)
    assert fix_block(found)[1:6] == [
        "  where the checkpoint is saved, in place of `torch.save({…}, p)` (train.py:9):",
        "      import random",
        "      blob = {}",
        '      blob["r"] = random.getstate()',
        "      torch.save(blob, p)",
    ]
    beside = replace(found, causes=(replace(causes[0], save=('torch.save(g, f"{p}.more")',)),))
    assert fix_block(beside)[1:3] == [
        "  where the checkpoint is saved (train.py:9):",
        '      torch.save(g, f"{p}.more")',
    ]


def test_lines_of_load_belong_to_the_branch_that_reads_where_they_ran_right_after_it():
    causes = (Cause("r", ("r",), load=('random.setstate(c["r"])',)),)
    found = Explanation(causes, script=("train.py:9", "train.py:4"), ran_before=("train.py:6",), in_block=True)
    assert fix_block(found)[1] == (
        "  where the checkpoint is loaded (train.py:4; at the end of the `if` there, just before train.py:6):"
    )
