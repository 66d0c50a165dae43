"""A training that is one function, checked: its own saving, its local variables, the causes among them."""

import copy
import gc
import tempfile
from pathlib import Path

import pytest
import torch

import dora_repro
from dora_repro import BadInput, Verdict
from dora_repro.state.snapshot import Snapshot, run_roots
from tests.driving import trainings
from tests.driving.trainings import configured, train_model

pytest.importorskip("greenlet", reason="functions are suspended in greenlets")


def training(saves="optimizer best rng", **changes):
    return dora_repro.stepwise(train_model, configured(saves, **changes), resumed={"resume_from": "{newest}"})


def check(factory, steps=12, save_at=8, **options):
    return dora_repro.check(factory, steps=steps, save_at=save_at, **{"in_process": True, **options})


def final(run):
    while True:
        try:
            run.step()
        except StopIteration:
            return


def test_driven_from_outside_it_does_what_it_does_by_itself(tmp_path):
    train_model(configured(save_path=str(tmp_path)))
    run = training()()
    final(run)
    run.save(str(tmp_path / "driven"))
    for path in sorted(tmp_path.glob("epoch*.pt")):
        mine = torch.load(tmp_path / "driven" / path.name, weights_only=False)
        theirs = torch.load(path, weights_only=False)
        assert all(torch.equal(mine["model"][name], theirs["model"][name]) for name in theirs["model"])
        assert torch.equal(mine["rng"], theirs["rng"])
    assert (tmp_path / "driven" / "epoch4.pt").exists()


def test_a_right_resume_is_exact_and_what_marks_it_is_told_apart():
    report = check(training())
    assert report.verdict is Verdict.EXACT, report
    assert {"train_model/start_epoch", "train_model/resume_from"} <= {*report.set_aside.set_by_load}
    assert "Set while loading, and no loss" in str(report)


def test_a_lost_local_variable_is_the_cause_and_its_line_works():
    report = check(training("optimizer rng", delta=10.0), steps=20, save_at=8)
    assert report.verdict is Verdict.DIFFERENT and report.divergence.leaf == "run/finished"
    causes = {cause.name: cause for cause in report.explanation.causes}
    assert {*causes} <= {"train_model/best_loss", "train_model/patience_left"}
    assert causes["train_model/patience_left"].save == ('state["patience_left"] = patience_left',)
    assert causes["train_model/patience_left"].load == ('patience_left = checkpoint["patience_left"]',)
    assert report.explanation.lines_tried.restores


def test_what_is_lost_is_named_before_a_generator_that_was_restored_and_drawn_from_otherwise():
    training = dora_repro.stepwise(trainings.train_from_pool, "{out}", resumed={"resume_from": "{newest}"})
    names = [cause.name for cause in check(training, steps=6, save_at=3).explanation.causes]
    assert "pool" in names[0] and "rng/torch.cpu" in names[1:]


def test_lines_for_an_attribute_of_the_object_whose_method_trains_are_tried_on_that_object():
    report = check(dora_repro.stepwise(trainings.fit, "{out}", resumed={"resume_from": "{newest}"}), steps=6, save_at=3)
    (cause,) = report.explanation.causes
    assert cause.name == "fit/fit()/self/average" and cause.load == ('self.average = state["self/average"]',)
    assert report.explanation.lines_tried.restores


@pytest.mark.parametrize(
    ("saves", "phase", "cause"), [("best rng", "update", "exp_avg"), ("optimizer best", "batch", "rng/torch.cpu")]
)
def test_what_else_is_lost_is_named_as_of_any_run(saves, phase, cause):
    report = check(training(saves))
    assert report.verdict is Verdict.DIFFERENT and report.divergence.phase == phase
    assert any(cause in one.name for one in report.explanation.causes), report


def test_sides_in_processes_of_their_own():
    report = check(training("optimizer rng", delta=10.0), steps=20, save_at=8, in_process=False)
    assert report.verdict is Verdict.DIFFERENT
    assert "train_model/patience_left" in {cause.name for cause in report.explanation.causes}


