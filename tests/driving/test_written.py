"""Which files of a folder were written after which step or inside it, and which checkpoint is the youngest."""

import os

import pytest
import torch

from dora_repro.driving.written import Moment, Written, newest, newest_of


def save(path, time, value=1.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"value": value}, path)
    os.utime(path, ns=(time, time))


def test_files_are_noted_with_the_moment_at_which_they_were_last_written(tmp_path):
    save(tmp_path / "old.pt", 1)
    written = Written(tmp_path)
    written.look(Moment(1))
    assert written.checkpoints() == {}
    save(tmp_path / "a.pt", 2)
    save(tmp_path / "deep" / "b.pt", 3)
    (tmp_path / "log.csv").write_text("1,2\n")
    written.look(Moment(4))
    assert written.checkpoints() == {tmp_path / "a.pt": Moment(4), tmp_path / "deep" / "b.pt": Moment(4)}
    assert written.at[tmp_path / "log.csv"] == Moment(4)
    save(tmp_path / "a.pt", 5, value=2.0)
    written.look(Moment(5, 2))
    written.look(Moment(8))
    assert written.checkpoints()[tmp_path / "a.pt"] == Moment(5, 2)
    (tmp_path / "a.pt").unlink()
    written.look(Moment(9))
    assert tmp_path / "a.pt" not in written.checkpoints()


def test_the_youngest_is_a_file_or_the_folder_of_a_checkpoint(tmp_path):
    assert newest(tmp_path) is None
    (tmp_path / "log.txt").write_text("nothing")
    assert newest(tmp_path) is None
    save(tmp_path / "epoch1.pt", 10)
    save(tmp_path / "dora" / "epoch2.pth", 20)
    assert newest(tmp_path) == tmp_path / "dora" / "epoch2.pth"
    save(tmp_path / "checkpoint-3" / "model.pt", 30)
    save(tmp_path / "checkpoint-3" / "optimizer.pt", 31)
    assert newest(tmp_path) == tmp_path / "checkpoint-3"


def test_a_saved_adapter_or_model_is_its_folder(tmp_path):
    save(tmp_path / "epoch1" / "adapter_model.bin", 10)
    assert newest(tmp_path) == tmp_path / "epoch1" / "adapter_model.bin"
    (tmp_path / "epoch1" / "adapter_config.json").write_text("{}")
    assert newest(tmp_path) == tmp_path / "epoch1"
    save(tmp_path / "last" / "model-00001-of-00002.bin", 20)
    (tmp_path / "last" / "config.json").write_text("{}")
    assert newest(tmp_path) == tmp_path / "last"
    save(tmp_path / "run" / "model_3.pt", 30)  # a run's own configuration beside its checkpoints
    (tmp_path / "run" / "config.json").write_text("{}")
    assert newest(tmp_path) == tmp_path / "run" / "model_3.pt"


def test_a_folder_for_each_step_is_the_checkpoint_where_its_file_has_the_same_name_in_all(tmp_path):
    for step in (5, 10):
        save(tmp_path / f"step_{step}" / "model.pt", step)
        assert newest(tmp_path) == tmp_path / f"step_{step}" / "model.pt"
    (tmp_path / "step_10" / "state.json").write_text("{}")
    assert newest(tmp_path) == tmp_path / "step_10"
    save(tmp_path / "run_2" / "epoch7.pt", 20)  # a folder of a run, whose files are named by their epochs
    save(tmp_path / "run_1" / "epoch6.pt", 19)
    (tmp_path / "run_2" / "metrics.json").write_text("{}")
    assert newest(tmp_path) == tmp_path / "run_2" / "epoch7.pt"


def test_a_file_that_advised_lines_write_beside_a_checkpoint_is_none(tmp_path):
    save(tmp_path / "last.pt", 10)
    save(tmp_path / "last.pt.more", 20)
    assert newest(tmp_path) == tmp_path / "last.pt"


