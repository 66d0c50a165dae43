"""Where in the user's own code something is called."""

import linecache
import sys

from dora_repro.scripts.calls import call_of, listed, place, place_of_last, with_code


def _written(tmp_path, text):
    path = tmp_path / "user.py"
    path.write_text(text, encoding="utf-8")
    return path


def _run(path, found):
    names = {"__name__": "__main__", "found": found, "sys": sys, "call_of": call_of}
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), names)


def test_the_innermost_line_of_the_users_own_code_is_named(tmp_path):
    here = "found.append(call_of(sys._getframe()))"
    text = f"def save():\n    {here}\n\n\nsave()\n{here}\n"
    path, found = _written(tmp_path, text), []
    _run(path, found)
    assert [(call["line"], call["function"]) for call in found] == [(2, "save"), (6, "<module>")]
    assert place(found[0]) == "user.py:2, in save()"
    assert place(found[1]) == "user.py:6"
    assert with_code(found[1]) == "user.py:6 (`found.append(call_of(sys._getframe()))`)"


def test_what_a_library_does_counts_for_the_line_that_called_it(tmp_path):
    text = "def run():\n    first = 1\n    library()\n\n\nrun()\n"
    path, found = _written(tmp_path, text), []
    library = {"__name__": "torch.serialization", "found": found, "sys": sys, "call_of": call_of}
    exec("def library():\n    found.append(call_of(sys._getframe()))\n", library)
    names = {"__name__": "__main__", "found": found, "library": library["library"]}
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), names)
    assert (found[-1]["line"], found[-1]["function"]) == (3, "run")


def test_a_file_that_is_gone_and_several_lines_are_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    gone = {"file": str(tmp_path / "gone.py"), "line": 3, "function": "<module>"}
    path = _written(tmp_path, "a = 1\n\nlong = " + "1 + " * 40 + "1\n")
    long = {"file": str(path), "line": 3, "function": "f"}
    assert with_code(gone) == "gone.py:3"
    assert listed([gone, long, gone]).startswith("gone.py:3 and user.py:3, in f() (`long = 1 + 1")
    assert listed([long]).endswith("…`)")
    assert not linecache.cache.get(str(path))


def test_the_last_call_has_a_place_unless_the_loop_is_inside_it():
    first, last = ({"file": "/a/train.py", "line": line, "function": "save"} for line in (2, 5))
    assert place_of_last((first, last), None) == place_of_last((first, last), first) == "train.py:5, in save()"
    assert place_of_last((first, last), dict(last)) == place_of_last((), None) == ""


def test_several_are_parted_by_commas():
    calls = [{"file": "/a/gone.py", "line": line, "function": "<module>"} for line in (1, 2, 3)]
    assert listed(calls) == "gone.py:1, gone.py:2 and gone.py:3" and listed([]) == ""
