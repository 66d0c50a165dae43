"""A batch counts in the step that uses it, whenever it was handed out."""

from dora_repro.alignment.batches import had_same_data, is_batch, is_read, without_read
from dora_repro.alignment.divergence import first_divergence
from dora_repro.trace import Divergence, Effect, Step, Trace


def used(number, inputs, *effects):
    return Step(number, 1.0, (), tuple(Effect(phase, leaf, value) for phase, leaf, value in effects), {}, inputs)


def handed(value, number=1):
    return "batch" if number == 1 else f"batch[{number}]", "batch/0", value


def test_a_batch_handed_out_in_another_step_is_no_difference_where_the_same_is_used():
    out = ("forward", "outputs/model", b"o")
    expected = Trace([used(4, b"i", handed(b"a"), handed(b"b", 2), out), used(5, b"j", handed(b"c"), out)])

    def found(*steps, **options):
        return first_divergence(expected, Trace(list(steps)), **options)

    assert found(used(4, b"i", handed(b"a"), out), used(5, b"j", handed(b"b"), handed(b"c", 2), out)) is None
    assert found(used(4, b"i", handed(b"a"), out), used(5, b"j", handed(b"b"), out)) is None  # looks less far ahead
    # Another batch is one, though it was not used yet; and so is what is used, and any other effect.
    assert found(used(4, b"i", handed(b"a"), handed(b"b", 2), out), used(5, b"j", handed(b"x"), out)).step == 5
    assert found(used(4, b"x", handed(b"b"), out)) == Divergence(4, "batch", "batch/0")
    assert found(used(4, b"", handed(b"b"), out)) == Divergence(4, "batch", "batch/0")
    other = ("forward", "outputs/model", b"p")
    assert found(used(4, b"i", handed(b"a"), out), used(5, b"j", handed(b"b"), other)).leaf == "outputs/model"


def test_forward_calls_with_only_a_batch_between_them_are_one_where_batches_do_not_count():
    calls = [("forward", "outputs/a", b"1"), ("forward[2]", "outputs/b", b"2"), ("forward[3]", "outputs/c", b"3")]
    back = ("backward", "w/grad", b"g")
    one = used(4, b"i", handed(b"a"), calls[0], handed(b"b", 2), calls[1], back, calls[2])
    other = used(4, b"i", handed(b"a"), calls[0], ("forward", "outputs/b", b"2"), back, ("forward[2]", *calls[2][1:]))
    ahead = used(5, b"j", handed(b"b"))
    assert first_divergence(Trace([one, used(5, b"j")]), Trace([other, ahead])) is None


def test_a_second_batch_that_only_one_run_gets_from_a_loader_moves_no_forward_call():
    """As of two loaders that `itertools.cycle` repeats: it has kept what they gave, but begins anew after a resume."""
    back = ("backward", "w/grad", b"g")
    kept = used(4, b"i", ("forward", "outputs/a", b"1"), ("forward", "outputs/a[2]", b"2"), back)
    before = used(3, b"h", handed(b"a"), handed(b"b", 2))

    def found(*effects, inputs=b"i"):
        return first_divergence(Trace([before, kept]), Trace([used(4, inputs, *effects)]))

    anew = [handed(b"a"), ("forward", "outputs/a", b"1"), handed(b"b", 2), ("forward[2]", "outputs/a", b"2"), back]
    assert found(*anew) is None
    assert found(*anew, inputs=b"x") is not None
    other = [("forward[2]", "outputs/a", b"3"), back]
    assert found(*anew[:3], *other) == Divergence(4, "forward", "outputs/a[2]")
    assert found(*anew[:3], back) == Divergence(4, "forward", "outputs/a[2]", "missing")
    assert found(*anew[:4], ("backward", "w/grad", b"h")) == Divergence(4, "backward", "w/grad")


def test_what_is_of_a_batch_is_known_by_its_name():
    assert is_batch("batch") and is_batch("batch/0") and not is_batch("batches/0")
    assert is_read("batch", ()) and is_read("outputs/crop[2]", {"outputs/crop"}) and not is_read("outputs/crop", ())


def test_two_runs_had_the_same_data_unless_each_had_what_the_other_had_not():
    def steps(**batches):
        return Trace([used(int(name[1:]), b"", handed(value)) for name, value in batches.items()])

    reference = steps(s3=b"a", s4=b"b", s5=b"c")
    assert had_same_data(reference, steps(s4=b"b", s5=b"c"))
    assert had_same_data(reference, steps(s4=b"b", s5=b"a"))  # which was handed out before
    assert had_same_data(reference, steps(s4=b"b"))  # not so far
    assert had_same_data(steps(s3=b"x", s4=b"b"), steps(s4=b"b", s5=b"c"))  # what the other lacks came before it began
    assert not had_same_data(reference, steps(s4=b"x", s5=b"c"))


def test_leaves_are_numbered_anew_in_each_phase():
    calls = [("forward", "outputs/a"), ("forward", "outputs/a[2]"), ("forward[2]", "loss"), ("backward", "outputs/a")]
    effects = [Effect(phase, leaf, b"") for phase, leaf in calls]
    kept = [(effect.phase, effect.leaf) for effect in without_read(effects, ())]
    assert kept == [*calls[:2], ("forward", "loss"), calls[3]]
