"""Keys as components of paths: readable, escaped, and the same in every process."""

import enum
import pathlib

import torch

from dora_repro.state.keys import key_text, unescaped


class Mode(enum.Enum):
    A = 1


def test_keys_read_well_and_are_escaped():
    keys = ["lr", 1, (1, "a"), None, True, 1.5, b"x", "a/b", "a~b", frozenset({"b", "a"}), Mode.A, torch.float32]
    texts = ["lr", "1", "(1, 'a')", "None", "True", "1.5", "b'x'", "a~1b", "a~0b", "{'a', 'b'}", "Mode.A"]
    assert [key_text(key) for key in keys] == [*texts, "dtype torch.float32"]
    assert key_text(pathlib.PurePosixPath("a/b")) == "PurePosixPath a~1b"
    assert key_text(test_keys_read_well_and_are_escaped).endswith(".test_keys_read_well_and_are_escaped")
    assert key_text(dict) == "builtins.dict"


def test_keys_without_text_are_given_by_type_and_long_ones_are_cut_apart():
    class Thing:
        def __repr__(self):
            raise RuntimeError

    assert key_text(Thing()).endswith("Thing")
    assert key_text(torch.zeros(3)) == "Tensor"
    long = key_text("x" * 1000), key_text("x" * 1000 + "y")
    assert max(map(len, long)) < 250 and long[0] != long[1] and key_text("x" * 1000) == long[0]


def test_a_string_is_read_back_from_its_component():
    windows = ("C:\\new\\x1b", "\\\\u202e", "\\", "~2", "a\\b", "\\x1", "\\n~2\n")
    for key in ("lr", "a/b", "a~b", "~1", "a~/b", "", "\x1b[2J", "a\n/~b", "\u202e\U000e0041", "\udcff", *windows):
        assert key_text(key).isprintable()
        assert "/" not in key_text(key) and unescaped(key_text(key)) == key
