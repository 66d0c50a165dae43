"""Each way in which a leaf can be missing from a file, with real files, and beside it a save that is whole."""

import copy
import json
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from dora_repro.explain.audit.lookup import ABSENT, CAST, MISPLACED, SAVED, STALE
from dora_repro.explain.audit.saved import audit_save
from dora_repro.state.digest import digest
from dora_repro.state.snapshot import SavedLeaf, Snapshot, run_roots


class Run:
    """A small run after three steps, with generators of every kind and a moving average."""

    def __init__(self):
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-2)
        self.scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, 2)
        self.ema = {name: parameter.detach().clone() for name, parameter in self.model.named_parameters()}
        self.generator = torch.Generator().manual_seed(3)
        self.augment = np.random.default_rng(4)
        self.legacy = np.random.RandomState(5)
        self.shuffle = random.Random(6)
        self.epoch = 0
        for _ in range(3):
            self.step()

    def step(self):
        self.optimizer.zero_grad()
        self.model(torch.randn(8, 4, generator=self.generator)).square().mean().backward()
        self.optimizer.step()
        self.scheduler.step()
        for name, parameter in self.model.named_parameters():
            self.ema[name].lerp_(parameter.detach(), 0.1)
        self.epoch += 1
        self.augment.random(), self.legacy.random(), self.shuffle.random()

    def state(self):
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "ema": self.ema,
            "rng": {"torch": torch.get_rng_state(), "numpy": np.random.get_state(), "python": random.getstate()},
            "generator": self.generator.get_state(),
            "augment": self.augment.bit_generator.state,
            "legacy": self.legacy.get_state(),
            "shuffle": self.shuffle.getstate(),
            "epoch": self.epoch,
        }


def without(state, name):
    return {key: value for key, value in state.items() if key != name}


@pytest.fixture
def run():
    return Run()


@pytest.fixture
def audited(run, tmp_path):
    """The audit of a file with the state that a function has changed."""

    def audit(change=lambda state: None, roots=run):
        live = Snapshot.capture(run_roots(roots))
        state = copy.deepcopy(run.state())
        changed = change(state)
        state = state if changed is None else changed
        torch.save(state, tmp_path / "state.pt")
        return audit_save(live, tmp_path / "state.pt")

    return audit


def test_a_whole_save_has_every_leaf(audited):
    audit = audited()
    lacking = {path for path, kept in audit.leaves.items() if kept.status != SAVED}
    assert not audit.problem and lacking == {"augment/spawned"}  # what Generator.spawn() gives next is in no state
    assert audit.how("optimizer/0.bias/exp_avg") == "in the checkpoint as `optimizer/state/1/exp_avg`"
    assert audit.in_file("optimizer/0.bias/exp_avg") and not audit.in_file("augment/spawned")
    assert audit.how("model/0.weight") == "in the checkpoint as `model/0.weight`"
    assert audit.leaves["ema/0.weight"].keys == ("ema/0.weight",)
    assert audit.how("model/training") == ""  # structure is not looked for


@pytest.mark.parametrize(
    "part, pattern",
    [
        ("optimizer", "optimizer/0.weight/exp_avg"),
        ("optimizer", "optimizer/0.weight/step"),
        ("optimizer", "optimizer/group.0/lr"),
        ("scheduler", "scheduler/last_epoch"),
        ("ema", "ema/0.weight"),
        ("ema", "ema/1.bias"),
        ("model", "model/1.running_mean"),
        ("generator", "generator"),
        ("augment", "augment"),
        ("legacy", "legacy"),
        ("shuffle", "shuffle"),
        ("epoch", "epoch"),
    ],
)
def test_what_save_leaves_out_is_absent(audited, part, pattern):
    audit = audited(lambda state: without(state, part))
    assert audit.leaves[pattern].status == ABSENT
    assert audit.how(pattern) == "not in the checkpoint"


@pytest.mark.parametrize("name", ["torch", "numpy", "python"])
def test_a_global_generator_that_is_left_out_is_absent_and_the_others_are_not(audited, name):
    audit = audited(lambda state: state | {"rng": without(state["rng"], name)})
    paths = {"torch": "rng/torch.cpu", "numpy": "rng/numpy", "python": "rng/python"}
    assert {path for path in paths.values() if audit.leaves[path].status == ABSENT} == {paths[name]}


