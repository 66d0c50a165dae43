"""What is listed as lost."""

from dora_repro.checks.report import SetAside
from dora_repro.show.lost import significant, what_was_lost
from dora_repro.trace import Divergence
from tests.show.made import different, explained, inconclusive, report


def paths(made) -> list[str]:
    return [each.path for each in what_was_lost(made)]


def test_nothing_is_lost_where_no_effect_differs():
    assert paths(report(lost=different().lost)) == []
    assert paths(inconclusive(divergence=None)) != [] != significant(report(lost=different().lost))


def test_leftover_gradients_are_lost_only_where_gradients_differ_first():
    assert not any(path.endswith("/grad") for path in paths(different()))
    assert sum(path.endswith("/grad") for path in paths(different(divergence=Divergence(3, "backward[2]", "a")))) == 2
    assert sum(path.endswith("/grad") for path in paths(different(unseen=("backward",)))) == 2


def test_noise_and_histories_are_left_out_but_for_a_cause():
    aside = SetAside(noise=("optimizer/a.m/step",), bookkeeping=("rng/torch.cpu",))
    assert "optimizer/a.m/step" not in paths(different(set_aside=aside))
    assert "rng/torch.cpu" not in paths(different(set_aside=aside))
    assert "rng/torch.cpu" in paths(explained(set_aside=aside))


def test_so_is_what_was_put_aside_for_the_first_step():
    aside = SetAside(put_aside=("optimizer/a.m/step", "rng/torch.cpu"))
    assert not {"optimizer/a.m/step", "rng/torch.cpu"} & {*paths(different(set_aside=aside))}
    assert "rng/torch.cpu" in paths(explained(set_aside=aside))