def test_variables_of_functions_are_found_and_those_of_modules():
    trainings.SEEN.clear()
    run = training(counts=True)()
    for _ in range(5):
        run.step()
    leaves = Snapshot.capture(run_roots(run))
    assert {"train_model/best_loss", "train_model/train_epoch()/total", "globals.SEEN"} <= {*leaves}
    assert leaves["train_model/config/save_path"].value == "{out}"
    trainings.SEEN.clear()


def test_a_step_without_a_checkpoint_cannot_be_saved_at(tmp_path):
    run = training()()
    for _ in range(5):
        run.step()
    with pytest.raises(BadInput, match=r"wrote no checkpoint to \{out\} after 5 steps; .* save_at=4"):
        run.save(str(tmp_path / "x"))
    with pytest.raises(BadInput, match="after 0 steps: give save_at a step"):
        training()().save(str(tmp_path / "x"))


def accumulates(out, place="after", resume=None, keeps_gradients=False, every=5, micro=4):
    """Gradients of several batches, and a checkpoint every so many batches, written at a place of the loop."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 1))
    optimizer = torch.optim.AdamW(model.parameters(), 0.1)
    inputs, done = torch.randn(16, 4, 3), 0
    if resume is not None:
        given = torch.load(resume)
        model.load_state_dict(given["model"])
        optimizer.load_state_dict(given["optimizer"])
        done = given["done"]
        for parameter, gradient in zip(model.parameters(), given.get("gradients", []), strict=False):
            parameter.grad = gradient

    def save(now, done):
        if now == place and done and done % every == 0:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "done": done}
            if keeps_gradients:
                state["gradients"] = [parameter.grad for parameter in model.parameters()]
            torch.save(state, Path(out) / f"{done}.pt")

    while done < 16:
        save("before", done)
        loss = model(inputs[done]).square().mean()
        save("forward", done)
        loss.backward()
        done += 1
        save("backward", done)
        if done % micro == 0:
            optimizer.step()
            optimizer.zero_grad()
        save("after", done)


def accumulation(at="batch", **options):
    return dora_repro.stepwise(accumulates, "{out}", at=at, resumed={"resume": "{newest}"}, **options)


@pytest.mark.parametrize(
    ("at", "options", "save_at", "words"),
    [
        ("update", {}, 2, r"inside step 2, after 1 backward pass and before its update.*at='batch'\), with save_at=5"),
        ("update", {"place": "before"}, 3, r"inside step 3, after 2 backward passes .* with save_at=10"),
        ("update", {"place": "backward", "every": 4}, 1, "inside step 1, between its backward passes and its update"),
        ("update", {"place": "backward", "micro": 1}, 5, "inside step 5, between its backward pass and its update"),
        ("update", {"place": "forward", "micro": 1}, 6, "inside step 6, between its forward pass and its backward"),
        ("batch", {"place": "backward", "every": 4}, 4, "inside step 4, between its backward pass and its update"),
        ("batch", {}, 6, "no checkpoint to {out} after 6 steps; it did after 5 steps: save_at=5"),
        ("update", {"micro": 1}, 0, "after 0 steps: give save_at a step"),
    ],
)
def test_what_is_written_inside_a_step_is_of_no_step_and_its_own_sentence_says_so(at, options, save_at, words):
    with pytest.raises(BadInput, match=f"^accumulates\\(\\) w.*{words}"):
        check(accumulation(at, **options), steps=8, save_at=save_at)


def shows_samples(out):
    """Calls its model as it trains, for a look at it, and then writes its checkpoint."""
    model = torch.nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for epoch in range(3):
        for _ in range(2):
            optimizer.zero_grad()
            model(torch.ones(2, 3)).square().mean().backward()
            optimizer.step()
        model(torch.zeros(1, 3))
        torch.save(model.state_dict(), Path(out) / f"{epoch}.pt")


def test_a_call_that_looks_like_a_forward_pass_before_a_checkpoint_is_named():
    said = r"after 2 steps, nor after any before; shows_samples\(\) writes a checkpoint after it has called"
    with pytest.raises(BadInput, match="after 2 steps; nor before"):
        check(dora_repro.stepwise(shows_samples, "{out}"), steps=5, save_at=2)
    with pytest.raises(BadInput, match=said.replace("2 steps", "4 steps")):
        check(dora_repro.stepwise(shows_samples, "{out}"), steps=5, save_at=4)


def test_by_batches_gradients_that_were_lost_are_the_cause():
    report = check(accumulation(), steps=12, save_at=5)
    assert (report.verdict, report.divergence.step, report.divergence.phase) == (Verdict.DIFFERENT, 6, "backward")
    assert [cause.role for cause in report.explanation.causes] == ["gradient"]


@pytest.mark.parametrize(
    ("at", "options", "save_at"),
    [
        ("batch", {"keeps_gradients": True}, 5),
        ("batch", {"every": 8}, 8),
        ("update", {"every": 8}, 2),
        ("update", {"every": 8, "place": "before"}, 2),
    ],
)
def test_gradients_that_are_kept_or_that_there_are_none_of_at_a_save_make_it_exact(at, options, save_at):
    report = check(accumulation(at, **options), steps=save_at + 4 if at == "batch" else 3, save_at=save_at)
    assert report.verdict is Verdict.EXACT and not report.latent, report


def test_the_last_batch_is_a_step_though_no_update_follows_it():
    run = accumulation(micro=5)()
    for _ in range(16):
        run.step()
    with pytest.raises(StopIteration):
        run.step()


def counts_anew(out, resume=None):
    """Writes its checkpoints by a count that begins anew where it resumes."""
    torch.manual_seed(0)
    model, done = torch.nn.Linear(3, 1), 0
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    if resume is not None:
        given = torch.load(resume)
        model.load_state_dict(given["model"])
        done = given["done"]
    for own in range(1, 9):
        optimizer.zero_grad()
        model(torch.ones(2, 3)).square().mean().backward()
        optimizer.step()
        if own in (2, 3):
            torch.save({"model": model.state_dict(), "done": done + own}, Path(out) / f"{own}.pt")


def test_a_resumed_run_that_writes_none_where_it_is_to_be_saved_says_so():
    said = r"^counts_anew\(\) wrote no checkpoint to \{out\} after 1 step of the run that was resumed; nor before$"
    with pytest.raises(BadInput, match=said):
        dora_repro.twice(
            dora_repro.stepwise(counts_anew, "{out}", resumed={"resume": "{newest}"}), 6, [2, 3], in_process=True
        )


def test_arguments_that_say_no_folder_are_refused():
    with pytest.raises(BadInput, match="no argument says where it writes"):
        dora_repro.stepwise(train_model, {"save_path": "out"})
    with pytest.raises(BadInput, match="at='epoch'"):
        dora_repro.stepwise(train_model, configured(), at="epoch")
    with pytest.raises(BadInput, match="no parameter 'resume'"):
        dora_repro.stepwise(finds_by_itself, "{out}", resumed={"resume": "{newest}"})


def finds_by_itself(out):
    found = sorted(Path(out).glob("*.pt"))
    train_model(configured(save_path=out), resume_from=found[-1] if found else None)


def test_the_arguments_of_a_training_stay_as_they_were_given(tmp_path):
    config = configured()
    made = dora_repro.stepwise(train_model, config, resumed={"resume_from": "{newest}", "epochs": 7})
    run = made()
    for _ in range(4):
        run.step()
    run.save(str(tmp_path / "saved"))
    made.resume(str(tmp_path / "saved"))
    assert config == configured()


def test_a_function_that_finds_its_checkpoint_by_itself():
    assert check(dora_repro.stepwise(finds_by_itself, "{out}")).verdict is Verdict.EXACT


def test_a_function_of_the_folder_resumes_in_its_place():
    def resumed(out):
        train_model(configured(save_path=out), resume_from=f"{out}/epoch1.pt")

    assert check(dora_repro.stepwise(train_model, configured(), resumed=resumed)).verdict is Verdict.EXACT


def test_a_folder_without_a_checkpoint_is_refused(tmp_path):
    with pytest.raises(BadInput, match="there is no checkpoint in its folder"):
        training().resume(str(tmp_path))


def test_the_folder_of_a_run_goes_with_it_and_what_was_saved_stays(tmp_path):
    run = training()()
    for _ in range(4):
        run.step()
    run.save(str(tmp_path / "saved"))
    folders = set(Path(tempfile.gettempdir()).glob("dora-repro-stepwise-*"))
    del run
    gc.collect()
    left = set(Path(tempfile.gettempdir()).glob("dora-repro-stepwise-*"))
    assert len(folders - left) >= 1 and (tmp_path / "saved" / "epoch0.pt").exists()


def averaged(out):
    """A copy of the model that follows it, and names for single parameters. The copy is saved, and not loaded."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 1))
    average = copy.deepcopy(model)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    first_step = 0
    if found := sorted(Path(out).glob("*.pt"), key=lambda path: int(path.stem)):
        state = torch.load(found[-1])
        model.load_state_dict(state["model"])
        first_step = state["step"]
    inputs = torch.randn(4, 3)
    for step in range(first_step, 6):
        loss = model(inputs).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for theirs, own in zip(average.parameters(), model.parameters(), strict=True):
                theirs.lerp_(own, 0.5)
        state = {"model": model.state_dict(), "average": average.state_dict(), "step": step + 1}
        torch.save(state, Path(out) / f"{step + 1}.pt")


