"""Tests in a real browser: JupyterLab once a session, a browser once a file, a page for each notebook.

The browser is a file's own, since Playwright keeps an event loop in this thread as long as it is there, and tests of
other folders may start one. Skipped where there is no Chromium; in continuous integration a Chromium without Playwright
is an error, not a reason.
"""

import shutil

import pytest

from tests.browser import jupyter

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]  # as root, in a container, with little memory


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests marked `browser`, with the reason, where there is nothing to run them in."""
    marked = [item for item in items if item.get_closest_marker("browser")]
    if marked and jupyter.missing():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=jupyter.missing()))


@pytest.fixture(scope="session")
def copies(pytestconfig, tmp_path_factory):
    """A folder with copies of the notebooks."""
    folder = tmp_path_factory.mktemp("copies")
    for path in (pytestconfig.rootpath / "notebooks").glob("*.ipynb"):
        shutil.copy(path, folder)
    return folder


@pytest.fixture(scope="session")
def lab(copies, tmp_path_factory):
    """The address of a JupyterLab on the copies, with `{}` where the path goes."""
    home = tmp_path_factory.mktemp("jupyter")
    with jupyter.server(copies, home, home / "log.txt") as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=jupyter.chromium(), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def open_notebook(browser, lab, copies, pytestconfig):
    """`open_notebook("03_parameter_differences", epochs=2)`: a `jupyter.Notebook` in a page of its own, kernel idle.

    Parameters that are given replace those in the copy: shorter training, the same page.
    """
    contexts = []

    def open_notebook(name: str, **given: object) -> jupyter.Notebook:
        if given:
            jupyter.give(copies / f"{name}.ipynb", given)
        contexts.append(browser.new_context(viewport=jupyter.SIZE, reduced_motion="reduce"))
        page = contexts[-1].new_page()
        page.set_default_timeout(30_000)
        notebook = jupyter.Notebook(page, pytestconfig.rootpath / "out" / "browser")
        workspace = f"test-{len(contexts)}-{name}"  # of its own, so that no other test's tabs come back
        notebook.open(lab.format(f"lab/workspaces/{workspace}/tree/{name}.ipynb"))
        return notebook

    yield open_notebook
    for context in contexts:
        context.close()
