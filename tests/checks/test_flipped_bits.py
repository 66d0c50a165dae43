"""A bit that loading changes in any leaf of a run is seen and named; or it heals, and the report says so."""

import functools

import pytest

from dora_repro import Verdict, check
from tests.generated import Flipped, Generated

FLIPS = 5  # of each run


def checked(factory, *arguments):
    made = functools.partial(factory, *arguments)
    return check(made, steps=4, save_at=2, in_process=True, control="never", explain=False)


def assert_named(seed: int, choice: int) -> None:
    report = checked(Flipped, seed, choice)
    path, aside = Flipped.flipped, report.set_aside
    where = f"{path} of run {seed}, choice {choice}: {report.verdict}, {report.reason}"
    assert path in {difference.path for difference in report.lost}, where
    if report.divergence is None:
        assert path in {*report.latent, *aside.healed, *aside.put_aside, *aside.beside_the_point}, where
    if report.verdict is Verdict.EXACT and path not in aside.healed:
        assert "but for what is set aside" in report.reason, where


@pytest.mark.parametrize("seed", range(12))
def test_a_changed_bit_is_named_in_a_run_that_else_is_exact(seed):
    exact = checked(Generated, seed)
    assert exact.verdict is Verdict.EXACT and not exact.lost, (exact.reason, exact.lost)
    for choice in range(FLIPS):
        assert_named(seed, choice)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(100, 300))
def test_a_changed_bit_is_named_in_many_more_runs(seed):
    assert checked(Generated, seed).verdict is Verdict.EXACT
    for choice in range(FLIPS):
        assert_named(seed, choice)
