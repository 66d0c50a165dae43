"""Where advised lines belong in a script."""

from dataclasses import replace

import torch
from torch.utils.data import DataLoader, TensorDataset

from dora_repro.explain.explanation import Cause
from dora_repro.scripts.aligning import Alignment
from dora_repro.scripts.belonging import Calls, calls_of, order_kept, placed, wrote_by_own_code
from dora_repro.state.snapshot import Snapshot, run_roots

SAVE = {"file": "/a/train.py", "line": 9, "function": "save"}
LOAD = {"file": "/a/train.py", "line": 4, "function": "main"}
LOOP = {"file": "/a/train.py", "line": 6, "function": "main"}


def entry(kind, path, by):
    return {"kind": kind, "path": path, "stamp": [1, 2, 3], "step": 0, "backwards": 0, "by": by}


def test_only_the_files_that_were_resumed_from_count(tmp_path):
    out = tmp_path.resolve()
    other = {**SAVE, "line": 99}
    killed = [entry("wrote", f"{out}/a.pt", SAVE), entry("wrote", f"{out}/b.pt", other)]
    resumed = [entry("read", f"{out}/a.pt", LOAD), entry("read", f"{out}/c.pt", other), entry("read", "/far.pt", None)]
    assert calls_of(killed, resumed, Alignment(3, "files", ("a.pt",)), out) == Calls((SAVE,), (LOAD,))
    assert calls_of(killed, resumed, Alignment(3, "option"), out) == Calls()


def test_of_several_files_those_written_and_read_last_are_known(tmp_path):
    out = tmp_path.resolve()
    by = [{**SAVE, "line": line} for line in (5, 7)]
    killed = [
        {**entry("wrote", f"{out}/a", by[0]), "stamp": [2, 2, 3]},
        {**entry("wrote", f"{out}/b", by[1]), "stamp": [1, 2, 3]},
    ]
    resumed = [entry("read", f"{out}/{name}", LOAD) for name in "ab"]
    calls = calls_of(killed, resumed, Alignment(3, "files", ("a", "b")), out)
    assert (calls.wrote, calls.last_wrote, calls.last_read) == ((by[1], by[0]), "a", "b")
    cause = Cause("main/best", ("main/best",), "value", save=("x",), beside="f'{path}.more'")
    assert placed(cause, calls, None).advice[0] == "`path` is that of a, the file that is written last."


class Run:
    """Two loaders with a generator of their own, one of which has another name as well, and one without."""

    def __init__(self):
        data = TensorDataset(torch.zeros(4))
        self.order = torch.Generator()
        self.named = DataLoader(data, shuffle=True, generator=self.order)
        self.own = DataLoader(data, shuffle=True, generator=torch.Generator())
        self.plain = DataLoader(data, shuffle=True)


def test_the_generator_that_an_order_is_drawn_from_is_the_loaders_own():
    saved = Snapshot.capture(run_roots(Run()))
    kept = [order_kept([loader], saved) for loader in ("named", "own", "plain")]
    assert kept == ["self.order.get_state()", "self.own.generator.get_state()", "torch.get_rng_state()"]
    assert order_kept(["named", "plain"], saved) == f"{kept[0]} or {kept[2]}" and order_kept([], saved) == kept[2]
    advice = placed(Cause("rng/draws", ()), Calls(), LOOP, kept[0]).advice
    assert "begins (train.py:6, in main()): `epoch_rng = self.order.get_state()`." in advice[0]


def test_lines_are_placed():
    cause = Cause("main/best", ("main/best",), "value", save=("state['best'] = best",))
    advice = placed(cause, Calls((SAVE,), (LOAD,)), LOOP).advice
    where = "The checkpoint is written at train.py:9, in save() and read at train.py:4, in main()."
    assert advice == (where,)
    assert placed(cause, Calls(), LOOP).advice == ()


def test_a_cause_without_lines_and_with_nothing_known_says_no_more():
    cause = Cause("main/best", ("main/best",), "value")
    assert placed(cause, Calls((SAVE,), (LOAD,)), LOOP) == cause


