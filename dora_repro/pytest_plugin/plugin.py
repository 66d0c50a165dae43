"""What pytest finds by the entry point `pytest11`: a fixture, an option and an entry of its configuration file.

Imported at the start of every pytest run, also of those that check nothing: no torch, nothing of a check.
"""

import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dora_repro.errors import BadInput, MissingExtra

if TYPE_CHECKING:
    from dora_repro.checks.report import Report, Reports
    from dora_repro.contracts import Factory

_HTML = "--resume-exact-html"
_TIMEOUT = "resume_exact_timeout"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option and the entry that users can give."""
    group = parser.getgroup("dora_repro", "exact resume (dora_repro)")
    group.addoption(_HTML, metavar="DIR", help="keep the report of every resume_exact as an HTML page in this folder")
    parser.addini(_TIMEOUT, "seconds that each side or launch of a resume_exact may take (3600)")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse what could not be used, before any test runs.

    Raises:
        UsageError: a time limit that is no number above 0, pages that are to go into a file.
    """
    _timeout(config)
    pages = _pages(config)
    if pages is not None and pages.exists() and not pages.is_dir():
        raise pytest.UsageError(f"{_HTML}={pages} is a file: name a folder")


def _pages(config: pytest.Config) -> Path | None:
    """The folder of the pages, wherever a test has changed to; None where none are kept."""
    given = config.getoption(_HTML)
    return None if given is None else config.invocation_params.dir / given


def _timeout(config: pytest.Config) -> float | None:
    """The time limit of the configuration file; None where it has none."""
    given = config.getini(_TIMEOUT)
    try:
        if not given or float(given) > 0:
            return float(given) if given else None
    except (TypeError, ValueError):
        pass
    raise pytest.UsageError(f"{_TIMEOUT} = {given}: give the seconds that each side or launch may take")


@pytest.fixture
def resume_exact(request: pytest.FixtureRequest) -> "ResumeExact":
    """Call it with what builds a run, or with the command of a script: the test fails unless its resume is exact."""
    return ResumeExact(request)


class ResumeExact:
    """Asks whether a training run that is saved, killed and resumed is the same run; fails the test if it is not.

    Args:
        request: of the test that it works for.
    """

    def __init__(self, request: pytest.FixtureRequest):
        self._item, self._config = request.node, request.config
        self._calls = 0

    def __call__(
        self,
        run: "Factory | str",
        resume: str | None = None,
        *,
        steps: int | None = None,
        save_at: int | Iterable[int] | None = None,
        every_step: bool = False,
        twice: bool = False,
        kill_after: int | Iterable[int] | None = None,
        **options: Any,
    ) -> "Report | Reports":
        """Check a run object or a script.

        Args:
            run: what builds a run object, as for `dora_repro.check`; or the command of a script, as for
                `dora_repro.check_script`.
            resume: of a script, the command that resumes it.
            steps: of a run object, the last optimizer step to do.
            save_at: of a run object, the step to save after; several are resumed from one after the other.
            every_step: of a run object, resume from every step, in place of `save_at`.
            twice: of a run object, resume the resumed run, at two or more `save_at`.
            kill_after: of a script, kill it when that many steps are done; several make several reports.
            options: the others of `dora_repro.check` or of `dora_repro.check_script`. The time limit is by default that
                of the configuration file.

        Returns:
            What was found, where that passed.

        Raises:
            Failed: it is not exact, or that could not be decided; or the question cannot be answered.
        """
        __tracebackhide__ = True
        from dora_repro.pytest_plugin import asking, telling

        self._calls += 1
        started = self._config.invocation_params.dir
        at = telling.place(traceback.extract_stack(limit=2)[0], started)
        given = {
            "resume": resume,
            "steps": steps,
            "save_at": save_at,
            "every_step": every_step,
            "twice": twice,
            "kill_after": kill_after,
        }
        asked = {name: value for name, value in given.items() if value is not None and value is not False} | options
        test, folder, refused = self._item, _pages(self._config), None
        try:
            timeout = _timeout(self._config)
            result = asking.ask(run, asked, title=test.name, timeout=timeout, page=folder is not None)
            kept = None if folder is None else telling.keep(result, folder, test.nodeid, self._calls)
        except (BadInput, MissingExtra) as error:
            refused = telling.cannot(error, at)
        if refused is not None:  # outside the `except`: pytest would show what it was raised from as well
            pytest.fail(refused, pytrace=False)
        test.user_properties.append(("resume_exact", result.summary))
        if not result.passed:
            page = None if kept is None else telling.seen_from(started, kept)
            pytest.fail(telling.failure(result, at, page, whole=self._config.get_verbosity() > 1), pytrace=False)
        return result
