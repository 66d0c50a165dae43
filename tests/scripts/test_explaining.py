"""Why a resumed script differs: proved by launching it again with state of the uninterrupted run put in."""

import pytest

from dora_repro.explain.candidates import Discrepancy
from dora_repro.explain.explanation import Cause, Explanation
from dora_repro.explain.trials.search_result import SearchResult
from dora_repro.explain.trials.trial import DATA, Outcome, Trial, TrialResult
from dora_repro.scripts import explaining
from dora_repro.scripts.checking import check_script
from dora_repro.scripts.trying import Tried
from dora_repro.trace import Divergence
from tests.scripts.trainings import TRAIN, commands


def test_a_lost_optimizer_is_the_cause_and_its_line_is_advised(tmp_path):
    run, resume = commands(tmp_path, more="--lose optimizer")
    report = check_script(run, resume, kill_after=4)
    (cause,) = report.causes
    assert cause.name == "main/optimizer/*/{step, exp_avg, exp_avg_sq}"
    assert [line for _, line in report.explanation.lines.load] == ['optimizer.load_state_dict(state["optimizer"])']
    assert report.explanation.proved and report.explanation.confirmed
    assert report.explanation.lines_tried.restores
    assert any("whose files stay as they are: those of load just before train.py:" in each for each in cause.advice)
    assert not any("In main()" in each or "variables" in each for each in cause.advice)  # the headings name it
    read = next(n for n, line in enumerate(TRAIN.splitlines(), 1) if "torch.load(" in line)
    assert any(f"read at train.py:{read}, in main() (`state = torch.load(" in each for each in cause.advice)


def _changed(text, *pairs):
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    return text


_SKIP = """        for i, (images, labels) in enumerate(loader):
            if i < skip and epoch == start:
                continue
"""
_SAVE = """            optimizer.step()
            if epoch == 1 and i == 1:
                state = {'model': model.state_dict(), 'optimizer': optimizer.state_dict(), 'epoch': 1, 'i': 2}
                torch.save({**state, 'best': best, 'rng': torch.get_rng_state()}, f'{args.out}/middle.pt')
"""
MIDDLE = _changed(
    TRAIN,
    ("        for images, labels in loader:\n", _SKIP),
    ("    start, best = 0, 1e9", "    start, best, skip = 0, 1e9, 0"),
    ('        start = state["epoch"]\n', '        start, skip = state["epoch"], state["i"]\n'),
    ("            optimizer.step()\n", _SAVE),
)
"""Saves in the middle of the second epoch, with the generator as it is then."""


def test_an_order_that_was_drawn_before_the_save_is_found_at_the_loader(tmp_path):
    run, resume = commands(tmp_path, MIDDLE)
    report = check_script(run, resume.replace("{newest}", "{out}/middle.pt"), kill_after=5)
    assert report.summary == "DIFFERENT: first differs at step 6, phase batch, batch/0"
    assert [cause.name for cause in report.causes] == ["rng/draws"]
    assert "order of the batches" in report.causes[0].how
    loop = next(n for n, line in enumerate(MIDDLE.splitlines(), 1) if "in enumerate(loader)" in line)
    assert f"begins (train.py:{loop}, in main()): `epoch_rng" in report.causes[0].advice[0]
    assert "written at train.py:" in report.causes[0].advice[1] and "read at train.py:" in report.causes[0].advice[1]


def test_a_script_without_functions_is_named_by_its_file(tmp_path):
    lines = TRAIN.replace("\n\nmain()\n", "\n").partition("def main():\n")
    flat = lines[0] + "\n".join(line.removeprefix("    ") for line in lines[2].splitlines())
    run, resume = commands(tmp_path, flat, more="--lose optimizer")
    report = check_script(run, resume, kill_after=4)
    (cause,) = report.causes
    assert all(leaf.startswith("train.py/optimizer/") for leaf in cause.leaves)
    assert [line for _, line in report.explanation.lines.load] == ['optimizer.load_state_dict(state["optimizer"])']
    assert report.explanation.script[0].startswith("train.py:")
    assert not any("the lines of save belong" in sentence for sentence in cause.advice)


HELPER = _changed(
    TRAIN,
    ("\n\ndef main():", "\n\ndef write(state, path):\n    torch.save(state, path)\n\n\ndef main():"),
    ("        torch.save({**state,", "        write({**state,"),
    (', "optimizer": optimizer.state_dict()', ""),
)


def test_where_a_helper_writes_it_is_told_whose_variables_the_lines_name(tmp_path):
    run, resume = commands(tmp_path, HELPER, more="--lose optimizer")
    report = check_script(run, resume, kill_after=4)
    (cause,) = report.causes
    assert "in write()" in report.explanation.script[0] and report.explanation.lines_tried.restores
    assert "The variables that these lines name are those of main()." in cause.advice


