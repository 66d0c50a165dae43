"""The commands that check: what they ask, print, write, and exit with. The check itself is a stand-in."""

import json
from xml.etree import ElementTree

import pytest

from dora_repro.checks.report import Reports
from dora_repro.errors import BadInput, Defect, MissingExtra
from dora_repro.subject.config import TrainingConfig
from tests.show.made import different, differs, inconclusive, latent, report, tolerated

OF = {"quick": "quick", "full": "full", "every-step": "every_step", "twice": "twice"}
DEFAULTS = {
    "ignore": (),
    "tolerance": None,
    "control": "auto",
    "explain": True,
    "timeout": 3600.0,
    "in_process": False,
    "folder": None,
}


@pytest.mark.parametrize(
    ("made", "code", "last"),
    [
        (report(), 0, "✅ TEST PASSED: Checkpoint loading is reproducible!"),
        (tolerated(), 0, "✅ TEST PASSED within tolerance 0.1, not exact"),
        (different(), 1, "❌ TEST FAILED: Checkpoint loading has issues"),
        (latent(), 1, "❌ TEST FAILED: state lost, no effect in 1 step"),
        (inconclusive(reason="why"), 3, "⚠ INCONCLUSIVE: why"),
    ],
    ids=lambda value: str(getattr(value, "verdict", "")),
)
def test_each_verdict_has_its_exit_code_and_last_line(call, stand_in, made, code, last):
    stand_in("quick", made)
    done = call("quick")
    assert (done.exit_code, done.stdout.splitlines()[-1], done.stderr) == (code, last, "")
    assert call("quick", "--quiet").stdout == f"{last}\n"
    for name in ("every-step", "twice"):
        stand_in(OF[name], Reports(name, (report(), made)))
        assert call(name).exit_code == code


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("quick", {"steps": 3, "save_at": 2}),
        ("full", {"epochs": None, "steps_per_epoch": 10, "test_epoch": 3}),
        ("every-step", {"epochs": 3, "steps_per_epoch": 10}),
        ("twice", {"epochs": 3, "steps_per_epoch": 10, "save_at": None}),
    ],
)
def test_without_options_the_defaults_are_asked(call, stand_in, name, own):
    asked = stand_in(OF[name], report())
    assert call(name).exit_code == 0
    config = TrainingConfig(data="synthetic") if name == "quick" else TrainingConfig()
    assert asked == [(config, {**DEFAULTS, **own})]


def test_every_option_reaches_the_config(call, stand_in):
    asked = stand_in("full", report())
    given = {
        "--model": "vit-b-32", "--weights": "w", "--data": "things", "--images": "i", "--targets": "t.csv",
        "--checkpoint": "dora+rng", "--optimizer": "sgd", "--lr": 0.5, "--momentum": 0.9, "--weight-decay": 0.25,
        "--scheduler": "warmup", "--warmup-steps": 3, "--rank": 2, "--alpha": 4.0, "--dropout": 0.0,
        "--dropout-mode": "study", "--dora-init": "paper", "--vision-dora": 1, "--text-dora": 0, "--batch-size": 5,
        "--workers": 2, "--early-stopping": 4, "--perturbation": "image-noise", "--perturbation-start": 2,
        "--perturbation-length": 3, "--noise": 0.125, "--seed": 7, "--device": "cuda",
    }  # fmt: skip  # a table
    flags = ["--persistent-workers", "--no-shuffle", "--validate"]
    done = call("full", *(word for pair in given.items() for word in pair), *flags)
    assert done.exit_code == 0, done.stderr
    (config, _) = asked[0]
    assert config == TrainingConfig(
        size="vit-b-32", weights="w", data="things", images="i", targets="t.csv", checkpoint="dora+rng",
        optimizer="sgd", learning_rate=0.5, momentum=0.9, weight_decay=0.25, scheduler="warmup", warmup_steps=3, rank=2,
        alpha=4.0, dropout=0.0, dropout_mode="study", init="paper", vision_dora=1, text_dora=0, batch_size=5, workers=2,
        early_stopping=4, perturbation="image-noise", perturbation_start=2, perturbation_length=3, noise=0.125, seed=7,
        device="cuda", persistent_workers=True, shuffle=False, validate=True,
    )  # fmt: skip  # a table


