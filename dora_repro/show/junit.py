"""Reports as JUnit XML, the form that continuous integration reads: a test case for each comparison and the verdict."""

from collections.abc import Iterable, Mapping
from typing import Protocol
from xml.etree import ElementTree

from dora_repro.checks.report import Report, Reports, Verdict
from dora_repro.comparison.leaves import Comparison
from dora_repro.printable import printable
from dora_repro.show.answer import answer
from dora_repro.show.console import report_text
from dora_repro.show.sections import byte_verdict


def junit_text(result: Report | Reports, name: str = "dora-repro") -> str:
    """A JUnit document: one suite a report; an inconclusive verdict is an error, a difference a failure."""
    reports = result.reports if isinstance(result, Reports) else (result,)
    root = ElementTree.Element("testsuites", name=name)
    for report in reports:
        root.append(_suite(report, name))
    for count in ("tests", "failures", "errors", "skipped"):
        root.set(count, str(sum(int(suite.get(count, "0")) for suite in root)))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


class ExecutedNotebook(Protocol):
    """What is read of an executed notebook; `headless.running.Executed` is one."""

    @property
    def name(self) -> str: ...
    @property
    def parameters(self) -> Mapping[str, object]: ...
    @property
    def outcome(self) -> str: ...
    @property
    def passed(self) -> bool: ...
    @property
    def seconds(self) -> float: ...
    @property
    def verdict(self) -> str: ...
    @property
    def problem(self) -> str: ...


def notebooks_junit(done: Iterable[ExecutedNotebook]) -> str:
    """A JUnit document of executed notebooks: a test case each."""
    done = list(done)
    wrong = sum(not one.passed for one in done)
    root = ElementTree.Element("testsuites", name="dora-repro notebooks")
    counts = {"tests": str(len(done)), "failures": str(wrong), "errors": "0", "skipped": "0"}
    suite = ElementTree.SubElement(root, "testsuite", {"name": "notebooks", **counts})
    for one in done:
        case = ElementTree.SubElement(suite, "testcase", classname="notebooks", name=clean(one.name))
        case.set("time", f"{one.seconds:.3f}")
        given = ", ".join(f"{name}={value!r}" for name, value in one.parameters.items()) or "defaults"
        if not one.passed:
            failure = ElementTree.SubElement(case, "failure", message=clean(f"{one.outcome} with {given}"))
            failure.text = clean(one.problem)
        else:
            ElementTree.SubElement(case, "system-out").text = clean(f"{one.verdict or 'ran to its end'} with {given}")
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _suite(report: Report, name: str) -> ElementTree.Element:
    suite = ElementTree.Element("testsuite", name=clean(report.title))
    suite.set("time", f"{sum(report.seconds.values()):.3f}")
    properties = ElementTree.SubElement(suite, "properties")
    facts = {"save_at": report.save_at, "steps": report.steps, "verdict": report.verdict, **report.environment}
    for key, value in facts.items():
        ElementTree.SubElement(properties, "property", name=clean(key), value=clean(value))
    place = clean(f"{name}.{report.title}")
    for comparison in report.comparisons:
        _comparison(
            ElementTree.SubElement(suite, "testcase", classname=place, name=comparison.name), report, comparison
        )
    _verdict(ElementTree.SubElement(suite, "testcase", classname=place, name="verdict"), report)
    cases = suite.findall("testcase")
    suite.set("tests", str(len(cases)))
    for count, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(count, str(len([case for case in cases if case.find(tag) is not None])))
    return suite


def _comparison(case: ElementTree.Element, report: Report, comparison: Comparison) -> None:
    if comparison.equal:
        return
    message = f"{comparison.name}: {byte_verdict(comparison, report.tolerance)}"
    if report.verdict is Verdict.INCONCLUSIVE:
        # Whether the difference means anything is just what could not be decided.
        ElementTree.SubElement(case, "skipped", message=clean(message))
    elif report.verdict is not Verdict.WITHIN_TOLERANCE:
        failure = ElementTree.SubElement(case, "failure", message=clean(message), type=str(report.verdict))
        failure.text = clean("\n".join(str(difference) for difference in comparison.differences))


def _verdict(case: ElementTree.Element, report: Report) -> None:
    if not report.passed:
        tag = "error" if report.verdict is Verdict.INCONCLUSIVE else "failure"
        found = ElementTree.SubElement(case, tag, message=clean(answer(report)[0]), type=str(report.verdict))
        found.text = clean(report_text(report))
    else:
        ElementTree.SubElement(case, "system-out").text = clean(report.reason)


def clean(value: object) -> str:
    """The text of a value without what is not seen: all that XML cannot hold is among it."""
    return printable(str(value))