def test_draws_and_batches_name_the_loop():
    draws = placed(Cause("rng/draws", ()), Calls(), LOOP).advice
    assert "before the loop over the loader begins (train.py:6, in main()): `epoch_rng" in draws[0]
    batches = placed(Cause("data/batches", ()), Calls(), LOOP).advice
    assert batches[-1] == "The loop over the loader: train.py:6, in main()."
    assert "begins: `epoch_rng" in placed(Cause("rng/draws", ()), Calls(), None).advice[0]
    assert len(placed(Cause("data/batches", ()), Calls(), None).advice) == len(batches) - 1


def test_batches_whose_sources_have_lines_are_not_said_to_be_out_of_reach():
    cause = Cause("data/batches", ("data/batches",), save=("x",), load=("y",))
    where, loop = placed(cause, Calls((SAVE,), (LOAD,)), LOOP).advice
    assert where.startswith("The checkpoint is written at") and loop.startswith("The loop over the loader")


def test_an_epoch_that_began_anew_is_told_with_its_batches_and_its_loop_or_as_the_library_has_it():
    cause = Cause("data/position", ("data/position",), advice=("Save the number.",))
    calls = Calls((SAVE,), (LOAD,))
    told = placed(cause, calls, LOOP, used=3)
    assert told.how == "the epoch began anew: the 3 batches that had been used were not passed over"
    assert "the first that is trained on (train.py:6, in main()): `for i," in told.advice[0]
    assert told.advice[1].startswith("The checkpoint is written at train.py:9")
    assert "the batch that had been used was not" in placed(cause, Calls(), None, used=1).how
    by_library = replace(cause, advice=("Save the number.", "Leave ignore_data_skip=False."))
    assert placed(by_library, calls, LOOP, used=3).advice == ("Leave ignore_data_skip=False.",)


def test_an_order_that_a_library_draws_and_saves_after_is_told_as_it_has_it():
    draws = Cause("rng/draws", (), advice=("Restore generators last.", "Use a DeterministicEngine."))
    assert placed(draws, Calls((LOOP,), (LOAD,)), LOOP).advice == ("Use a DeterministicEngine.",)
    own, *_, last = placed(draws, Calls((SAVE,), (LOAD,)), LOOP).advice
    assert own.startswith("Keep the generator as it is before the loop") and last == "Use a DeterministicEngine."
    assert "Keep the generator" in placed(replace(draws, advice=("Restore.",)), Calls((LOOP,), ()), LOOP).advice[0]


def test_an_order_whose_generator_is_saved_before_its_last_draw_is_not_to_be_kept_twice():
    draws = Cause("rng/draws", (), advice=("Restore generators last.",))
    told = placed(draws, Calls((SAVE,), (LOAD,)), LOOP, late=("order",))
    assert told.how == "the order of the batches was drawn from a generator that is saved before its last draw"
    assert "ends (train.py:6, in main()), and the checkpoint is written before: write it once" in told.advice[0]
    assert len(told.advice) == 2 and not any("epoch_rng" in each for each in told.advice)


def test_the_functions_where_lines_go_are_known_where_both_places_are():
    module = {**LOAD, "function": "<module>"}
    assert Calls((SAVE,), (module,)).functions(LOOP) == ("save", "train.py")
    assert Calls((LOOP,), (LOAD,)).functions(LOOP) == Calls((SAVE,)).functions(LOOP) == ()
    assert Calls((LOOP,), (LOAD,)).in_loop(LOOP) and not Calls((SAVE,)).in_loop(LOOP) and not Calls().in_loop(None)


def test_a_checkpoint_is_the_users_where_his_own_code_wrote_a_file_of_it(tmp_path):
    out = tmp_path.resolve()
    files = Alignment(3, "files", ("a.safetensors", "a.json"))
    killed = [entry("wrote", f"{out}/a.safetensors", SAVE), {**entry("wrote", f"{out}/log.json", SAVE), "own": True}]
    assert not wrote_by_own_code(killed, files, out)
    assert wrote_by_own_code([*killed, {**entry("wrote", f"{out}/a.json", SAVE), "own": True}], files, out)
