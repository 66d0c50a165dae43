"""A session runs sides one after the other, and leaves nothing behind that it was not asked to keep."""

import functools

import pytest

from dora_repro.alignment.divergence import first_divergence
from dora_repro.sides.forks import MAY_FORK
from dora_repro.sides.job import Job
from dora_repro.sides.processes import SideStopped
from dora_repro.sides.session import Session, threads
from tests import runs


class Heard(list):
    def __call__(self, side, event):
        self.append((side, event["event"], event.get("step")))


def session(**options) -> Session:
    return Session(runs.Plain, **{"in_process": True, "timeout": 60.0, "on_event": Heard(), **options})


def test_a_side_leaves_its_evidence_and_says_what_it_does():
    heard = Heard()
    with session(on_event=heard) as open_one:
        evidence = open_one.run("reference", Job(open_one.folder / "reference", 2, saves=(1,)))
        assert evidence.result["where"] == "done"
    assert heard == [
        ("reference", "built", 0), ("reference", "step", 1), ("reference", "saved", 1), ("reference", "step", 2),
    ]  # fmt: skip


def test_a_temporary_folder_is_removed_and_one_that_was_named_is_kept(tmp_path):
    with session() as temporary, session(folder=tmp_path / "kept") as kept:
        for each in (temporary, kept):
            each.run("reference", Job(each.folder / "reference", 1))
    assert not temporary.folder.exists()
    assert (tmp_path / "kept" / "reference" / "trace.jsonl").exists()


def test_the_same_repeat_is_done_once_and_another_job_anew():
    heard = Heard()
    with session(on_event=heard) as open_one:
        job = Job(open_one.folder / "reference", 1)
        first = open_one.repeat("once more", job)
        assert open_one.repeat("once more", job) is first
        assert first.folder != job.folder
        other = open_one.repeat("once more", Job(open_one.folder / "reference", 2))
        assert other.folder != first.folder
    assert [event for _, event, _ in heard].count("built") == 2


def multiplier(factory, about):
    assert factory is runs.Plain
    return lambda question: {"product": about["by"] * question["number"]}


def test_questions_are_answered_in_this_interpreter():
    with session() as open_one, open_one.answering(f"{__name__}:multiplier", {"by": 3}) as answer:
        assert answer({"number": 5}) == {"product": 15}
        assert answer({"number": 7}) == {"product": 21}


def test_in_one_interpreter_there_are_no_others_to_give_an_environment():
    with session() as open_one, pytest.raises(RuntimeError, match="no interpreters besides this one"):
        with open_one.with_environment({"A": "1"}):
            pass


def test_sides_run_as_many_threads_as_this_process():
    import torch

    assert threads() == torch.get_num_threads()


# --- in interpreters of their own


def reader(factory, about):
    import os

    return lambda question: {"value": os.environ.get(question["name"]), "process": os.getpid()}


def failing(factory, about):
    raise RuntimeError("no answers here")


@pytest.fixture(scope="module")
def separate():
    with Session(functools.partial(runs.Plain), in_process=False, timeout=240.0, on_event=Heard()) as open_one:
        yield open_one


def test_questions_are_answered_in_another_interpreter_with_the_environment_that_was_given(separate):
    import os

    with separate.with_environment({"DORA_REPRO_TEST": "given"}):
        with separate.answering(f"{__name__}:reader", {}) as answer:
            found = answer({"name": "DORA_REPRO_TEST"})
    assert found == {"value": "given", "process": found["process"]} and found["process"] != os.getpid()
    with separate.answering(f"{__name__}:reader", {}) as answer:
        assert answer({"name": "DORA_REPRO_TEST"})["value"] is None


def test_each_question_is_answered_by_a_process_that_knows_nothing_of_the_others(separate):
    with separate.answering(f"{__name__}:counter", {}) as answer:
        assert [answer({})["count"] for _ in range(3)] == [1, 1, 1]
    with session() as open_one, open_one.answering(f"{__name__}:counter", {}) as answer:
        assert [answer({})["count"] for _ in range(3)] == [1, 2, 3]


COUNT = 0


def counter(factory, about):
    def answer(question):
        global COUNT
        COUNT += 1
        return {"count": COUNT}

    return answer


PREPARED: list[int] = []


def prepare(about):
    import os
    import threading

    PREPARED.append(os.getpid())
    if about["how"] == "raises":
        raise OSError("nothing to be read")
    if about["how"] == "starts a thread":
        threading.Thread(target=threading.Event().wait, daemon=True).start()


def what_was_prepared(factory, about):
    import os

    def answer(question):
        PREPARED.append(0)
        return {"prepared": PREPARED, "parent": os.getppid()}

    return answer


@pytest.mark.skipif(not MAY_FORK, reason="forks are used on Linux only")
@pytest.mark.parametrize("how", ["reads", "starts a thread", "raises"])
def test_what_all_questions_need_is_prepared_once_where_that_may_be_forked(separate, how):
    prepare, maker = f"{__name__}:prepare", f"{__name__}:what_was_prepared"
    with separate.answering(maker, {"how": how}, prepare=prepare) as answer:
        answers = [answer({}) for _ in range(3)]
    if how != "reads":  # its forks would lack the thread; or there are none of it
        assert [each["prepared"] for each in answers] == [[0]] * 3
    else:
        assert [each["prepared"] for each in answers] == [[each["parent"], 0] for each in answers]
        assert len({each["parent"] for each in answers}) == 1
    with separate.answering(maker, {}) as answer:
        assert answer({})["prepared"] == [0]


def test_a_process_that_dies_before_it_can_answer_is_told_with_what_it_printed(separate):
    with separate.answering(f"{__name__}:failing", {}) as answer:
        with pytest.raises(SideStopped, match=r"(?s)ended with exit code 1 .*RuntimeError: no answers here"):
            answer({})
    with separate.answering(f"{__name__}:counter", {}) as answer:  # and the next begins anew
        assert answer({})["count"] == 1


class Hashing(runs.Plain):
    """Its learning rate hangs on the hash seed of its process."""

    def __init__(self):
        super().__init__()
        self.optimizer.param_groups[0]["lr"] = 1e-2 + hash("a text") % 1_000_003 * 1e-9


def test_a_side_and_its_repeat_come_from_two_interpreters():
    with Session(Hashing, in_process=False, timeout=240.0, on_event=Heard()) as open_one:
        job = Job(open_one.folder / "reference", 1)
        first, again = open_one.run("reference", job), open_one.repeat("reference, repeated", job)
        assert first_divergence(first.trace, again.trace) is not None
        with open_one.with_environment({"PYTHONHASHSEED": "0"}):  # the twin
            jobs = (Job(open_one.folder / name, 1) for name in ("one", "other"))
            one, other = (open_one.run("reference", job) for job in jobs)
        assert first_divergence(one.trace, other.trace) is None