ANEW = MIDDLE.replace("if i < skip and epoch == start:", "if i < skip and args.lose != 'place':")
SEEDED = ANEW.replace("        for i, (images", "        torch.manual_seed(epoch)\n        for i, (images").replace(
    "nn.Dropout(0.2), ", ""
)


@pytest.mark.parametrize(
    ("text", "causes"), [(ANEW, ["data/position", "rng/draws"]), (SEEDED, ["data/position"])], ids=["drawn", "seeded"]
)
def test_an_epoch_that_begins_anew_is_proved_by_passing_over_what_had_been_used(tmp_path, text, causes):
    run, resume = commands(tmp_path, text, more="--lose place")
    report = check_script(run, resume.replace("{newest}", "{out}/middle.pt"), kill_after=5)
    assert [cause.name for cause in report.causes] == causes
    assert report.causes[0].how == "the epoch began anew: the 2 batches that had been used were not passed over"
    loop = next(n for n, line in enumerate(text.splitlines(), 1) if "in enumerate(loader)" in line)
    assert f"before the first that is trained on (train.py:{loop}, in main())" in report.causes[0].advice[0]
    assert not any("a different number of random numbers" in each for cause in report.causes for each in cause.advice)


def tried(names, step, phase="forward", outcome=Outcome.DIFFERENT):
    return Trial(frozenset(names)), TrialResult(outcome, Divergence(step, phase, "outputs/model", "value"))


def test_what_accounts_for_the_first_steps_alone_is_told():
    nothing, fed = tried((), 16, "batch"), tried(("rng/torch.cpu", DATA), 25)
    found = SearchResult(candidates={"rng": ("rng/torch.cpu",)})
    lost = Discrepancy(nothing[1].divergence)
    found.trials += [nothing, tried(("rng/torch.cpu",), 16), fed, tried(("a", "rng/torch.cpu", DATA), 25)]
    words = "with rng/torch.cpu and the batches put back, steps 16 to 24 repeat the uninterrupted run; "
    assert [*explaining._came_furthest(found, lost)] == [
        f"{words}the first that differs is step 25 then, in phase forward"
    ]
    found.trials[0] = tried((), 24, "load")
    assert [*explaining._came_furthest(found, lost)] == []  # no step repeats
    found.trials[0] = tried((), 23, "load")
    assert "put back, step 24 repeats the" in next(explaining._came_furthest(found, lost))
    found.trials = [nothing, tried(("rng/torch.cpu",), 16), tried(("a",), 30, outcome=Outcome.UNRESOLVED)]
    assert [*explaining._came_furthest(found, lost)] == []
    found.trials = [fed]  # nothing put back was not tried: what was seen at first counts
    assert [*explaining._came_furthest(found, lost)] == [
        f"{words}the first that differs is step 25 then, in phase forward"
    ]
    assert [*explaining._came_furthest(found, Discrepancy(Divergence(26, "", "main/best")))] == []


FAILED, DOES = TrialResult(Outcome.DIFFERENT, Divergence(9, "batch", "batch/0")), TrialResult(Outcome.SAME)
SENTENCE = Cause(DATA, (DATA,), advice=("With persistent_workers=False each epoch seeds them anew.",))


def advised(*lines, tried=None):
    causes = (Cause(DATA, (DATA,), load=lines),)
    return Explanation(causes, lines_tried=tried)


@pytest.mark.parametrize(
    ("other", "result", "taken"),
    [
        (advised("b"), DOES, True),
        (advised("b"), FAILED, False),
        (advised("b"), None, False),  # no launches were left
        (advised("a"), DOES, False),  # the same lines
        (Explanation((SENTENCE,)), DOES, True),
    ],
    ids=["does", "fails", "not tried", "the same", "no lines"],
)
def test_where_lines_do_not_do_other_advice_is_given_that_was_tried_or_has_none(other, result, taken):
    first, launched = advised("a", tried=FAILED), []

    def tries(causes, left):
        if not causes[0].load:
            return None
        launched.append(causes[0].load)
        return Tried(result, "where they ran", launches=1)

    found, launches = explaining._better(first, other, tries, 2)
    assert (found is first) is not taken
    assert launches == len(launched)
    if taken and other.causes[0].load:
        assert found.lines_tried is result


