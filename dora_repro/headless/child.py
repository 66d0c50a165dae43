"""The process that executes one notebook, started by `running.execute` alone."""

import sys
from typing import TypedDict


class Request(TypedDict):
    """What the parent asks for, as JSON on standard input; "sys.path" is the boot code's.

    Attributes:
        notebook: path of the notebook.
        copy: path of the executed copy.
        parameters: values by name, for the notebook's cell of parameters.
        cell_timeout: seconds for each cell.
    """

    notebook: str
    copy: str
    parameters: dict[str, object]
    cell_timeout: float


def main(request: Request) -> None:
    """Execute with papermill; where a cell raised or did not finish, print why and exit with 1."""
    try:
        _execute(request)
    except RuntimeError as error:
        if "before replying" not in str(error):
            _fail(error)
        # Two kernels that start at once may be given one port, and the later of them ends. It has run nothing yet.
        try:
            _execute(request)
        except Exception as again:
            _fail(again)
    except Exception as error:
        _fail(error)


def _execute(request: Request) -> None:
    import papermill

    papermill.execute_notebook(
        request["notebook"],
        request["copy"],
        parameters=request["parameters"],
        kernel_name="python3",
        execution_timeout=request["cell_timeout"],
        progress_bar=False,
        log_output=False,
        cwd=None,  # the folder of the notebook, where this process was started
    )


def _fail(error: Exception) -> None:
    print(f"{type(error).__name__}: {error}")
    sys.exit(1)
