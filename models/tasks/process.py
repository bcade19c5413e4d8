"""Runs a long task in its own process: `python -m models.tasks.process SPECIFICATION`, or with `accelerate launch`.

A process returns all of its GPU memory when it ends, and a crash ends nothing else. The specification is a file that
`write_specification` wrote. Reports go to `reports.jsonl` beside it. Creating the file `stop` beside it tells the task
to stop in order. The process ends at once when its standard input is closed, so it never outlives the process that
started it.
"""

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from models.loading.hub import HubUnreachable
from models.tasks import output
from models.tasks.errors import TaskError, is_out_of_memory
from models.tasks.reports import Ended, Outcome, Report, ReportWriter
from models.tasks.specification import read_specification

REPORTS = "reports.jsonl"
STOP = "stop"


def main(specification: Path) -> None:
    """Run the task, report how it ended, and exit: with status 0 if it is done or was stopped, else with 1."""
    _exit_with_standard_input()
    output.log_plainly()
    folder = specification.parent
    report = ReportWriter(folder / REPORTS)
    ended = _run(specification, report, (folder / STOP).exists)
    succeeded = ended.outcome in (Outcome.DONE, Outcome.STOPPED)
    if not succeeded or os.environ.get("RANK", "0") == "0":
        report(ended)
    # os._exit, since sys.exit would make one failed process of several wait for the others.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0 if succeeded else 1)


def _run(specification: Path, report: Callable[[Report], None], should_stop: Callable[[], bool]) -> Ended:
    run = read_specification(specification)
    output.adopt_libraries()  # it has imported them
    try:
        done = run(report, should_stop)
    except TaskError as error:
        return Ended(error.outcome, str(error))
    except HubUnreachable as error:
        return Ended(Outcome.HUB_UNREACHABLE, str(error))
    except NotImplementedError as error:
        return Ended(Outcome.INVALID, str(error))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return Ended(Outcome.OUT_OF_MEMORY, str(error).splitlines()[0] if str(error) else "out of memory")
    return Ended(Outcome.DONE if done else Outcome.STOPPED)


def command(specification: Path, devices: int) -> list[str]:
    """Return the command line that runs a task on `devices` devices, with one process for each."""
    task = ["-m", "models.tasks.process", str(specification)]
    if devices == 1:
        return [sys.executable, *task]
    launch = f"accelerate.commands.launch --num_machines 1 --num_processes {devices} --main_process_port 0"
    # --multi_gpu makes the processes use torch.distributed. Without a GPU they compute on the CPU.
    return [sys.executable, "-m", *launch.split(), "--multi_gpu", "--mixed_precision=no", "--dynamo_backend=no", *task]


def environment(devices: int) -> dict[str, str]:
    """Return the environment variables that a task's process needs in addition to those of its parent."""
    variables = {"TOKENIZERS_PARALLELISM": "false", **output.VARIABLES}
    if devices == 1:  # Trainer would spread each batch over all the GPUs that it sees
        variables["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    return variables


def _exit_with_standard_input() -> None:
    def wait() -> None:
        while os.read(0, 1024):
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