def test_contents_are_found_whatever_their_key(audited):
    def renamed(state):
        weights = {f"net.{name}": value for name, value in state["model"].items()}
        return {"anything": list(weights.values()), "state": {"opt": state["optimizer"]}, "np": state["rng"]["numpy"]}

    audit = audited(renamed)
    assert audit.leaves["model/0.weight"].keys == ("anything/0",)
    assert audit.leaves["optimizer/2.bias/exp_avg_sq"].status == SAVED
    assert audit.leaves["optimizer/2.bias/step"].status == SAVED
    assert audit.leaves["rng/numpy"].status == SAVED
    assert audit.leaves["rng/python"].status == ABSENT


def test_a_half_precision_copy_is_cast(audited):
    def halved(state):
        state["model"] = {name: value.bfloat16() for name, value in state["model"].items()}
        for moments in state["optimizer"]["state"].values():
            moments["exp_avg"] = moments["exp_avg"].half()

    audit = audited(halved)
    assert audit.leaves["model/0.weight"].status == CAST
    assert audit.how("model/0.weight") == "in the checkpoint in another dtype (bf16)"
    assert audit.how("optimizer/2.weight/exp_avg") == "in the checkpoint in another dtype (f16)"
    assert audit.leaves["optimizer/2.weight/exp_avg_sq"].status == SAVED


def test_values_of_another_moment_are_stale(run, audited):
    before = copy.deepcopy(run.state())
    for _ in range(2):
        run.step()
        torch.rand(1), np.random.random(), random.random()

    audit = audited(lambda state: before)
    for path in (
        "model/0.weight",
        "model/1.running_var",
        "optimizer/0.bias/exp_avg",
        "optimizer/0.bias/step",
        "optimizer/group.0/lr",
        "scheduler/last_epoch",
        "ema/2.weight",
        "rng/torch.cpu",
        "rng/numpy",
        "rng/python",
        "generator",
        "augment",
        "legacy",
        "shuffle",
        "epoch",
    ):
        assert audit.leaves[path].status == STALE, path
    assert audit.how("epoch") == "in the checkpoint with other values than the run had"


@pytest.mark.parametrize(
    "path, state, words",
    [
        ("progress/last", {"trainer": {"last": 100}}, "not in the checkpoint (its `trainer/last` has another value)"),
        ("a/last", {"globals.b.last": 1}, "not in the checkpoint (its `globals.b.last` has another value)"),
        ("progress/0", {"trainer": [100]}, "not in the checkpoint"),  # a position is no name
        ("progress/last", {"last": 100}, "in the checkpoint with other values than the run had"),
        ("progress/last", {"state": {"progress": {"last": 1}}}, "in the checkpoint with other values than the run had"),
        ("last", {"trainer": {"last": 100}}, "in the checkpoint with other values than the run had"),
        ("globals.helpers.last", {"last": 1}, "not in the checkpoint"),
        ("progress/last", {"trainer": {"first": 100}}, "not in the checkpoint"),
        ("progress/last", {"trainer": {"last": 3}}, "in the checkpoint as `trainer/last`"),
    ],
)
def test_the_last_part_of_a_name_alone_makes_no_key_a_leafs(tmp_path, path, state, words):
    torch.save(state, tmp_path / "file")
    live = Snapshot({path: SavedLeaf(path, "memory", digest(3), 3)})
    audit = audit_save(live, tmp_path / "file")
    assert audit.how(path) == words


def test_an_average_saved_as_the_model_is_misplaced(audited):
    audit = audited(lambda state: state | {"model": state["model"] | state["ema"]})
    assert audit.leaves["model/0.weight"].status == MISPLACED
    assert audit.how("model/0.weight") == "in the checkpoint with the values of `ema/0.weight`"
    assert audit.leaves["model/1.running_mean"].status == audit.leaves["ema/0.weight"].status == SAVED


def test_a_bare_state_dict_has_the_model_and_no_average_of_it(audited):
    audit = audited(lambda state: state["model"])
    assert audit.leaves["model/0.weight"].status == SAVED
    assert audit.leaves["ema/0.weight"].status == ABSENT
    assert audit.leaves["optimizer/0.weight/exp_avg"].status == ABSENT


def test_the_state_of_one_of_two_optimizers_is_not_taken_for_the_others(run, audited):
    run.second = torch.optim.AdamW(run.model.parameters(), lr=1e-2)
    audit = audited()
    assert audit.leaves["second/group.0/weight_decay"].status == ABSENT
    assert audit.leaves["optimizer/group.0/weight_decay"].status == SAVED


@pytest.mark.parametrize("form", [lambda r: r, lambda r: {"legacy": r["legacy"].get_state(legacy=False)}])
def test_generators_saved_whole_or_as_dicts_are_found(run, audited, form):
    kept = form({"augment": run.augment, "legacy": run.legacy, "shuffle": run.shuffle})
    audit = audited(lambda state: kept)
    assert all(audit.leaves[name].status == SAVED for name in kept)
    assert audit.leaves["rng/numpy"].status == ABSENT