def test_every_option_reaches_the_check(call, stand_in, tmp_path):
    asked = stand_in("quick", report())
    arguments = ["--steps", 9, "--save-at", 4, "--ignore", "ema/*", "--ignore", "x", "--tolerance", "outputs"]
    arguments += ["--control", "never", "--no-explain", "--timeout", 5, "--in-process", "--keep", tmp_path / "kept"]
    assert call("quick", *arguments).exit_code == 0
    assert asked[0][1] == {
        "steps": 9,
        "save_at": 4,
        "ignore": ("ema/*", "x"),
        "tolerance": "outputs",
        "control": "never",
        "explain": False,
        "timeout": 5.0,
        "in_process": True,
        "folder": str(tmp_path / "kept"),
    }


def test_steps_per_epoch_0_is_all_of_them_and_twice_takes_its_steps(call, stand_in):
    asked = stand_in("twice", report())
    assert call("twice", "--steps-per-epoch", 0, "--save-at", 2, "--save-at", 5).exit_code == 0
    assert asked[0][1] == {**DEFAULTS, "epochs": 3, "steps_per_epoch": None, "save_at": (2, 5)}


def test_threads_are_those_of_this_process(call, stand_in):
    import torch

    stand_in("quick", report())
    before = torch.get_num_threads()
    try:
        assert call("quick", "--threads", before + 1).exit_code == 0
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_the_quick_test_refuses_what_its_dummy_batch_cannot_have(call, stand_in):
    asked = stand_in("quick", report())
    for option in ("--data", "--images", "--early-stopping", "--epochs"):
        done = call("quick", option, "1")
        assert (done.exit_code, asked) == (2, [])
        assert f"No such option '{option}'" in done.stderr


def test_the_studys_names_are_shown(call, stand_in):
    path = "model/clip_model.vision_model.encoder.layers.2.self_attn.out_proj.m"
    moment = "optimizer/clip_model.text_model.encoder.layers.1.self_attn.out_proj.m/exp_avg"
    made = different(lost=(differs(moment),))
    stand_in("quick", different(comparisons=(_only(path),), lost=made.lost))
    text = call("quick").stdout
    assert "DoRA parameters right after loading (step 2)\n✗ clip_model.visual.transformer.resblocks.2.attn" in text
    assert "  optimizer/clip_model.transformer.resblocks.1.attn.out_proj.m/exp_avg  f32[64]" in text
    assert "  checkpoint: complete (dora, optimizer, scheduler, rng, data, progress)\n  model tiny; data synth" in text


def _only(path):
    from dora_repro.comparison.leaves import Comparison

    return Comparison("load", (path,), (differs(path),), 1e-12)


# --- what is written -------------------------------------------------------------------------------------------------


def test_json_and_junit_are_written(call, stand_in, tmp_path):
    nan = differs("model/a.m", float("nan"))
    stand_in("quick", different(lost=(nan,), first_memory=None))
    done = call("quick", "--json", tmp_path / "r.json", "--junit", tmp_path / "r.xml", "--seed", 5)
    assert done.exit_code == 1

    def refuse(text):
        raise AssertionError(f"{text} is not JSON")

    found = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"), parse_constant=refuse)
    assert (found["verdict"], found["divergence"]["step"], found["lost"][0]["max_abs"]) == ("DIFFERENT", 3, "nan")
    assert found["asked"]["config"]["seed"] == 5
    root = ElementTree.parse(tmp_path / "r.xml").getroot()
    assert (root.get("tests"), root.get("failures")) == ("4", "3")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.json", "r.xml"]


def test_several_reports_are_written_too(call, stand_in, tmp_path):
    stand_in("every_step", Reports("every step", (report(), latent())))
    assert call("every-step", "--json", tmp_path / "r.json", "--junit", tmp_path / "r.xml").exit_code == 1
    assert json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["verdict"] == "LATENT"
    assert ElementTree.parse(tmp_path / "r.xml").getroot().get("tests") == "8"


def test_a_page_is_written_for_which_values_are_asked(call, stand_in, tmp_path):
    asked = stand_in("quick", different())
    done = call("quick", "--html", tmp_path / "r.html", "--seed", 5)
    assert done.exit_code == 1
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert text.lstrip().startswith("<!DOCTYPE html>") and "TEST FAILED" in text and "config seed" in text
    assert asked[0][1]["values"] == ("*",)
    call("quick")
    assert "values" not in asked[1][1]


