"""Nothing that a terminal or page would obey, hide or turn around gets through; letters of all languages do."""

import json

import pytest

from dora_repro.errors import BadInput
from dora_repro.printable import json_text, named, one_line, printable

UNSEEN = {
    "escape": "\x1b", "bell": "\x07", "nul": "\0", "backspace": "\b", "delete": "\x7f", "carriage return": "\r",
    "C1": "\x9b", "next line": "\x85", "override": "\u202e", "isolate": "\u2067", "mark": "\u200f",
    "zero width": "\u200b", "joiner": "\u200d", "byte order mark": "\ufeff", "soft hyphen": "\xad",
    "line separator": "\u2028", "lone surrogate": "\udcff", "tag": "\U000e0041",
    "private": "\ue000", "filler": "\u3164",
}  # fmt: skip  # names and characters


@pytest.mark.parametrize("char", UNSEEN.values(), ids=UNSEEN)
def test_what_is_not_seen_is_written_as_an_escape(char):
    shown = one_line(f"a{char}b")
    assert shown.isascii() and shown.isprintable() and shown.startswith("a\\") and shown.endswith("b")
    assert eval(f"'{shown}'") == f"a{char}b"  # as Python writes it
    assert printable(f"a{char}\nb") == one_line(f"a{char}") + "\nb"


def test_breaks_stay_in_a_text_of_lines_alone():
    assert one_line("a\n\tb") == "a\\n\\tb"
    assert printable("a\n\tb\r\nc") == "a\n\tb\\r\nc"


def test_letters_of_all_languages_and_our_own_signs_stay():
    for text in ("", "plain ~ /", "Zürich", "東京", "Москва", "קוד", "حالة", "e\u0301", "✓ ❌ – … → ×", "a\xa0b", "🙂"):
        assert one_line(text) == printable(text) == text


@pytest.mark.parametrize("char", UNSEEN.values(), ids=UNSEEN)
def test_json_says_the_same_with_its_own_escapes(char):
    text = json_text({f"key{char}": [f"{char}ü", 1.5]})
    assert all(one_line(line) == line for line in text.split("\n")) and "ü" in text
    assert json.loads(text) == {f"key{char}": [f"{char}ü", 1.5]}


def test_json_is_indented_by_two():
    assert json_text({"a": 1}) == '{\n  "a": 1\n}' and json_text({"a": 1}, indent=None) == '{"a": 1}'


def test_json_refuses_what_it_does_not_know():
    with pytest.raises(ValueError):
        json_text(float("nan"))


def test_names_of_files_and_bad_input_are_printable(tmp_path):
    assert named(tmp_path / "a\n\x1b[2J") == f"{tmp_path}/a\\n\\x1b[2J"
    assert named(b"a\xff") == "a\\udcff"
    assert str(BadInput("cannot read a\x1b]0;x\x07:\n  why")) == "cannot read a\\x1b]0;x\\x07:\n  why"
