"""Paths and globs: what a glob selects, and that the pattern of several paths is a glob that matches each."""

import pytest

from dora_repro.state.paths import ends, matching, pattern, select

PATTERNS = {
    "optimizer/*/exp_avg": ("optimizer/0.weight/exp_avg", "optimizer/3.bias/exp_avg"),
    "model/*.weight": ("model/0.weight", "model/block.1.weight"),
    "ema/module/*.weight": ("ema/module/0.weight", "ema/module/2.weight"),
    "twins/*.weight": ("twins/0/1.weight", "twins/1/1.weight"),
    "train/optimizer/*/exp_avg": ("train/optimizer/0.weight/exp_avg", "train/optimizer/3.bias/exp_avg"),
    "train/*/exp_avg": ("train/first/0.weight/exp_avg", "train/second/0.weight/exp_avg"),
    "run/losses/*": ("run/losses/0", "run/losses/17"),
    "train/model/*weight": ("train/model/weight", "train/model/head.weight"),
    "*.weight": ("0.weight", "1.weight"),
    "*": ("0", "1"),
    "masters/*": ("masters/0", "masters/1"),
    "steps": ("steps",),
    "model/0.weight": ("model/0.weight", "model/0.weight"),
}


@pytest.mark.parametrize(("glob", "paths"), PATTERNS.items(), ids=PATTERNS)
def test_paths_of_a_kind_are_told_as_a_glob_that_matches_each(glob, paths):
    assert len({ends(path) for path in paths}) == 1
    assert pattern(paths) == glob
    assert select([glob], paths) == list(dict.fromkeys(paths))


def test_other_names_are_other_kinds():
    paths = ("model/0.weight", "model/0.bias", "ema/0.weight", "optimizer/group.0/params.3", "optimizer/group.0/lr")
    assert len({ends(path) for path in paths}) == len(paths)
    assert ends("optimizer/group.0/params.3") != ends("optimizer/group.0/params.4")


def test_a_glob_selects_across_slashes_and_by_case():
    paths = ("model/0.weight", "optimizer/0.weight/exp_avg", "Model/0.weight")
    assert matching("*weight*", paths) == list(paths)
    assert matching("model/*", paths) == ["model/0.weight"]
    assert matching("optimizer/*avg", paths) == ["optimizer/0.weight/exp_avg"]
    assert matching("weight", paths) == []


def test_a_path_with_brackets_or_stars_in_its_name_selects_itself_alone():
    paths = ("outputs/loss[2]", "outputs/loss2", "config/*", "config/lr")
    assert matching("outputs/loss[2]", paths) == ["outputs/loss[2]"]
    assert matching("config/*", paths) == ["config/*"]
    assert matching("outputs/loss[2]", paths[1:]) == ["outputs/loss2"]  # no such path: a glob as any other


def test_several_globs_select_each_path_once_in_the_order_of_the_paths():
    assert select(["b*", "*"], ("a", "b", "a")) == ["a", "b"]
    assert select((glob for glob in ("c", "a")), iter("abc")) == ["a", "c"]
    assert select([], ("a",)) == []