_PARTS = """        for name, part in {"model": model, "optimizer": optimizer}.items():
            torch.save(part.state_dict(), os.path.join(args.out, f"{name}.pt"))
        torch.save({"epoch": epoch + 1, "best": best}, os.path.join(args.out, "rest.pt"))
"""
IN_FILES = _changed(
    TRAIN,
    (TRAIN[TRAIN.index("        state = {") : TRAIN.index('    print("done"')], _PARTS),
    (
        "        state = torch.load(args.resume, weights_only=False)\n",
        """        parts = ["model", "rest"] + ["optimizer"] * (args.lose != "optimizer")
        state = {part: torch.load(os.path.join(args.resume, f"{part}.pt")) for part in parts}
        state |= state.pop("rest")
""",
    ),
    ("""        if args.lose != "rng":
            torch.set_rng_state(state["rng"])
""", ""),
)  # fmt: skip
"""Saves the model, the optimizer and the rest in files of their own, and no generator."""


def test_what_several_files_lack_is_saved_beside_them_and_what_they_have_is_read_and_both_are_run(tmp_path):
    run, resume = commands(tmp_path, IN_FILES, more="--lose optimizer")
    found = check_script(run, resume.replace("{newest}", "{out}"), kill_after=4).explanation
    assert found.lines_tried.restores
    assert 'more["rng/torch.cpu"] = torch.get_rng_state()' in found.lines.save
    assert 'torch.save(more, f"{path}.more")' in found.lines.save
    assert "optimizer.load_state_dict(state)  # state: what optimizer.pt holds" in dict(found.lines.load).values()
    assert not any("killed" in cause.how for cause in found.causes)  # what the check keeps is no checkpoint
    advice = [sentence for cause in found.causes for sentence in cause.advice]
    assert "`path` is that of rest.pt, the file that is written last." in advice


EARLY = _changed(
    TRAIN,
    ("shuffle=True)", "shuffle=True, generator=order)"),
    ("    loader = Data", "    order = torch.Generator().manual_seed(3)\n    loader = Data"),
    ('        start = state["epoch"]\n', '        start = state["epoch"]\n        order.set_state(state["order"])\n'),
    ('"best": best}', '"best": best, "order": order.get_state()}'),
)
INSIDE = _changed(
    EARLY,
    ("        best = min(best, loss.item()) if epoch != 2 else best\n", ""),
    ("for images, labels in loader:", "for i, (images, labels) in enumerate(loader):"),
    ("        state = {", "            if i < len(loader) - 1:\n                continue\n            state = {"),
    ("        torch.save({", "            torch.save({"),
)


SAVED_AND_LOST = {
    "the global one": (TRAIN, "--lose rng", "rng/torch.cpu", 'torch.set_rng_state(state["rng"])'),
    "the loader's own": (
        _changed(
            EARLY,
            ('        order.set_state(state["order"])\n', ""),
            ("state = torch.load", "ckpt = torch.load"),
            ('state["', 'ckpt["'),
        ),
        "",
        "main/order",
        'order.set_state(ckpt["order"])',
    ),
}


@pytest.mark.parametrize(("text", "more", "name", "line"), SAVED_AND_LOST.values(), ids=SAVED_AND_LOST)
def test_a_generator_is_in_the_checkpoint_as_it_was_when_that_was_written(tmp_path, text, more, name, line):
    found = check_script(*commands(tmp_path, text, more), kill_after=4).explanation
    (cause,) = found.causes
    assert cause.name == name and "earlier state" not in cause.how
    assert f"; in the checkpoint as `{line.rpartition('[')[2][1:-3]}`" in cause.how
    assert found.lines.save == () and [each for _, each in found.lines.load] == [line]
    assert found.lines_tried.restores
    (before,) = found.ran_before
    assert before.startswith("train.py:") and before.endswith(", in main()")


def test_a_generator_that_is_saved_before_its_samplers_last_draw_is_told_where_to_be_saved(tmp_path):
    run, resume = commands(tmp_path, INSIDE)
    (cause,) = check_script(run, resume, kill_after=4).causes
    assert cause.how == "the order of the batches was drawn from a generator that is saved before its last draw"
    assert "write it once that loop is over" in cause.advice[0] and not cause.save
    lost = INSIDE.replace('        order.set_state(state["order"])\n', "").replace(', "order": order.get_state()', "")
    run, resume = commands(tmp_path, lost)
    told = [sentence for cause in check_script(run, resume, kill_after=4).causes for sentence in cause.advice]
    assert told and not any("once that loop is over" in sentence for sentence in told)  # that would not do


def test_a_generator_that_is_saved_when_the_loop_is_over_is_whole(tmp_path):
    run, resume = commands(tmp_path, EARLY)
    assert check_script(run, resume, kill_after=4).verdict == "EXACT"
