"""What a checkpoint file holds, the study's file, and files that do not fit: nothing is changed then."""

import copy
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dora_repro.checkpoint import layouts, reading, writing
from dora_repro.errors import BadInput
from dora_repro.subject.checkpoints import Loaded
from dora_repro.subject.config import PARTS, TrainingConfig
from dora_repro.subject.training import TrainingRun
from tests.subject.reference import as_bytes, end_of, finish

QUICK = TrainingConfig(data="synthetic", batch_size=4, text_dora=0)


@pytest.fixture
def run() -> TrainingRun:
    run = TrainingRun(QUICK)
    finish(run, 2)
    return run


def rewrite(path, change) -> None:
    content = reading.read(path)
    change(content)
    writing.write(path, content)


@pytest.mark.parametrize(
    "choice", ["complete", "dora", "dora+optimizer", "dora+optimizer+rng", "data+progress", "scheduler"]
)
def test_a_checkpoint_holds_the_parts_chosen(tmp_path, choice):
    run = TrainingRun(replace(QUICK, checkpoint=choice))
    run.save(tmp_path / "a.pt")
    content = reading.read(tmp_path / "a.pt")
    chosen = PARTS if choice == "complete" else tuple(choice.split("+"))
    assert tuple(content) == ("format", "contains", *chosen)
    assert content["format"] == "dora_repro/1"
    assert tuple(content["contains"]) == chosen
    loaded = TrainingRun(QUICK).load(tmp_path / "a.pt")
    assert loaded.restored == chosen
    assert set(loaded.absent) == set(PARTS) - set(chosen)


def test_any_torch_reads_a_checkpoint_without_running_code(tmp_path, run):
    run.save(tmp_path / "a.pt")
    content = torch.load(tmp_path / "a.pt", weights_only=True)
    name = "clip_model.vision_model.encoder.layers.2.self_attn.out_proj.m"
    assert torch.equal(content["dora"][name], run.model.get_parameter(name))
    assert set(content["optimizer"]["state"]) == set(content["dora"])
    assert content["progress"]["steps_done"] == 2


def test_saving_changes_nothing_and_what_was_written_does_not_change(tmp_path, run):
    before = end_of(run)
    run.save(tmp_path / "a.pt")
    assert end_of(run) == before
    content = as_bytes(reading.read(tmp_path / "a.pt"))
    run.step()
    assert as_bytes(reading.read(tmp_path / "a.pt")) == content
    assert end_of(run) != before


def test_outputs_and_validation_change_nothing():
    run = TrainingRun(TrainingConfig(batch_size=4, validation_share=0.01))
    run.step()
    run.model.clip_model.vision_model.eval()  # a mode of its own for some modules
    modes = [module.training for module in run.model.modules()]
    before = end_of(run)
    assert torch.equal(run.outputs(), run.outputs())
    assert run.outputs().shape == (8, 66)
    assert run.validation_loss() == run.validation_loss()
    assert end_of(run) == before
    assert [module.training for module in run.model.modules()] == modes
    assert set(modes) == {True, False}


# --- the study's file


def test_dora_only_is_exactly_the_study_s_file(tmp_path, run):
    run = TrainingRun(replace(QUICK, checkpoint="dora-only"))
    run.step()
    run.save(tmp_path / "epoch1_dora_params.pth")
    content = torch.load(tmp_path / "epoch1_dora_params.pth", weights_only=True)
    assert list(content) == [
        f"clip_model.visual.transformer.resblocks.{block}.attn.out_proj.{name}"
        for block in (1, 2)
        for name in ("m", "delta_D_A", "delta_D_B")
    ]
    assert content["clip_model.visual.transformer.resblocks.1.attn.out_proj.delta_D_A"].shape == (4, 64)
    assert content["clip_model.visual.transformer.resblocks.1.attn.out_proj.delta_D_B"].shape == (64, 4)
    other = TrainingRun(QUICK)  # told by the name that an epoch is done
    assert other.load(tmp_path / "epoch1_dora_params.pth") == Loaded(("dora",), PARTS[1:], ())
    assert end_of(other)["dora"] == end_of(run)["dora"]
    assert (other.epoch, other.steps_done, other.step_in_epoch) == (1, 1, 0)


