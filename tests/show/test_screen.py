"""What a stream can show."""

import io

from dora_repro.show.screen import fitted, folded, in_words

TEXT = "✓ a: max diff = 0\n✗ b × 3 … –\n❌ TEST FAILED: x\nplain"


class Terminal(io.TextIOWrapper):
    def isatty(self):
        return True


def stream(encoding: str, kind=io.TextIOWrapper):
    return kind(io.BytesIO(), encoding=encoding)


def test_a_file_gets_the_text_as_it_is():
    assert fitted(TEXT, stream("utf-8")) == TEXT


def test_a_terminal_gets_colours_on_marked_lines_alone():
    lines = fitted(TEXT, stream("utf-8", Terminal)).split("\n")
    assert lines[0] == "\x1b[32m✓ a: max diff = 0\x1b[0m"
    assert [("\x1b[" in line) for line in lines] == [True, True, True, False]


def test_a_stream_without_the_symbols_gets_words():
    for kind in (io.TextIOWrapper, Terminal):
        text = fitted(TEXT + " é", stream("ascii", kind))
        assert text == "ok a: max diff = 0\nx b x 3 ... -\n[x] TEST FAILED: x\nplain ?"


def test_a_stream_that_says_no_encoding_gets_the_text():
    assert fitted(TEXT, io.StringIO()) == TEXT


def test_words_for_every_mark():
    assert in_words("✓✗✅❌⚠") == "okx[ok][x][!]"


def test_long_lines_are_broken_between_words_and_hang_and_code_stays_whole():
    code = "      " + "x" * 40
    text = f"short\n\n  one two three four five six\n{code}"
    assert folded(text, 20) == f"short\n\n  one two three four\n    five six\n{code}"
    assert folded(text, 200) == text


def test_a_terminal_gets_lines_of_its_width_and_a_file_does_not(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    text = f"✗ {'word ' * 20}"
    lines = in_words(fitted(text, stream("utf-8", Terminal))).splitlines()
    assert len(lines) == 3 and all(len(line) <= 40 + len("\x1b[31m\x1b[0m") for line in lines)
    assert lines[1].startswith("  word")
    assert fitted(text, stream("utf-8")) == text


def test_a_size_stays_beside_its_name():
    line = "✗ some.long.path.of.a.parameter: max diff = 1.85e-04  (63/64, max 2736 ULP)"
    assert folded(line, 48).splitlines() == [
        "✗ some.long.path.of.a.parameter:",
        "  max diff = 1.85e-04  (63/64, max 2736 ULP)",
    ]