def test_a_lost_average_has_its_line_whatever_else_refers_to_parameters_and_the_file_is_no_loss():
    report = check(dora_repro.stepwise(averaged, "{out}"), steps=5, save_at=3)
    assert report.verdict is Verdict.LATENT
    assert report.comparisons[0].equal, "a loop variable gives a parameter no other name"
    (loads,) = {line for cause in report.explanation.causes for line in cause.load}
    assert loads.startswith('average.load_state_dict(state["average"]') and report.explanation.lines_tried.restores
    assert "rounded" not in str(report)


def test_of_a_function_that_has_returned_the_end_is_not_called_equal():
    """The average is lost, and no step works with it: while the function runs, its variables tell."""
    ended = check(dora_repro.stepwise(averaged, "{out}"), steps=6, save_at=3)
    assert ended.verdict is Verdict.EXACT
    assert "averaged() has returned, its state at the end is not compared: check fewer steps" in ended.reason
    assert "so is the state at the end" not in str(ended)


def leaves_behind(out, resume=None, keeps=True):
    """An early stop by epochs: the last validation loss and group stay in variables until the next epoch's end."""
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    inputs, best, first_epoch = torch.randn(9, 2, 3), float("inf"), 0
    if resume is not None:
        given = torch.load(resume)
        model.load_state_dict(given["model"])
        optimizer.load_state_dict(given["optimizer"])
        first_epoch, best = given["epoch"], given.get("best", best)
    for epoch in range(first_epoch, 4):
        for batch in inputs:
            optimizer.zero_grad()
            model(batch).square().mean().backward()
            optimizer.step()
        with torch.no_grad():
            val = model(inputs).square().mean().item()
        best = min(best, val)
        for group in optimizer.param_groups:
            group["lr"] *= 0.5
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch + 1}
        torch.save({**state, "best": best} if keeps else state, Path(out) / f"{epoch}.pt")


