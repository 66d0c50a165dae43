"""Why a training function cannot be resumed from a step, in words: it wrote no checkpoint then, or inside the step."""

from collections.abc import Iterable

from dora_repro.driving.arguments import OUT
from dora_repro.driving.drive import At
from dora_repro.driving.written import Moment
from dora_repro.wording import counted


def no_checkpoint(name: str, at: At, step: int, wrote: Iterable[Moment], resumed: bool = False) -> str:
    """Say that a function wrote no checkpoint when a step was over, and what to ask instead.

    Args:
        name: of the function.
        at: where its steps end.
        step: number of steps that it has done since it was called.
        wrote: when it wrote its checkpoints, as far as it has come.
        resumed: whether it was called to resume.
    """
    inside = [moment for moment in wrote if moment.passes is not None]
    after = [moment.step for moment in wrote if moment.passes is None]
    if any(moment.step == step for moment in inside):
        return _inside(name, at, max(inside, key=lambda moment: moment.step), resumed)
    since = " of the run that was resumed" if resumed else ""
    missing = f"{name}() wrote no checkpoint to {OUT} after {counted(step, 'step')}{since}"
    if after:
        asked = "" if resumed else f": save_at={max(after)}"
        return f"{missing}; it did after {counted(max(after), 'step')}{asked}"
    if inside:
        last = max(inside, key=lambda moment: moment.step)
        return f"{missing}, nor after any before; {_inside(name, at, last, resumed)}"
    if step == 0 and not resumed:
        return f"{missing}: give save_at a step after which it writes one"
    return f"{missing}; nor before"


def _inside(name: str, at: At, when: Moment, resumed: bool) -> str:
    """That a checkpoint was written in the middle of a step, which part of it had been done, and what helps."""
    wrote = f"{name}() writes a checkpoint inside step {when.step}{' of the run that was resumed' if resumed else ''}"
    if at == "update" and when.passes and not when.all_passes:
        asked = "" if resumed else f", with save_at={when.batches}"
        return (
            f"{wrote}, after {counted(when.passes, 'backward pass')} and before its update: it accumulates the "
            f"gradients of several batches. Let a step be one batch: stepwise({name}, …, at='batch'){asked} (steps and "
            "save_at then count batches)"
        )
    done = when.passes or 0
    if not done and when.again:
        return (
            f"{name}() writes a checkpoint after it has called a module in training mode, with gradients: step "
            f"{when.step} begins with that call. Call what is no step's under torch.no_grad() or after model.eval()"
        )
    passes = "backward pass" if done == 1 else "backward passes"
    if not done:
        place = "its forward pass and its backward pass"
    elif when.all_passes:
        place = f"its {passes} and its update"
    else:
        place = "two of its backward passes"
    where = "after the update" if done > 1 else "after the update, or before the forward pass"
    return (
        f"{wrote}, between {place}: a run that resumes from it does that step again, or never does all of it. "
        f"Write it {where}"
    )