def test_the_files_of_a_folder_are_one_checkpoint(run, tmp_path):
    live = Snapshot.capture(run_roots(run))
    (tmp_path / "files").mkdir()
    torch.save(run.model.state_dict(), tmp_path / "files" / "model.pt")
    torch.save(run.optimizer.state_dict(), tmp_path / "files" / "optimizer.pt")
    audit = audit_save(live, tmp_path / "files")
    assert audit.leaves["model/2.weight"].keys == ("model.pt/2.weight",)
    assert audit.leaves["optimizer/2.weight/exp_avg"].keys == ("optimizer.pt/state/4/exp_avg",)
    assert audit.leaves["epoch"].status == ABSENT


def test_folders_inside_and_json_are_read(run, tmp_path):
    (tmp_path / "step3" / "parts").mkdir(parents=True)
    torch.save(run.model.state_dict(), tmp_path / "step3" / "parts" / "model")
    (tmp_path / "step3" / "progress.json").write_text(json.dumps({"epoch": run.epoch}))
    (tmp_path / "step3" / "log.txt").write_text("three steps")
    audit = audit_save(Snapshot.capture(run_roots(run)), tmp_path)
    assert audit.problem == ""
    assert audit.leaves["model/0.weight"].keys == ("step3/parts/model/0.weight",)
    assert audit.leaves["epoch"].keys == ("step3/progress.json/epoch",)
    assert audit.leaves["generator"].status == ABSENT


def test_a_damaged_file_among_others_is_said_and_nothing_is_called_absent(run, tmp_path):
    torch.save(run.model.state_dict(), tmp_path / "model.pt")
    (tmp_path / "optimizer.pt").write_bytes(b"half a file")
    audit = audit_save(Snapshot.capture(run_roots(run)), tmp_path)
    assert "optimizer.pt" in audit.problem and audit.in_file("model/0.weight")
    assert audit.of(ABSENT) == () and audit.how("optimizer/0.weight/exp_avg") == ""
    torch.save(run.optimizer.state_dict(), tmp_path / "optimizer.pt")
    audit = audit_save(Snapshot.capture(run_roots(run)), tmp_path)
    assert audit.problem == "" and "epoch" in audit.of(ABSENT) and audit.in_file("optimizer/0.weight/exp_avg")


@pytest.mark.parametrize("whole", [True, False])
def test_what_hangs_on_an_object_of_the_run_is_found(run, tmp_path, whole):
    nested = SimpleNamespace(trainer=SimpleNamespace(net=run.model, opts={"main": run.optimizer}))
    state = {"net": run.model.state_dict()} | ({"main": run.optimizer.state_dict()} if whole else {})
    torch.save(state, tmp_path / "state.pt")
    audit = audit_save(Snapshot.capture(run_roots(nested)), tmp_path / "state.pt")
    assert audit.leaves["trainer/net/0.weight"].status == SAVED
    statuses = {kept.status for path, kept in audit.leaves.items() if path.startswith("trainer/opts/main/")}
    assert statuses == ({SAVED} if whole else {ABSENT})
    assert {"trainer/opts/main/net.0.weight/step", "trainer/opts/main/group.0/lr"} <= audit.leaves.keys()


def test_a_summary_tells_each_kind_of_leaf_once(run, audited):
    def spoilt(state):
        state["model"] = {name: value.bfloat16() for name, value in state["model"].items()}
        state["epoch"] = 1
        return without(without(state, "optimizer"), "generator")

    lines = audited(spoilt).summary()
    absent, stale, cast = lines
    assert absent.startswith("not in the file: ") and "6 × optimizer/*/exp_avg, 6 × optimizer/*/exp_avg_sq" in absent
    assert absent.endswith("augment/spawned, generator")
    assert stale == "in the file with other values: epoch"
    assert cast.startswith("in the file in another dtype: ") and "model/*.weight" in cast
    assert audited(spoilt).summary(only=["generator", "model/0.bias"]) == (
        "not in the file: generator",
        "in the file in another dtype: model/0.bias",
    )
    assert audited().summary() == ("not in the file: augment/spawned",)


@pytest.mark.parametrize("content", [b"", b"no checkpoint at all"])
def test_what_cannot_be_read_is_said(run, tmp_path, content):
    (tmp_path / "state.pt").write_bytes(content)
    live = Snapshot.capture(run_roots(run))
    audit = audit_save(live, tmp_path / "state.pt")
    assert audit.problem and not audit.leaves and audit.how("model/0.weight") == ""
    assert audit_save(live, tmp_path / "nothing.pt").problem
    torch.save({}, tmp_path / "whole.pt")
    assert audit_save(live, tmp_path / "whole.pt").problem == ""


