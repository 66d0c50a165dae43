"""Lines of advice in the name that a script gives its checkpoint."""

import pytest

from dora_repro.explain.explanation import Cause
from dora_repro.scripts.own_names import in_own_names

CAUSE = Cause("g", ("g",), save=('state["g"] = g.get_state()',), load=('g.set_state(state["g"])',))
OWN_SAVE, OWN_LOAD = ('blob["g"] = g.get_state()',), ('g.set_state(ckpt["g"])',)

WRITING = {
    "a dict of its own": ('    blob = {"a": 1}\n    torch.save(blob, path)', OWN_SAVE),
    "made by dict()": ("    blob = dict(a=1)\n    torch.save(\n        blob, path)", OWN_SAVE),
    "by pickle": ("    blob = {}\n    pickle.dump(blob, open(path))", OWN_SAVE),
    "a dict without a name": ('    \n    torch.save({"a": 1}, path)', CAUSE.save),
    "no dict, as far as is known": ("    blob = made()\n    torch.save(blob, path)", CAUSE.save),
    "a dict in another function": ("    \n    torch.save(blob, path)\ndef other():\n    blob = {}", CAUSE.save),
    "an argument": ("    \n    torch.save(path, path)", CAUSE.save),
}
READING = {
    "at once": ("    \n    ckpt = torch.load(path)", OWN_LOAD),
    "on a condition": ("    \n    ckpt = torch.load(path) if path else None", OWN_LOAD),
    "in a condition": ("    \n    if ckpt := torch.load(path):\n        use(ckpt)", OWN_LOAD),
    "over two lines": ("    \n    ckpt = torch.load(\n        path, weights_only=False)", OWN_LOAD),
    "a part of it": ('    \n    ckpt = torch.load(path)["g"]', CAUSE.load),
    "handed on": ("    \n    return torch.load(path)", CAUSE.load),
    "what is made of it": ("    \n    ckpt = model.load_state_dict(torch.load(path))", CAUSE.load),
}


def call(folder, lines, line=3):
    path = folder / "train.py"
    path.write_text(f"def at(path):\n{lines}\n", encoding="utf-8")
    return {"file": str(path), "line": line, "function": "at"}


@pytest.mark.parametrize(("lines", "save"), WRITING.values(), ids=WRITING)
def test_what_is_written_has_the_name_of_the_dict(tmp_path, lines, save):
    (cause,) = in_own_names([CAUSE], [call(tmp_path, lines)], [])
    assert (cause.save, cause.load) == (save, CAUSE.load)


def test_a_dict_of_the_module_is_what_it_writes(tmp_path):
    (tmp_path / "train.py").write_text("blob = {}\nfor _ in data:\n    torch.save(blob, path)\n", encoding="utf-8")
    (cause,) = in_own_names([CAUSE], [{"file": str(tmp_path / "train.py"), "line": 3, "function": "<module>"}], [])
    assert cause.save == OWN_SAVE


@pytest.mark.parametrize(("lines", "load"), READING.values(), ids=READING)
def test_what_is_read_has_the_name_that_it_is_given(tmp_path, lines, load):
    (cause,) = in_own_names([CAUSE], [], [call(tmp_path, lines)])
    assert (cause.save, cause.load) == (CAUSE.save, load)


def test_nothing_is_renamed_where_lines_mean_another_dict_or_nothing_is_known(tmp_path):
    read = call(tmp_path, READING["at once"][0])
    beside = Cause("g", ("g",), load=('g.set_state(more["g"])',), filled="more")
    of_a_file = Cause("g", ("g",), load=("g.set_state(state)  # state: what g.pt holds",))
    assert in_own_names([beside, of_a_file], [], [read]) == (beside, of_a_file)
    assert in_own_names([CAUSE], [], [read, {**read, "line": 1}]) == (CAUSE,)  # which of the two is not known
    assert in_own_names([CAUSE], [], [{**read, "file": str(tmp_path / "gone.py")}]) == (CAUSE,)
    assert in_own_names([CAUSE], [], [{**read, "line": 99}]) == (CAUSE,)
    quoted = Cause("g", ("g",), load=('x.state["state["] = state["g"]',))
    (cause,) = in_own_names([quoted], [], [read])
    assert cause.load == ('x.state["state["] = ckpt["g"]',)


@pytest.mark.parametrize(
    ("function", "leaf", "ran", "known"),
    [
        ("at", "at/g", (), True),
        ("at", "rng/torch.cpu", (), True),
        ("at", "train.py/g", (), True),
        ("at", "fold/g", (), False),
        ("<module>", "fold/g", (), True),
        ("at", "fold/g", ("train.py:9, in at()",), True),
        ("at", "at/g", ("train.py:9, in fold()",), False),
        ("at", "at/g", ("train.py:9",), False),
        ("<module>", "at/g", ("train.py:9, in fold()",), True),
    ],
)
def test_a_name_is_used_only_where_it_is_known(tmp_path, function, leaf, ran, known):
    read = {**call(tmp_path, READING["at once"][0]), "function": function}
    (cause,) = in_own_names([Cause(leaf, (leaf,), load=CAUSE.load)], [], [read], ran)
    assert cause.load == (OWN_LOAD if known else CAUSE.load)
