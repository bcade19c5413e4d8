"""Run the experiment: register, quantize, fine-tune, evaluate, and write the report."""

from dataclasses import dataclass
from pathlib import Path

import httpx

from db.vocabulary import Split
from models.scoring.names import Baseline, Metric
from pagewright.cli.client import walk
from pagewright.cli.experiment import aims, jobs, report
from pagewright.cli.experiment.cleaning import register_cleaned
from pagewright.cli.experiment.plan import FINE_TUNED, ORIGINAL_ROWS, ExperimentError, Options, System, named
from pagewright.cli.experiment.progress import Steps
from pagewright.cli.experiment.registering import is_gptq, register_dataset, register_model
from pagewright.cli.experiment.results import (
    Dataset,
    Evaluated,
    FineTuned,
    Model,
    Point,
    ResultModel,
    Results,
    versions,
)


def run(client: httpx.Client, options: Options, dataset_file: Path | None, folder: Path, command: str) -> Results:
    """Run all steps on the server of `client`, write the report into `folder`, and return the results.

    `folder` is created if it does not exist. The dataset is uploaded from `dataset_file`, or fetched from the hub if
    that is None. `command` is shown in the report as the command that gave the results. Raises ExperimentError for a
    step that fails, and ServerError.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)  # before the steps, which take long
    except OSError as error:
        raise ExperimentError(f"the report's folder can't be created: {error}") from None
    dataset = register_dataset(client, options, dataset_file)
    training = register_cleaned(client, options, dataset) if options.cleans else dataset
    base = register_model(client, options)
    full_precision = not is_gptq(base)
    limits = options.limits(dataset.test_rows)
    builds, systems = (3, 6) if full_precision else (1, 4)
    with Steps(builds + systems * len(limits)) as steps:
        run_steps = _Run(client, options, dataset, training, base, steps)
        # Train before evaluating: on a shared GPU, a model that an inference worker has loaded leaves little memory.
        quantization = run_steps.quantize() if full_precision else None
        bases = {System.BASE: base.name} if full_precision else {}
        bases[System.GPTQ] = quantization.name if quantization else base.name
        fine_tunes = [run_steps.fine_tune(system, name) for system, name in bases.items()]
        models = {
            System.NEAREST_NEIGHBOUR: Baseline.NEAREST_NEIGHBOUR.value,
            System.CONSTANT: Baseline.CONSTANT.value,
            **bases,
            **{fine_tune.system: fine_tune.name for fine_tune in fine_tunes},
        }
        evaluations = [run_steps.evaluate(system, name, limit) for system, name in models.items() for limit in limits]
    results = Results(
        command=command,
        versions=versions(),
        model=base,
        dataset=dataset,
        training=training,
        quantization=quantization,
        fine_tunes=fine_tunes,
        evaluations=evaluations,
        aims=aims.judge(evaluations, original=dataset.original),
        notes=_notes(dataset, training, base, quantization, fine_tunes, evaluations),
    )
    largest = {evaluated.system: evaluated.evaluation_id for evaluated in evaluations if evaluated.limit == limits[-1]}
    report.write(
        folder, results, {system: jobs.predictions(client, largest[system]) for system in System if system in largest}
    )
    return results


@dataclass(frozen=True)
class _Run:
    """The steps of one run, and what they share."""

    client: httpx.Client
    options: Options
    dataset: Dataset
    training: Dataset
    base: Model
    steps: Steps

    def quantize(self) -> ResultModel:
        body = {
            "model": self.base.name,
            "dataset": self.training.name,
            "options": dict(self.options.quantization),
            "split": Split.TRAIN.value,
            "report_rows": 0,  # no report: it would use the test rows, which the evaluations measure
        }
        with self.steps.step("quantize the base") as report_progress:
            named_body = named(self.options, "gptq", body, self.base.revision)
            return jobs.build(self.client, "/v1/quantizations", named_body, report_progress)

    def fine_tune(self, base: System, model: str) -> FineTuned:
        system = FINE_TUNED[base]
        body = {"model": model, "dataset": self.training.name, **self.options.recipe()}
        what = "lora" if base == System.BASE else "gptq-lora"
        with self.steps.step(f"fine-tune the {base}") as report_progress:
            named_body = named(self.options, what, body, self.base.revision)
            result_model = jobs.build(self.client, "/v1/fine-tunes", named_body, report_progress)
        curve = list(walk(self.client, f"/v1/fine-tunes/{result_model.job_id}/steps", Point, limit=1000))
        return FineTuned(**dict(result_model), system=system, curve=curve)

    def evaluate(self, system: System, model: str, limit: int | None) -> Evaluated:
        body = {
            "model": model,
            "dataset": self.dataset.name,
            "limit": limit,
            "metrics": list(Metric),
            "max_new_tokens": self.options.max_new_tokens,
        }
        rows = "all test rows" if limit is None else f"the first {limit} test rows"
        with self.steps.step(f"evaluate {system} on {rows}") as report_progress:
            job = jobs.evaluate(self.client, body, report_progress)
        return Evaluated(
            system=system,
            model=model,
            evaluation_id=job.id,
            limit=limit,
            rows=job.rows,
            attempts=job.attempt,
            seconds=jobs.seconds(job) or 0,
            template=job.template,
            extract=job.extract,
            scores=job.scores,
        )


def _notes(
    dataset: Dataset,
    training: Dataset,
    base: Model,
    quantization: ResultModel | None,
    fine_tunes: list[FineTuned],
    evaluations: list[Evaluated],
) -> list[str]:
    notes = []
    if training.name != dataset.name:
        notes.append(
            f"Trained on {training.train_rows} of the {dataset.train_rows} training rows, cleaned: with a doctype, "
            "with two spaces of indentation, and without the pages that are still invalid."
        )
    if quantization is None:
        notes.append(f"{base.name} is already quantized by GPTQ, so there is no base in full precision to evaluate.")
    if not dataset.original:
        expected = " and ".join(map(str, ORIGINAL_ROWS))
        notes.append(f"The dataset is not the original one of {expected} rows, so the results are not comparable.")
    if dataset.overlapping_rows:
        notes.append(f"{dataset.overlapping_rows} test rows are also training rows.")
    if extracting := sorted({evaluated.template or "" for evaluated in evaluations if evaluated.extract == "html"}):
        notes.append(
            f"With the prompt template {', '.join(extracting)}, the page in a completion is scored: its first fenced "
            "block with HTML, else what there is from the doctype or `<html` to `</html>`."
        )
    for result_model in [quantization, *fine_tunes]:
        if result_model is None:
            continue
        if result_model.reused:
            notes.append(f"{result_model.name} was created by an earlier run.")
        notes += [f"{result_model.name}: {event.message}" for event in result_model.events]
    notes += [
        f"{evaluated.system}, {evaluated.rows} rows: the seconds are those of attempt {evaluated.attempts}, "
        "which continued an earlier attempt."
        for evaluated in evaluations
        if evaluated.attempts > 1
    ]
    return notes