@pytest.mark.parametrize("option", ["--json", "--junit", "--html"])
def test_a_report_that_cannot_be_written_is_found_out_before_the_work(call, stand_in, tmp_path, option):
    asked = stand_in("quick", report())
    gone = tmp_path / "gone" / "r"
    for path, message in (
        (gone, f"Error: cannot write {gone}: the folder {gone.parent} does not exist; make it first\n"),
        (tmp_path, f"Error: cannot write {tmp_path}: it is a folder; name a file in it\n"),
    ):
        done = call("quick", option, path)
        assert (done.exit_code, done.stderr, done.stdout, asked) == (2, message, "", [])


def test_two_reports_in_one_file_are_refused(call, stand_in, tmp_path):
    asked = stand_in("quick", report())
    done = call("quick", "--json", tmp_path / "r", "--junit", f"{tmp_path}/./r")
    assert (done.exit_code, asked) == (2, [])
    assert "named for two reports" in done.stderr


def test_an_older_report_stays_where_the_check_fails(call, stand_in, tmp_path):
    (tmp_path / "r.json").write_text("old", encoding="utf-8")
    stand_in("quick", BadInput("no"))
    assert call("quick", "--json", tmp_path / "r.json").exit_code == 2
    assert (tmp_path / "r.json").read_text(encoding="utf-8") == "old"


# --- what goes wrong -------------------------------------------------------------------------------------------------


def test_bad_input_is_a_message_and_code_2(call, stand_in):
    stand_in("quick", BadInput("steps=0: at least one step must be done"))
    done = call("quick")
    assert (done.exit_code, done.stdout, done.stderr) == (2, "", "Error: steps=0: at least one step must be done\n")


def test_a_missing_extra_is_a_message_and_code_2(call, stand_in):
    stand_in("full", MissingExtra("sklearn", "subject", "the digits"))
    done = call("full")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: the digits needs the package 'sklearn'")
    assert done.stderr.endswith("pip install 'dora-repro[subject]'\n")


def test_a_defect_of_the_kit_is_a_traceback_and_no_verdict(call, stand_in):
    stand_in("quick", RuntimeError("unforeseen"))
    done = call("quick")
    assert done.exit_code == 70
    assert "Traceback" in done.stderr and "RuntimeError: unforeseen" in done.stderr


def test_a_defect_that_a_run_met_is_told_as_such(call, stand_in):
    stand_in("quick", Defect("this kit failed while it recorded the run"))
    done = call("quick")
    assert (done.exit_code, done.stdout) == (70, "")
    assert done.stderr == "Error: this kit failed while it recorded the run\n"


