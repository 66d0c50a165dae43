"""The process that executes one notebook, started by `running.execute` alone."""

import sys


def main(asked: dict) -> None:
    """Execute with papermill; exits with 1 where a cell raised or came to no end, and says so."""
    try:
        _execute(asked)
    except RuntimeError as error:
        if "before replying" not in str(error):
            _fail(error)
        # Two kernels that start at once may be given one port, and the later of them ends. It has run nothing yet.
        try:
            _execute(asked)
        except Exception as again:
            _fail(again)
    except Exception as error:
        _fail(error)


def _execute(asked: dict) -> None:
    import papermill

    papermill.execute_notebook(
        asked["notebook"],
        asked["copy"],
        parameters=asked["parameters"],
        kernel_name="python3",
        execution_timeout=asked["cell_timeout"],
        progress_bar=False,
        log_output=False,
        cwd=None,  # the folder of the notebook, where this process was started
    )


def _fail(error: Exception) -> None:
    print(f"{type(error).__name__}: {error}")
    sys.exit(1)