@pytest.mark.parametrize(
    ("older", "last", "expected"),
    [
        ("epoch2.pt", "model_best.pt", "epoch2.pt"),
        ("last.ckpt", "best.ckpt", "last.ckpt"),
        ("epoch=2.ckpt", "best-epoch=2.ckpt", "epoch=2.ckpt"),
        ("checkpoint.pth.tar", "best/model.pt", "checkpoint.pth.tar"),
        ("step_20.pt", "ema.pt", "step_20.pt"),
        ("vocabulary.pt", "best.pt", "best.pt"),  # it says nothing of a checkpoint
        ("epoch2.pt", "cinema.pt", "cinema.pt"),
        ("best.pt", "epoch2.pt", "epoch2.pt"),
    ],
)
def test_a_copy_of_the_best_state_gives_way_to_what_is_named_as_a_checkpoint(tmp_path, older, last, expected):
    save(tmp_path / older, 10)
    save(tmp_path / last, 20)
    assert newest(tmp_path) == tmp_path / expected
    passed_over = None if older != expected or older == last else tmp_path / last
    assert newest_of(tmp_path).passed_over == passed_over


def test_a_copy_of_the_best_state_is_taken_where_nothing_else_holds_as_much(tmp_path):
    save(tmp_path / "table_v2.pt", 10)
    save(tmp_path / "best.pt", 20, torch.zeros(2000))
    assert newest(tmp_path) == tmp_path / "best.pt"
    save(tmp_path / "checkpoint-3" / "model.pt", 11, torch.zeros(1500))
    save(tmp_path / "checkpoint-3" / "optimizer.pt", 12, torch.zeros(1500))
    assert newest(tmp_path) == tmp_path / "checkpoint-3"


def state(path, time, *, optimizer=False, momentum=0.9):
    """A checkpoint as training scripts write them; weights alone without an optimizer."""
    model = torch.nn.Linear(3, 1)
    used = torch.optim.SGD(model.parameters(), lr=0.1, momentum=momentum)
    model(torch.ones(3)).backward()
    used.step()
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"model": model.state_dict(), "optimizer": used.state_dict()} if optimizer else model.state_dict(), path)
    os.utime(path, ns=(time, time))


@pytest.mark.parametrize("momentum", [0.9, 0.0])
def test_weights_alone_give_way_to_a_checkpoint_with_an_optimizer(tmp_path, momentum):
    state(tmp_path / "last.pt", 10, optimizer=True, momentum=momentum)
    state(tmp_path / "epoch3.pt", 20)
    found = newest_of(tmp_path)
    assert (found.path, found.passed_over) == (tmp_path / "last.pt", tmp_path / "epoch3.pt")
    assert found.why == "holds no state of an optimizer"
    state(tmp_path / "epoch4.pt", 30, optimizer=True, momentum=momentum)
    assert newest_of(tmp_path).path == tmp_path / "epoch4.pt" and newest_of(tmp_path).passed_over is None


def test_weights_alone_are_taken_where_no_older_file_has_an_optimizer_and_a_model(tmp_path):
    torch.save({"optimizer": torch.optim.Adam(torch.nn.Linear(1, 1).parameters()).state_dict()}, tmp_path / "opt.pt")
    os.utime(tmp_path / "opt.pt", ns=(5, 5))
    state(tmp_path / "epoch1.pt", 10)
    state(tmp_path / "epoch2.pt", 20)
    assert newest(tmp_path) == tmp_path / "epoch2.pt"


def test_a_checkpoint_of_several_files_has_the_optimizer_beside_it(tmp_path):
    state(tmp_path / "old.pt", 5, optimizer=True)
    torch.save(torch.optim.Adam(torch.nn.Linear(1, 1).parameters()).state_dict(), tmp_path / "optimizer_3.pt")
    os.utime(tmp_path / "optimizer_3.pt", ns=(10, 10))
    state(tmp_path / "model_3.pt", 20)
    assert newest(tmp_path) == tmp_path / "model_3.pt"


def test_what_cannot_be_read_is_not_passed_over(tmp_path):
    state(tmp_path / "last.pt", 10, optimizer=True)
    state(tmp_path / "torn.pt", 20)
    data = (tmp_path / "torn.pt").read_bytes()
    (tmp_path / "torn.pt").write_bytes(data[: len(data) // 2])
    os.utime(tmp_path / "torn.pt", ns=(20, 20))
    assert newest(tmp_path) == tmp_path / "torn.pt"
