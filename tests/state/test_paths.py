"""Paths told as one pattern: what is a kind, and that a pattern is a glob that matches what it stands for."""

from fnmatch import fnmatchcase

import pytest

from dora_repro.state.paths import ends, pattern

PATTERNS = {
    "optimizer/*/exp_avg": ("optimizer/0.weight/exp_avg", "optimizer/3.bias/exp_avg"),
    "model/*.weight": ("model/0.weight", "model/block.1.weight"),
    "ema/module/*.weight": ("ema/module/0.weight", "ema/module/2.weight"),
    "twins/*.weight": ("twins/0/1.weight", "twins/1/1.weight"),
    "masters/*": ("masters/0", "masters/1"),
    "steps": ("steps",),
    "model/0.weight": ("model/0.weight", "model/0.weight"),
}


@pytest.mark.parametrize(("glob", "paths"), PATTERNS.items(), ids=PATTERNS)
def test_paths_of_a_kind_are_told_as_a_glob_that_matches_each(glob, paths):
    assert len({ends(path) for path in paths}) == 1
    assert pattern(paths) == glob
    assert all(fnmatchcase(path, glob) for path in paths)


def test_other_names_are_other_kinds():
    paths = ("model/0.weight", "model/0.bias", "ema/0.weight", "optimizer/group.0/params.3", "optimizer/group.0/lr")
    assert len({ends(path) for path in paths}) == len(paths)
    assert ends("optimizer/group.0/params.3") != ends("optimizer/group.0/params.4")