def test_the_study_s_two_files_restore_parameters_and_random_states(tmp_path, run):
    path, states = run.save_study(tmp_path)
    expected = torch.rand(3), np.random.rand(3).tolist(), random.random()
    assert [path.name, states.name] == [f"epoch{run.epoch}_dora_params.pth", f"epoch{run.epoch}_random_states.pth"]
    other = TrainingRun(QUICK)
    assert other.load(path).restored == ("dora", "rng")
    assert end_of(other)["dora"] == end_of(run)["dora"]
    assert torch.equal(torch.rand(3), expected[0])
    assert (np.random.rand(3).tolist(), random.random()) == expected[1:]
    states.unlink()
    assert TrainingRun(QUICK).load(path).restored == ("dora",)


def test_a_file_that_the_study_wrote_is_loaded(tmp_path, run):
    dora = {name: value.detach() for name, value in run.model.named_parameters() if value.requires_grad}
    path, _ = layouts.write_study(tmp_path, 1, dora)
    other = TrainingRun(QUICK)
    other.load(path)
    assert end_of(other)["dora"] == end_of(run)["dora"]


def test_a_partial_file_loads_what_it_has_and_says_what_it_lacks(tmp_path, run):
    run = TrainingRun(replace(QUICK, checkpoint="dora-only"))
    run.step()
    path = tmp_path / "a.pth"
    run.save(path)
    lost = "clip_model.visual.transformer.resblocks.2.attn.out_proj.m"
    rewrite(path, lambda content: content.pop(lost))
    other = TrainingRun(QUICK)
    before = other.model.get_parameter(layouts.model_name(lost)).clone()
    with pytest.warns(
        UserWarning,
        match=r"lacks 1 DoRA parameter, left unchanged: .*layers\.2\.self_attn\.out_proj\.m",
    ):
        assert other.load(path).missing == (layouts.model_name(lost),)
    assert torch.equal(other.model.get_parameter(layouts.model_name(lost)), before)
    kept = layouts.model_name(lost).replace("layers.2", "layers.1")
    assert torch.equal(other.model.get_parameter(kept), run.model.get_parameter(kept))


# --- files that do not fit

PLACE = "clip_model.vision_model.encoder.layers.2.self_attn.out_proj.m"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda file: file["dora"].update({PLACE: torch.zeros(3)}),
            r"out_proj\.m has the shape \(3,\), the model's has \(64,\)",
        ),
        (
            lambda file: file["dora"].update({"clip_model.x": torch.zeros(3)}),
            "'clip_model.x', which this model does not train",
        ),
        (lambda file: file["dora"].update({PLACE: "text"}), "has the shape str"),
        (lambda file: file["dora"].clear(), "holds no DoRA parameter at all"),
        (
            lambda file: file.update(format="dora_repro/9"),
            "has the format 'dora_repro/9'; this version reads 'dora_repro/1'",
        ),
        (lambda file: file.update(surprise=1), "holds parts that are not known: surprise"),
        (lambda file: file.pop("rng"), "says that it holds rng, and does not"),
        (lambda file: file["optimizer"].update(kind="SGD"), "holds the state of SGD, and this run has AdamW"),
        (
            lambda file: file["optimizer"]["groups"][0]["params"].pop(),
            "the optimizer's state is of other parameters",
        ),
        (
            lambda file: file["optimizer"]["state"][PLACE].update(exp_avg=torch.zeros(9)),
            r"out_proj\.m/exp_avg has the shape \(9,\)",
        ),
        (
            lambda file: file["progress"].update(steps_done=9),
            r"has done 9 steps in 2 epochs, and an epoch .* has 1;",
        ),
        (lambda file: file["progress"].pop("epoch"), "is no whole checkpoint of a training run .*epoch"),
        (lambda file: file["rng"].pop("numpy"), "is no whole checkpoint of a training run .*numpy"),
        (lambda file: file["rng"].update(torch=torch.zeros(5, dtype=torch.uint8)), "is no whole checkpoint"),
        (lambda file: file["rng"]["numpy"].update(kind="XYZ"), "is no whole checkpoint"),
        (
            lambda file: file["data"].update(taken=1),
            "it stands after batch 1 of an epoch, and an epoch has 1 here",
        ),
        (
            lambda file: file["data"].update(order=torch.arange(9)),
            "its order is of 9 samples, and here are 4",
        ),
        (
            lambda file: file["data"].update(order=torch.ones(4, dtype=torch.int64)),
            "its order of samples is no permutation",
        ),
        (
            lambda file: file.update(scheduler={"last_epoch": 1}),
            "was saved with a scheduler; this run has scheduler='none'",
        ),
    ],
)
def test_a_file_that_does_not_fit_is_refused_and_nothing_is_changed(tmp_path, whole, other, change, words):
    path = tmp_path / "a.pt"
    content = copy.deepcopy(whole)
    change(content)
    writing.write(path, content)
    before = end_of(other)
    with pytest.raises(BadInput, match=words) as caught:
        other.load(path)
    assert "a.pt" in str(caught.value)
    assert end_of(other) == before


