"""The process that executes one notebook, started by `running.execute` alone."""

import sys


def main(asked: dict) -> None:
    """Execute with papermill; exits with 1 where a cell raised or came to no end, and says so."""
    import papermill

    try:
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
    except Exception as error:
        print(f"{type(error).__name__}: {error}")
        sys.exit(1)
