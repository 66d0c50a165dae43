"""A script as what is recorded: the variables of its own functions, by the functions' names."""

from concurrent.futures import ThreadPoolExecutor

import torch

from dora_repro.private_names.of_cpython import get_frame
from dora_repro.scripts.program import overwritten_in, program_of
from dora_repro.state.frames import set_variable
from dora_repro.state.snapshot import Snapshot, run_roots

model = torch.nn.Linear(2, 1)
constant = 3.0


def inner(look, total):
    total += 1
    return look(get_frame(0))


def outer(look, best=0.5):
    best += 1
    return inner(look, best)


def outer_alone(look, **more):
    """Call it on a thread of its own: pytest's functions are not on the way."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(outer, look, **more).result()


def test_each_function_on_the_way_has_its_variables():
    program = outer_alone(lambda frame: program_of({}, frame))
    leaves = Snapshot.capture(run_roots(program))
    assert leaves["outer/best"].value == 1.5
    assert leaves["inner/total"].value == 2.5


def test_a_function_that_is_called_again_is_the_same_object_with_other_variables():
    program = outer_alone(lambda frame: program_of({}, frame))
    before = vars(program)["inner"]
    outer_alone(program.look, best=10.0)
    assert vars(program)["inner"] is before
    assert Snapshot.capture(run_roots(program))["inner/total"].value == 12.0


def test_a_function_that_leads_to_no_step_any_more_is_left_out():
    program = outer_alone(lambda frame: program_of({}, frame))
    program.look(None)
    assert "inner" not in vars(program)


def test_variables_of_the_script_itself_have_one_name(tmp_path):
    text = "count = 0\ndef step(look):\n    global count\n    count += 1\n    return look()\nprogram = step(look)\n"
    path = tmp_path / "script.py"
    path.write_text(text, encoding="utf-8")
    space = {"__name__": "script", "__file__": str(path), "look": lambda: program_of({}, get_frame(1))}
    with ThreadPoolExecutor(1) as pool:
        pool.submit(exec, compile(text, str(path), "exec"), space).result()
    paths = [path for path, _ in Snapshot.capture(run_roots(space["program"])).items()]
    assert "script.py/count" in paths
    assert "globals.count" not in paths


def test_what_was_read_from_a_checkpoint_has_the_name_that_the_run_gives_it():
    class Agent:
        best = None

    def main(look):
        checkpoint = {"best": {"weight": torch.ones(1)}, "epoch": 1}
        run = Agent()
        run.best = checkpoint["best"]
        return look(get_frame(0))

    with ThreadPoolExecutor(1) as pool:
        program = pool.submit(main, lambda frame: program_of({}, frame)).result()
    leaves = Snapshot.capture(run_roots(program))
    assert "main/run/best/weight" in leaves
    assert leaves["main/checkpoint/best"].value == "= main/run/best"


def test_variables_of_a_running_function_can_be_set():
    def look(frame):
        program = program_of({}, frame)
        snapshot = Snapshot.capture(run_roots(program))
        set_variable(frame.f_back, "best", -1.0)
        assert Snapshot.capture(run_roots(program))["outer/best"].value == -1.0
        assert not snapshot.restore(run_roots(program), ["outer/best"])
        return Snapshot.capture(run_roots(program))["outer/best"].value

    assert outer_alone(look) == 1.5


def test_a_recursive_function_has_a_name_for_each_call():
    def down(depth, look):
        return down(depth - 1, look) if depth else look(get_frame(0))

    with ThreadPoolExecutor(1) as pool:
        program = pool.submit(down, 2, lambda frame: program_of({}, frame)).result()
    depths = {path: leaf.value for path, leaf in Snapshot.capture(run_roots(program)).items() if "depth" in path}
    assert depths == {"down/depth": 2, "down#2/depth": 1, "down#3/depth": 0}


def test_what_the_script_names_is_beside_its_functions():
    program = outer_alone(lambda frame: program_of({"ema": model}, frame))
    assert "ema/weight" in Snapshot.capture(run_roots(program))


def rounds(look, times):
    for number in range(times):
        batch = number
        look(get_frame(0))
        loss = batch + 1
        print(loss)
        if number:
            look(get_frame(0))


def test_what_its_functions_give_another_value_first_is_told_as_of_the_last_step():
    seen = []

    def look(frame):
        seen.append(program_of({}, frame) if not seen else seen[0].look(frame))

    with ThreadPoolExecutor(1) as pool:
        pool.submit(rounds, look, 2).result()
    assert overwritten_in(seen[0]) == ["rounds/batch", "rounds/loss", "rounds/number", "rounds/times"]