def test_what_the_last_epoch_left_in_variables_that_the_next_sets_anew_is_no_loss():
    resumed = {"resume": "{newest}"}
    report = check(dora_repro.stepwise(leaves_behind, "{out}", resumed=resumed), steps=12, save_at=9)
    assert report.verdict is Verdict.EXACT, report
    assert {"leaves_behind/val", "leaves_behind/group"} <= {*report.set_aside.overwritten}
    assert "Given another value before it is read; not counted: " in str(report)
    lost = check(dora_repro.stepwise(leaves_behind, "{out}", keeps=False, resumed=resumed), steps=12, save_at=9)
    assert (lost.verdict, lost.latent) == (Verdict.LATENT, ("leaves_behind/best",))
    assert [cause.name for cause in lost.causes] == ["leaves_behind/best"]


def evaluates_first(out, resume=None):
    """Restores its generator, and then draws from it for an evaluation before its first step, as nanoGPT does."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Dropout(0.5), torch.nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    inputs, done = torch.randn(4, 3), 0
    if resume is not None:
        given = torch.load(resume)
        model.load_state_dict(given["model"])
        done = given["done"]
        torch.set_rng_state(given["rng"])
    while done < 8:
        if done % 2 == 0:
            torch.rand(5)
            torch.save(
                {"model": model.state_dict(), "done": done, "rng": torch.get_rng_state()}, Path(out) / f"{done}.pt"
            )
        optimizer.zero_grad()
        model(inputs).square().mean().backward()
        optimizer.step()
        done += 1


def test_a_generator_that_is_drawn_from_after_it_was_restored_belongs_where_these_draws_are_over():
    report = check(dora_repro.stepwise(evaluates_first, "{out}", resumed={"resume": "{newest}"}), steps=6, save_at=4)
    (cause,) = report.causes
    assert (cause.name, cause.how.partition(";")[0]) == ("rng/torch.cpu", "5 draws ahead")
    assert report.explanation.lines_tried.restores
    assert "in evaluates_first(), once, right before its first forward pass after resuming (after all" in str(report)


def keeps_best(out):
    """Restores what it noted of its files only where they are still in the same folder, as Lightning does."""
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    first_step, best, best_path = 0, float("inf"), None
    if found := sorted(Path(out).glob("*.pt"), key=lambda path: int(path.stem)):
        state = torch.load(found[-1])
        model.load_state_dict(state["model"])
        first_step = state["step"]
        if state["folder"] == out:
            best, best_path = state["best"]
    inputs = torch.randn(4, 3)
    for step in range(first_step, 6):
        loss = model(inputs).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for group in optimizer.param_groups:
            group["lr"] *= 0.9
        path = Path(out) / f"{step + 1}.pt"
        if loss.item() < best:
            best, best_path = loss.item(), str(path)
        state = {"model": model.state_dict(), "step": step + 1, "folder": out, "best": (best, best_path)}
        torch.save(state, path)


def test_what_a_function_noted_of_its_own_folder_is_true_where_it_resumes():
    report = check(dora_repro.stepwise(keeps_best, "{out}"), steps=5, save_at=3)
    lost = {difference.path for difference in report.comparisons[0].differences}
    assert not {path for path in lost if "best" in path}
    assert report.divergence.leaf == "keeps_best/optimizer/group.0/lr", "no local variable names a group"


def test_batches_that_a_thread_fetches_ahead_are_seen_and_found_as_the_cause():
    def training(keeps):
        return dora_repro.stepwise(trainings.train_ahead, "{out}", resumed={"resume_from": "{newest}"}, keeps=keeps)

    assert check(training(True), steps=10, save_at=6).verdict is Verdict.EXACT
    report = check(training(False), steps=10, save_at=6)
    assert (report.divergence.step, report.divergence.phase) == (7, "batch"), report
    assert [cause.name for cause in report.explanation.causes] == ["data/batches"], report
    assert "drawn from `order`" in report.causes[0].advice[0]
    assert "an earlier state of it, `epoch1.pt/order`" in report.causes[0].advice[0]
