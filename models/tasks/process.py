"""A long task in a process of its own: `python -m models.tasks.process SPECIFICATION`, or under `accelerate launch`.

A process that ends gives back all of its GPU memory, and one that crashes takes nobody with it. The specification is a
JSON file that `write_specification` makes. Reports go to `reports.jsonl` in the work folder, and what is made to
`made`; a file `stop` there asks for an orderly end. The process also ends, at once, when its standard input does: with
whoever started it.
"""

import json
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from models.fine_tuning.options import LoraOptions, TrainingOptions
from models.loading.refs import ModelLoadError, ModelRef, Source
from models.quantization.options import QuantizationError, QuantizationOptions
from models.tasks.reports import Ended, Outcome, Report, ReportWriter

REPORTS = "reports.jsonl"
STOP = "stop"
MADE = "made"


def main(specification: Path) -> None:
    _end_with_standard_input()
    fields = json.loads(specification.read_text())
    folder = Path(fields["work_folder"])
    report = ReportWriter(folder / REPORTS)
    ended = _run(fields, folder, report)
    if ended.outcome not in (Outcome.DONE, Outcome.STOPPED) or os.environ.get("RANK", "0") == "0":
        report(ended)
    # Not sys.exit: one process of several that failed must not wait for the others to agree to it.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0 if ended.outcome in (Outcome.DONE, Outcome.STOPPED) else 1)


def _run(fields: dict[str, Any], folder: Path, report: Callable[[Report], None]) -> Ended:
    from accelerate.utils.memory import should_reduce_batch_size

    import models.loading.loader  # noqa: F401  sets where the hub's cache is before PEFT is imported
    from models.fine_tuning.trainer import Diverged, FineTuneError

    try:
        done = _TASKS[fields.pop("task")](fields, folder, report)
    except Diverged as error:
        return Ended(Outcome.DIVERGED, str(error))
    except (FineTuneError, QuantizationError, NotImplementedError) as error:
        return Ended(Outcome.INVALID, str(error))
    except ModelLoadError as error:
        return Ended(Outcome.MODEL_UNAVAILABLE, str(error))
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, MemoryError) or should_reduce_batch_size(error):
            return Ended(Outcome.OUT_OF_MEMORY, str(error).splitlines()[0] if str(error) else "out of memory")
        raise
    return Ended(Outcome.DONE if done else Outcome.STOPPED)


def _fine_tune(fields: dict[str, Any], folder: Path, report: Callable[[Report], None]) -> bool:
    from models.fine_tuning.training import FineTuneTask, fine_tune

    task = FineTuneTask(
        base=_model_ref(fields["base"]),
        base_name=fields["base_name"],
        train=Path(fields["train"]),
        evaluation=Path(fields["evaluation"]) if fields["evaluation"] else None,
        lora=LoraOptions(**{**fields["lora"], "target_modules": tuple(fields["lora"]["target_modules"])}),
        training=TrainingOptions(**fields["training"]),
        work_folder=folder,
        checkpoint=Path(fields["checkpoint"]) if fields["checkpoint"] else None,
    )
    return fine_tune(task, report, (folder / STOP).exists)


def _merge(fields: dict[str, Any], folder: Path, report: Callable[[Report], None]) -> bool:
    from models.loading.merging import merge

    merge(_model_ref(fields["model"]), folder / MADE)
    return True


def _quantize(fields: dict[str, Any], folder: Path, report: Callable[[Report], None]) -> bool:
    from models.quantization.gptq import QuantizeTask, quantize

    task = QuantizeTask(
        model=_model_ref(fields["model"]),
        calibration=Path(fields["calibration"]),
        options=QuantizationOptions(**fields["options"]),
        work_folder=folder,
        evaluation=Path(fields["evaluation"]) if fields["evaluation"] else None,
        evaluation_rows=fields["evaluation_rows"],
    )
    return quantize(task, report, (folder / STOP).exists)


def _model_ref(fields: dict[str, Any]) -> ModelRef:
    return ModelRef(**{**fields, "source": Source(fields["source"])})


_TASKS = {"fine_tune": _fine_tune, "merge": _merge, "quantize": _quantize}


def write_specification(task: str, work_folder: Path, **fields: Any) -> Path:
    """Store what `main` is to do; dataclasses and paths among the fields are written as JSON."""
    file = work_folder / "specification.json"
    content = {"task": task, "work_folder": work_folder, **fields}
    file.write_text(json.dumps(content, default=lambda value: str(value) if isinstance(value, Path) else asdict(value)))
    return file


def command(specification: Path, devices: int) -> list[str]:
    """How to start `main` as one process, or as one for each of several devices."""
    task = ["-m", "models.tasks.process", str(specification)]
    if devices == 1:
        return [sys.executable, *task]
    launch = f"accelerate.commands.launch --num_machines 1 --num_processes {devices} --main_process_port 0"
    # --multi_gpu means processes that find each other through torch.distributed; without a GPU they use the CPU
    return [sys.executable, "-m", *launch.split(), "--multi_gpu", "--mixed_precision=no", "--dynamo_backend=no", *task]


def environment(devices: int) -> dict[str, str]:
    """What `main` is to find in its environment, beside what is there."""
    variables = {"TOKENIZERS_PARALLELISM": "false"}
    if devices == 1:  # or Trainer would spread each batch over all the GPUs that it sees
        variables["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    return variables


def _end_with_standard_input() -> None:
    def wait() -> None:
        while os.read(0, 1024):
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
