"""What a task's process prints: log records, one line each, and nothing that libraries draw on a terminal."""

import logging
import os
import sys
import warnings

FORMAT = "%(levelname)s %(name)s: %(message)s"
QUIET = ("ContinuousBatchingLogger", "httpx", "optimum", "torch.utils.cpp_extension")
"""Loggers of libraries that write a line for every layer or request at INFO."""

VARIABLES = {"TQDM_DISABLE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
"""Environment variables that turn off progress bars. The libraries read them when they are imported."""


def log_plainly() -> None:
    """Print the log records of all libraries to standard error in one format, warnings among them.

    What is printed to standard output is dropped: gptqmodel draws its banner and tables there.
    """
    sys.stdout.flush()
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 1)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(FORMAT))
    logging.root.handlers = [handler]
    logging.root.setLevel(logging.INFO)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)
    warnings.formatwarning = lambda message, category, *_: f"{category.__name__}: {message}"
    logging.captureWarnings(True)
    adopt_libraries()


def adopt_libraries() -> None:
    """Let the root handler print the records of libraries that print their own. Call it after their import."""
    for logger in list(logging.root.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger) and logger.handlers:
            logger.handlers = []
            logger.propagate = True