def test_ctrl_c_says_how_far_it_came_and_writes_nothing(call, stand_in, tmp_path):
    stand_in("quick", KeyboardInterrupt())
    done = call("quick", "--json", tmp_path / "r.json")
    said = "\nInterrupted: the reference side was at step 1 of 3. No report was written.\n"
    assert (done.exit_code, done.stdout, done.stderr) == (130, "", said)
    assert list(tmp_path.iterdir()) == []
    done = call("quick", "--keep", tmp_path / "kept")
    assert f"No report was written; evidence so far is in {tmp_path / 'kept'}." in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["quik"], "No such command 'quik'. Did you mean 'quick'?"),
        (["quick", "--optimizr", "sgd"], "No such option '--optimizr'"),
        (["quick", "--optimizer", "adamx"], "'adamx' is not one of 'adamw', 'sgd'. Did you mean 'adamw'?"),
        (["full", "--data", "digit"], "Did you mean 'digits'?"),
        (["quick", "--model", "zzz"], "'zzz' is not one of 'tiny', 'vit-b-32', 'vit-l-14'.\n"),
        (["quick", "--control", "alway"], "Did you mean 'always'?"),
        (["quick", "--checkpoint", "dora+optimzer"], "did you mean 'optimizer'?"),
        (["quick", "--dropout", "1.5"], "dropout=1.5 is impossible"),
        (["quick", "--lr", "much"], "'much' is not a valid float"),
        (["quick", "--threads", "0"], "0 is not in the range"),
        (["quick", "--momentum", "0.9"], "momentum=0.9 is for optimizer='sgd'"),
        (["quick", "--quiet", "--verbose"], "--quiet and --verbose exclude each other"),
        (["full", "--steps-per-epoch", "-1"], "-1 is not in the range"),
        (["check", "x:y", "--steps", "3"], "give one --save-at, or --every-step, or --twice"),
        (["check", "x:y", "--steps", "3", "--save-at", "1", "--every-step"], "give one --save-at, or"),
        (["check", "x:y", "--steps", "3", "--save-at", "1", "--save-at", "2"], "give one --save-at, or"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_misspelt_or_impossible_option_is_a_message_and_code_2(call, arguments, message):
    done = call(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["quick", "--steps", "0"], "steps=0: at least one step must be done"),
        (["quick", "--save-at", "4"], "save_at=4: give a step from 0 (before any) to steps=3"),
        (["quick", "--tolerance", "outptus"], "tolerance='outptus': give a number or one of load, parameters, outputs"),
        (["quick", "--tolerance", "-1"], "tolerance='-1': give a number of 0 or more"),
        (["quick", "--timeout", "0"], "timeout=0.0: give the seconds"),
        (["full", "--test-epoch", "5", "--epochs", "2"], "test_epoch=5: give an epoch from 1 to epochs=2"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_impossible_check_is_refused_by_the_check_itself(call, arguments, message):
    done = call(*arguments, "--in-process") if "--timeout" not in arguments else call(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr and done.stderr.startswith("Error: ")


def test_a_folder_that_holds_something_is_not_overwritten(call, tmp_path):
    (tmp_path / "mine").write_text("", encoding="utf-8")
    done = call("quick", "--in-process", "--keep", tmp_path)
    assert done.exit_code == 2 and "not empty" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_help_names_every_command_and_version_the_version(call):
    done = call("--help")
    assert done.exit_code == 0
    for name in ("quick", "full", "every-step", "twice", "check", "inspect", "diff"):
        assert f"\n  {name} " in done.stdout
        assert call(name, "--help").exit_code == 0
    import dora_repro

    assert call("--version").stdout == f"dora-repro {dora_repro.__version__}\n"


@pytest.fixture
def asked(monkeypatch):
    """The requests about scripts that came through the command line; each is answered with a report."""
    from dora_repro.scripts import checking

    requests = []

    def answered(request):
        requests.append(request)
        return report(title=request.title, launched=request.launched)

    monkeypatch.setattr(checking, "run_script", answered)
    return requests


RUN, RESUME = "{python} train.py --out {out}", "{python} train.py --out {out} --resume {newest}"


def test_a_script_is_asked_about_with_its_commands(call, asked, tmp_path):
    files = [f"--{kind}={tmp_path / kind}" for kind in ("json", "html", "junit")]
    given = ("--kill-after", "14,18", "--timeout", "5", "--budget", "7")
    done = call("check", "--run", RUN, "--resume", RESUME, *given, *files)
    assert (done.exit_code, done.stderr) == (0, "")
    request = asked[0]
    assert (request.run.text, request.resume.text, request.kill_after) == (RUN, RESUME, (14, 18))
    assert (request.timeout, request.budget, request.title) == (5.0, 7, "train.py")
    assert f"  Script:  {RUN}\n  Resumed: {RESUME}\n" in done.stdout
    written = json.loads((tmp_path / "json").read_text())
    assert written["asked"] == {"run": RUN, "resume": RESUME, "kill_after": [14, 18]}
    assert written["launched"] == [f"Script:  {RUN}", f"Resumed: {RESUME}"]
    assert "train.py: EXACT" in (tmp_path / "html").read_text() and RESUME in (tmp_path / "html").read_text()
    assert ElementTree.parse(tmp_path / "junit").getroot()[0].get("name") == "train.py"


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ((), "give MODULE:NAME of a run object, or --run"),
        (("a:b", "--run", RUN), "give MODULE:NAME of a run object, or --run"),
        (("a:b", "--kill-after", "3"), "--kill-after is for scripts"),
        (("a:b", "--budget", "3"), "--budget is for scripts"),
        (("--run", RUN, "--steps", "3"), "--steps is for run objects"),
        (("--run", RUN, "--in-process"), "--in-process is for run objects"),
        (("--run", RUN, "--control", "never"), "its killed run is the control"),
        (("--run", RUN, "--threads", "1"), "OMP_NUM_THREADS=1"),
        (("--run", RUN, "--kill-after", "x"), "give the number of a step"),
        (("--run", RUN, "--at-step", "0"), "at-step"),
        (("--run", "{python} train.py --out {ouput}"), "did you mean {out}?"),
        (("--run", "{python} train.py"), "does not say where it writes"),
        (("--run", RUN, "--resume", "no-such-program {newest}"), "there is no program 'no-such-program'"),
        (("--run", RUN, "-q", "-v"), "exclude each other"),
    ],
)
def test_what_means_nothing_for_a_script_is_refused(call, asked, args, says):
    done = call("check", *args)
    assert done.exit_code == 2
    assert says in done.stderr and not asked