def test_the_same_file_unchanged_is_taken_and_does_change_the_run(tmp_path, whole):
    run = TrainingRun(QUICK)
    before = end_of(run)
    writing.write(tmp_path / "a.pt", whole)
    run.load(tmp_path / "a.pt")
    assert end_of(run) != before


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict:
    """The content of a complete checkpoint, after two steps."""
    run = TrainingRun(QUICK)
    finish(run, 2)
    path = tmp_path_factory.mktemp("whole") / "a.pt"
    run.save(path)
    return reading.read(path)


@pytest.fixture(scope="module")
def other() -> TrainingRun:
    """A run that has trained a step, into which nothing must get."""
    run = TrainingRun(QUICK)
    run.step()
    return run


def test_files_that_are_no_checkpoints_are_refused(tmp_path, run):
    def refused(words: str) -> None:
        with pytest.raises(BadInput, match=words):
            run.load(tmp_path / "a.pt")

    refused("a.pt")  # missing
    torch.save([1, 2], tmp_path / "a.pt")
    refused("holds a list, no checkpoint of a training run")
    torch.save({"weight": torch.zeros(3)}, tmp_path / "a.pt")
    refused("is neither a checkpoint of this kit nor the study's file of DoRA parameters")
    run.save(tmp_path / "a.pt")
    Path(tmp_path / "a.pt").write_bytes(Path(tmp_path / "a.pt").read_bytes()[:2000])
    refused("a.pt")


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(BadInput, match=r"device='cuda:77' cannot be used: .*; 'cpu' always can"):
        TrainingRun(replace(QUICK, device="cuda:77"))
    with pytest.raises(BadInput, match="device='gpu' cannot be used"):
        TrainingRun(replace(QUICK, device="gpu"))


ODD = (
    None, True, 0, -1, 3, 10**30, -(10**30), 1.5, float("nan"), 1e300, "", "text", b"bytes", [], [1], [None], {},
    {"a": 1}, {1: torch.ones(2)}, (), (1, 2), 1j, torch.tensor(1.0), torch.ones(2), torch.zeros(0),
    torch.ones(3, 3).long(), torch.ones(2, dtype=torch.complex64), torch.tensor(True),
    torch.arange(5, dtype=torch.uint8),
)  # fmt: skip  # values that belong nowhere


def places(data, at=()):
    """The way to every value, through the first and last of long lists."""
    yield at
    if isinstance(data, dict):
        for key, value in data.items():
            yield from places(value, (*at, key))
    elif isinstance(data, (list, tuple)):
        for index in sorted({0, 1, len(data) - 1} & set(range(len(data)))):
            yield from places(data[index], (*at, index))


def with_value(data, at, value):
    """A copy with another value at one place."""
    if not at:
        return value
    first, *rest = at
    if isinstance(data, dict):
        return {**data, first: with_value(data.get(first), rest, value)}
    return type(data)([*data[:first], with_value(data[first], rest, value), *data[first + 1 :]])


def odd_values(old, choose: random.Random):
    """A value of another kind; for a tensor often itself in another form."""
    if not isinstance(old, torch.Tensor) or choose.random() < 0.5:
        return choose.choice(ODD)
    forms = (
        old.double(),
        old.to(torch.complex64),
        old.reshape(-1)[:-1],
        old[None],
        old.bool(),
        torch.full_like(old, 7),
    )
    return choose.choice(forms)


def otherwise_built(content, choose: random.Random):
    """A copy in which one container has other keys, another order or is of another type."""
    held = [(at, value_at(content, at)) for at in places(content)]
    at, old = choose.choice([each for each in held if isinstance(each[1], (dict, list, tuple)) and each[1]])
    pairs = list(old.items()) if isinstance(old, dict) else list(enumerate(old))
    index = choose.randrange(len(pairs))
    key, value = pairs[index]
    what = choose.randrange(6)
    if what == 0:
        del pairs[index]
    elif what == 1:
        pairs[index] = choose.choice(("x", "", 0, None, 1.5, (1,), b"k", f"{key} ")), value
    elif what == 2:
        pairs.append((choose.choice(("x", 0, None, 1.5, b"k")), choose.choice(ODD)))
    elif what == 3:
        pairs.reverse()
    else:
        pairs[index] = key, choose.choice(pairs)[1]
    values = [value for _, value in pairs]
    kind = choose.choice((type(old), dict, list, tuple)) if what == 5 else type(old)
    return at, with_value(content, at, dict(pairs) if kind is dict else kind(values))