class TestFolderOfARun:
    """What a run's earlier checkpoints hold is of another moment: a number that is equal there says nothing."""

    @pytest.mark.parametrize(
        "names", [("epoch0.pt", "epoch1.pt"), ("e0.pt", "e1.pt"), ("checkpoint-4.pt", "checkpoint-8.pt")]
    )
    def test_an_epoch_of_the_first_checkpoint_is_not_the_one_that_was_lost(self, tmp_path, names):
        for epoch, name in enumerate(names):
            torch.save({"model": {"weight": torch.ones(2)}, "epoch": epoch}, tmp_path / name)
        live = Snapshot.capture({"best": {"epoch": 0}, "epoch": 1})
        found = audit_save(live, tmp_path)
        assert found.leaves["epoch"].keys == (f"{names[1]}/epoch",)
        assert not found.in_file("best/epoch")

    def test_files_of_one_epoch_are_all_read(self, tmp_path):
        torch.save({"weight": torch.arange(3.0)}, tmp_path / "epoch1_model.pt")
        torch.save({"seen": 17}, tmp_path / "epoch1_counters.pt")
        found = audit_save(Snapshot.capture({"weight": torch.arange(3.0), "seen": 17}), tmp_path)
        assert found.in_file("weight") and found.in_file("seen")


def test_an_earlier_state_of_pythons_generator_is_found_whatever_its_key_says(audited):
    def renamed(state):
        random.seed(2)
        state["py"] = random.getstate()
        del state["rng"]["python"]
        for _ in range(3):
            random.random()
        return state

    def other(state):
        state["py"] = random.Random(8).getstate()
        del state["rng"]["python"]
        return state

    random.seed(2)
    for _ in range(3):
        random.random()
    status = audited(renamed).leaves["rng/python"]
    assert (status.status, status.draws) == (STALE, -6) and status.keys[0].startswith("py")
    assert audited(other).leaves["rng/python"].status == ABSENT


def test_a_copy_that_is_as_what_it_was_copied_from_is_not_in_the_file_by_that(run, audited):
    """The best weights so far, noted at this very save: at the next one the file will not have them."""
    run.best = {name: value.detach().clone() for name, value in run.model.state_dict().items()}
    found = audited().leaves
    assert {found[path].status for path in ("best/0.weight", "best/1.running_var")} == {ABSENT}
    assert found["model/0.weight"].keys[0].endswith("model/0.weight")
    kept = audited(lambda state: state.update(best=run.best)).leaves
    assert {kept[path].status for path in ("best/0.weight", "model/0.weight")} == {SAVED}


@pytest.mark.parametrize("factor", [0.0, 0.5])
def test_a_variable_that_holds_what_was_written_does_not_hide_that_the_moments_are_stale(run, audited, factor):
    """A loop that fills a dict and writes it has the dict still, under the very keys of the file."""

    def spoil(state):
        for moments in state["optimizer"]["state"].values():
            moments["exp_avg"] *= factor
        run.written = state

    live = audited(spoil)  # taken before the variable was there
    assert live.leaves["optimizer/0.bias/exp_avg"].status == STALE
    again = audited(lambda state: run.written)
    assert "written/optimizer/state/1/exp_avg" in again.leaves
    assert again.leaves["optimizer/0.bias/exp_avg"].status == STALE


def test_what_a_leaf_may_have_been_instead_is_looked_for_where_it_is_not_as_it_was(tmp_path):
    order = torch.Generator().manual_seed(1)
    torch.save({"order": order.get_state()}, tmp_path / "a.pt")
    before = Snapshot.capture({"order": order})
    torch.rand(3, generator=order)
    live = Snapshot.capture({"order": order})
    assert audit_save(live, tmp_path / "a.pt").leaves["order"].status == STALE
    assert str(audit_save(live, tmp_path / "a.pt", before.values()).leaves["order"]) == "in the checkpoint as `order`"
    torch.rand(3, generator=order)
    other = Snapshot.capture({"order": order})
    found = audit_save(live, tmp_path / "a.pt", other.values()).leaves["order"]
    assert (found.status, found.draws) == (STALE, -3)  # told of the state as it was
    torch.save({"order": live["order"].value, "epoch": before["order"].value}, tmp_path / "b.pt")
    assert audit_save(live, tmp_path / "b.pt", before.values()).leaves["order"].keys == ("order",)
