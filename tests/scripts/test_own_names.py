"""Lines of advice in the name that a script gives its checkpoint."""

from dataclasses import replace

import pytest

from dora_repro.explain.explanation import Cause
from dora_repro.scripts.assignment import OTHER
from dora_repro.scripts.own_names import beside_own_state, ends_its_block, in_own_names, named_where_written
from dora_repro.state.rebuild import VARIABLES, Kind

CAUSE = Cause("g", ("g",), save=('state["g"] = g.get_state()',), load=('g.set_state(state["g"])',))
OWN_SAVE, OWN_LOAD = ('blob["g"] = g.get_state()',), ('g.set_state(ckpt["g"])',)

WRITING = {
    "a dict of its own": ('    blob = {"a": 1}\n    torch.save(blob, path)', OWN_SAVE),
    "made by dict()": ("    blob = dict(a=1)\n    torch.save(\n        blob, path)", OWN_SAVE),
    "by pickle": ("    blob = {}\n    pickle.dump(blob, open(path))", OWN_SAVE),
    "after another statement": ("    blob = {}\n    print(); torch.save(blob, path)", OWN_SAVE),
    "a dict without a name": ('    \n    torch.save({"a": 1}, path)', CAUSE.save),
    "no dict, as far as is known": ("    blob = made()\n    torch.save(blob, path)", CAUSE.save),
    "a dict in another function": ("    \n    torch.save(blob, path)\ndef other():\n    blob = {}", CAUSE.save),
    "an argument": ("    \n    torch.save(path, path)", CAUSE.save),
}
READING = {
    "at once": ("    \n    ckpt = torch.load(path)", OWN_LOAD),
    "on a condition": ("    \n    ckpt = torch.load(path) if path else None", OWN_LOAD),
    "in a condition": ("    \n    if ckpt := torch.load(path):\n        use(ckpt)", OWN_LOAD),
    "before another statement": ("    \n    ckpt = torch.load(path); use(ckpt)", OWN_LOAD),
    "over two lines": ("    \n    ckpt = torch.load(\n        path, weights_only=False)", OWN_LOAD),
    "a part of it": ('    \n    ckpt = torch.load(path)["g"]', CAUSE.load),
    "handed on": ("    \n    return torch.load(path)", CAUSE.load),
    "what is made of it": ("    \n    ckpt = model.load_state_dict(torch.load(path))", CAUSE.load),
}


def call(folder, lines, line=3):
    path = folder / "train.py"
    path.write_text(f"def at(path):\n{lines}\n", encoding="utf-8")
    return {"file": str(path), "line": line, "function": "at"}


def test_the_checkpoint_is_not_called_as_a_variable_of_the_scripts(tmp_path):
    """`state.rng.set_state(state["r"])` cannot be run: they raised AttributeError, 'dict' has no attribute 'rng'."""
    own = Cause("rng", ("loop/state/rng",), load=('state.rng.set_state(state["r"])',))
    kinds = {"loop": Kind(VARIABLES)}
    named = beside_own_state([own, CAUSE], kinds)
    assert [cause.load for cause in named] == [(f'state.rng.set_state({OTHER}["r"])',), (f'g.set_state({OTHER}["g"])',)]
    assert {cause.filled for cause in named} == {OTHER}
    ran = "These lines were run in the script: `x = saved_state['x']` once more."
    named = [replace(named[0], advice=(ran,)), named[1]]
    (cause, _) = in_own_names(named, [], [call(tmp_path, "    \n    ckpt = torch.load(path)")], ["train.py:3, in at()"])
    assert cause.load == ('state.rng.set_state(ckpt["r"])',)
    assert cause.advice == (ran.replace("saved_state", "ckpt"),)
    for other in ({"loop": Kind("dict")}, {**kinds, "loop/state": Kind("dict")}):
        assert beside_own_state([own, CAUSE], other) == (own, CAUSE)


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