def value_at(data, at):
    """What lies at one place."""
    for key in at:
        data = data[key]
    return data


@pytest.mark.parametrize("schedule, optimizer", [("cosine", "adamw"), ("warmup", "sgd")])
# A file may be without a parameter, which is then left as it was.
@pytest.mark.filterwarnings("ignore:.* lacks .* DoRA parameter:UserWarning")
# torch warns of an index by a list before it refuses it.
@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence:UserWarning")
@pytest.mark.parametrize("seed, count", [(4, 60), pytest.param(5, 1000, marks=pytest.mark.nightly)])
def test_a_changed_file_is_refused_before_anything_changes_or_training_goes_on(
    tmp_path, seed, count, schedule, optimizer
):
    """Checkpoints with an odd value or container: none is half loaded, none lets a later step or save raise."""
    config = replace(QUICK, scheduler=schedule, optimizer=optimizer, epochs=9)
    saved = TrainingRun(config)
    finish(saved, 3)
    saved.save(tmp_path / "good.pt")
    content = torch.load(tmp_path / "good.pt", weights_only=True)
    choose, run = random.Random(seed), TrainingRun(config)
    finish(run, 1)
    refused = 0
    for _ in range(count):
        if choose.random() < 0.4:
            at, odd = otherwise_built(content, choose)
        else:
            at = choose.choice(list(places(content)))
            odd = with_value(content, at, odd_values(value_at(content, at), choose))
        torch.save(odd, tmp_path / "odd.pt")
        before = as_bytes(end_of(run))
        try:
            run.load(tmp_path / "odd.pt")
        except BadInput as error:
            assert "odd.pt" in str(error) and as_bytes(end_of(run)) == before, at
            refused += 1
        else:
            assert run.finished or [run.step() for _ in range(3)]
            run.save(tmp_path / "again.pt")
            run = TrainingRun(config)
            finish(run, 1)
    assert count / 2 < refused < count
    run.load(tmp_path / "good.pt")
    finish(run, 3)


SPOILT = {
    "a schedule that is a number": (("scheduler",), 3),
    "a rate beyond all numbers at the schedule's next step": (("scheduler", "eta_min"), 1e300),
    "an option that cannot be saved again": (("optimizer", "groups", 0, b"option"), 1),
    "a step that is a text": (("optimizer", "state", 0, "step"), "text"),
    "moments that are a number": (("optimizer", "state", 0, "exp_avg"), 1.0),
    "an option of another kind": (("optimizer", "groups", 0, "betas"), (0.9, "text")),
    "a beta that no optimizer takes": (("optimizer", "groups", 0, "betas"), (0.9, -1.0)),
    "a loss in a list": (("progress", "best_validation_loss"), [None]),
    "a rate beyond all numbers": (("optimizer", "groups", 0, "lr"), 10**300),
    "parts in a list": (("contains", 0), ["dora"]),
    "a position beyond all": (("rng", "numpy", "position"), 10**30),
    "a position outside": (("rng", "numpy", "position"), 700),
    "losses that are none": (("progress", "losses"), 1.0),
    "a format that is an array": (("format",), torch.ones(2)),
    "an order of fractions": (("data", "order"), torch.ones(4)),
}


@pytest.mark.parametrize("at, value", SPOILT.values(), ids=SPOILT)
def test_values_that_were_once_loaded_are_refused(at, value, tmp_path, run):
    config = replace(QUICK, scheduler="cosine")
    saved = TrainingRun(config)
    finish(saved, 2)
    saved.save(tmp_path / "a.pt")
    content = torch.load(tmp_path / "a.pt", weights_only=True)
    first = next(iter(content["optimizer"]["state"]))
    at = tuple(first if key == 0 and at[1:2] == ("state",) else key for key in at)
    torch.save(with_value(content, at, value), tmp_path / "a.pt")
    before = as_bytes(end_of(saved))
    with pytest.raises(BadInput, match=r"a\.pt"):
        saved.load(tmp_path / "a.pt")
    assert as_bytes(end_of(saved)) == before
