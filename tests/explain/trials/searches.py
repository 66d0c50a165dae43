"""A search whose trials are answered by a rule."""

from dataclasses import fields

from dora_repro.difference import LeafDifference
from dora_repro.explain.trials.beyond import Beyond
from dora_repro.explain.trials.losses import Losses
from dora_repro.explain.trials.search import Search
from dora_repro.explain.trials.trial import Outcome, TrialResult
from dora_repro.trace import Divergence

PARAMETERS = [f"layer.{index}.weight" for index in range(6)]
OTHERS = {f"optimizer/{name}/exp_avg": "moment" for name in ("x.weight", "y.weight", "z.weight")}
_OF_BEYOND = {field.name for field in fields(Beyond)}
_OF_LOSSES = {"feeding", "objects", "given", "marks", "holder", "divided", "frugal"}


def lost(path, role="memory", kind="value"):
    return LeafDifference(path, kind, role=role)


def moments(kind="missing", names=("step", "exp_avg", "exp_avg_sq"), parameters=PARAMETERS):
    return [lost(f"optimizer/{parameter}/{name}", "moment", kind) for parameter in parameters for name in names]


def exp_avgs(count):
    """Moments of some parameters of a model that has more, so that they are not all of their kind."""
    return moments("value", ("exp_avg",), [f"layer.{index}.weight" for index in range(count)])


class Rule:
    """Restores exact resume where one of the sets was put back; what else is put back does no harm, unless named."""

    def __init__(self, *sets, harmful=()):
        self.sets, self.harmful, self.asked = [set(one) for one in sets], set(harmful), []

    def __call__(self, trial):
        self.asked.append(trial)
        distance = 0.5 if trial.to_the_end else None
        if any(one <= trial.names for one in self.sets) and not self.harmful & trial.names:
            return TrialResult(Outcome.SAME, steps=1, parameter_distance=distance)
        return TrialResult(Outcome.DIFFERENT, Divergence(3, "forward", "loss"), 1, distance)


def search_of(rule, differences, roles, phase="forward", streams=False, **options):
    """A search; `options` are those of `Beyond`, of `Losses` and of `Search`."""
    beyond = Beyond(streams, **{name: value for name, value in options.items() if name in _OF_BEYOND})
    of_losses = {name: value for name, value in options.items() if name in _OF_LOSSES}
    others = {name: value for name, value in options.items() if name not in _OF_BEYOND | _OF_LOSSES}
    return Search(rule, Losses(differences, roles, phase, **of_losses), beyond, **others)


def searched(rule, differences, phase="forward", streams=False, **options):
    """The result of a search over differences of which the roles of all leaves are known."""
    roles = {difference.path: difference.role for difference in differences if difference.kind != "unexpected"}
    return search_of(rule, differences, {**roles, **options.pop("others", {})}, phase, streams, **options).run()


def frugal(rule, differences, phase="forward", **options):
    """A search where trials are dear."""
    roles = {difference.path: difference.role for difference in differences}
    return search_of(rule, differences, {**roles, **options.pop("others", {})}, phase, frugal=True, **options)