NAMED = {
    "in one line": ('torch.save({"a": 1}, path)', "state", 'state = {"a": 1}', "torch.save(state, path)"),
    "by dict()": ("torch.save(dict(a=1), path)", "state", "state = dict(a=1)", "torch.save(state, path)"),
    "after another": ('"ä"; pickle.dump({"a": "ä"}, path)', "state", 'state = {"a": "ä"}', "pickle.dump(state, path)"),
    "over several": (
        'torch.save(\n        {\n            "a": f(\n                1),\n        },\n        path,\n    )',
        "state",
        'state = {\n        "a": f(\n            1),\n    }',
        "torch.save(\n    state,\n    path,\n)",
    ),
    "where the name is taken": (
        'torch.save({"a": state}, path)', "checkpoint", 'checkpoint = {"a": state}', "torch.save(checkpoint, path)",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("line", "name", "head", "tail"), NAMED.values(), ids=NAMED)
def test_a_dict_that_is_written_without_a_name_is_given_one(tmp_path, line, name, head, tail):
    wrote = call(tmp_path, f"    \n    {line}")
    named = named_where_written([wrote])
    assert (named.name, "\n".join(named.head), "\n".join(named.tail)) == (name, head, tail)
    assert named.instead.endswith("` (train.py:3, in at())")
    (cause,) = in_own_names([CAUSE], [wrote], [])
    assert cause.save == (f'{name}["g"] = g.get_state()',)
    compile("\n".join((head, *cause.save, tail)), "", "exec")


@pytest.mark.parametrize(
    "line",
    [
        "torch.save(blob, path)",
        "torch.save(model.state_dict(), path)",
        "done = torch.save({}, path)",
        "torch.save(path=path)",
        "use({})",
        "torch.save({'a': '''\n        x'''}, path)",  # set in otherwise, it would be another text
        "torch.save({'a': (state, checkpoint, saved_state, whole_state)}, path)",
    ],
)
def test_none_is_given_where_it_has_one_or_none_can_be(tmp_path, line):
    assert named_where_written([call(tmp_path, f"    \n    {line}")]) is None


def test_none_is_given_where_nothing_can_be_read(tmp_path):
    assert named_where_written([]) is None
    assert named_where_written([{"file": str(tmp_path / "gone.py"), "line": 1, "function": "at"}]) is None


READ = "    if path:\n        ckpt = torch.load(path)\n        use(ckpt)\n    for _ in range(3):\n        pass"


@pytest.mark.parametrize(
    ("lines", "ran", "ends"),
    [
        (READ, "train.py:5, in at()", True),
        (READ, "train.py:4, in at()", False),  # inside it
        (READ, "other.py:5, in at()", False),
        (READ.replace("    for", "    use()\n    for"), "train.py:6, in at()", False),  # not right after it
        (READ.replace("if path:", "while path:"), "train.py:5, in at()", False),
        (READ.replace("\n        use(ckpt)", "\n    elif path:\n        pass"), "train.py:6, in at()", True),
        (READ[: READ.index("    for")], "train.py:5, in at()", False),  # nothing follows
        ("    if path:\n        ckpt = torch.load(path)\n    use()", "train.py:4, in at()", True),
        ("    if a:\n        pass\n    else: ckpt = torch.load(path)\n    use()", "train.py:5, in at()", False),
    ],
)
def test_lines_belong_into_the_branch_that_reads_where_that_comes_to_the_same(tmp_path, lines, ran, ends):
    line = 2 + next(index for index, text in enumerate(lines.split("\n")) if "load" in text)
    assert ends_its_block([call(tmp_path, lines, line)], (ran,)) is ends


def test_without_one_place_of_either_nothing_is_said_of_a_branch(tmp_path):
    read = call(tmp_path, READ)
    assert not ends_its_block([], ("train.py:5, in at()",)) and not ends_its_block([read], ())
    assert not ends_its_block([read], ("train.py:5, in at()", "train.py:6, in at()"))
