"""The options of a check: the same everywhere, completed by editors, refused by name where misspelt."""

import inspect

import pytest

import dora_repro
from dora_repro import study
from dora_repro.checks.options import DEFAULTS, Options, lists_its_options, request_of
from tests import runs

NAMES = ["ignore", "tolerance", "control", "timeout", "in_process", "folder", "values", "explain"]
TAKERS = [
    dora_repro.check, dora_repro.every_step, dora_repro.twice,
    study.quick, study.full, study.every_step, study.twice, study.contents_of,
]  # fmt: skip  # a table


def parameters(function) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(function).parameters)


def test_a_check_has_eleven_parameters_and_no_more():
    assert list(parameters(dora_repro.check)) == ["factory", "steps", "save_at", *NAMES]


@pytest.mark.parametrize("function", TAKERS, ids=lambda function: f"{function.__module__}.{function.__name__}")
def test_every_check_shows_the_same_options_with_the_same_defaults(function):
    shown = parameters(function)
    assert set(NAMES) <= set(shown) and "options" not in shown
    assert all(shown[name].kind is inspect.Parameter.KEYWORD_ONLY for name in NAMES)
    own = {"explain": False} if function is study.contents_of else {}
    assert {name: shown[name].default for name in NAMES} == {**DEFAULTS, **own}


def test_the_defaults_are_those_of_the_typed_options():
    assert list(DEFAULTS) == NAMES
    assert Options.__optional_keys__ == set(NAMES)


@pytest.mark.parametrize("function", TAKERS, ids=lambda function: f"{function.__module__}.{function.__name__}")
def test_a_misspelt_option_names_the_nearest(function):
    message = rf"^{function.__name__}\(\) got an unexpected option 'tolerence': did you mean 'tolerance'\?$"
    given = () if function.__module__.endswith("study") else (runs.Plain, 3, 2)
    with pytest.raises(TypeError, match=message):
        function(*given, tolerence=1e-6)


def test_an_option_like_none_of_them_is_answered_with_all():
    with pytest.raises(
        TypeError, match=r"^twice\(\) got an unexpected option 'zzz': it has factory, steps, save_at, ig"
    ):
        dora_repro.twice(runs.Plain, 3, (1, 2), zzz=1)


def test_what_is_spelt_right_gets_through_and_the_name_stays():
    @lists_its_options
    def asked(first, *, own=1, **options):
        return first, own, options

    assert asked(0, own=2, timeout=3.0) == (0, 2, {"timeout": 3.0})
    assert asked.__name__ == "asked"
    with pytest.raises(TypeError, match="did you mean 'own'"):
        asked(0, owm=2)


def test_a_request_holds_the_options_in_one_form(tmp_path):
    given = {"ignore": "a/*", "values": ["b", "c"], "tolerance": "outputs", "folder": str(tmp_path / "new")}
    request = request_of(runs.Plain, 3, [1, 2], given, title="t")
    assert (request.ignore, request.values, request.points) == (("a/*",), ("b", "c"), (1, 2))
    assert (request.tolerance, request.folder, request.title) == (1e-6, tmp_path / "new", "t")
    assert (request.control, request.timeout, request.explain, request.in_process) == ("auto", 3600.0, True, False)
