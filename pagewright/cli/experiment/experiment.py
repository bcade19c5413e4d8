"""The experiment itself: register, quantize, fine-tune, evaluate, and write down what came of it."""

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
from pagewright.cli.experiment.results import Dataset, Evaluated, FineTuned, Made, Model, Point, Results, versions


def run(client: httpx.Client, options: Options, dataset_file: Path | None, folder: Path, command: str) -> Results:
    """Do all of it on the server of `client`, and write the report into `folder`, which is made if it is not there.

    The dataset is uploaded from `dataset_file`, or comes from the hub. `command` is what the results are said to come
    from. Raises ExperimentError for a step that fails, and ServerError.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)  # before the work, which takes long
    except OSError as error:
        raise ExperimentError(f"the report's folder can't be made: {error}") from None
    dataset = register_dataset(client, options, dataset_file)
    training = register_cleaned(client, options, dataset) if options.cleans else dataset
    base = register_model(client, options)
    in_full_precision = not is_gptq(base)
    limits = options.limits(dataset.test_rows)
    to_make, to_evaluate = (3, 6) if in_full_precision else (1, 4)
    with Steps(to_make + to_evaluate * len(limits)) as steps:
        asking = _Asking(client, options, dataset, training, base, steps)
        # All training first: an inference worker that holds a model leaves little of a GPU that they share.
        quantization = asking.quantize() if in_full_precision else None
        bases = {System.BASE: base.name} if in_full_precision else {}
        bases[System.GPTQ] = quantization.name if quantization else base.name
        fine_tunes = [asking.fine_tune(system, name) for system, name in bases.items()]
        models = {
            System.NEAREST_NEIGHBOUR: Baseline.NEAREST_NEIGHBOUR.value,
            System.CONSTANT: Baseline.CONSTANT.value,
            **bases,
            **{made.system: made.name for made in fine_tunes},
        }
        evaluations = [asking.evaluate(system, name, limit) for system, name in models.items() for limit in limits]
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
    largest = {one.system: one.evaluation_id for one in evaluations if one.limit == limits[-1]}
    report.write(
        folder, results, {system: jobs.predictions(client, largest[system]) for system in System if system in largest}
    )
    return results


@dataclass(frozen=True)
class _Asking:
    """What the steps have in common."""

    client: httpx.Client
    options: Options
    dataset: Dataset
    training: Dataset
    base: Model
    steps: Steps

    def quantize(self) -> Made:
        body = {
            "model": self.base.name,
            "dataset": self.training.name,
            "options": dict(self.options.quantization),
            "split": Split.TRAIN.value,
            "report_rows": 0,  # it would be on the test rows, which the evaluations are on
        }
        with self.steps.step("quantize the base") as tell:
            named_body = named(self.options, "gptq", body, self.base.revision)
            return jobs.make(self.client, "/v1/quantizations", named_body, tell)

    def fine_tune(self, base: System, model: str) -> FineTuned:
        system = FINE_TUNED[base]
        body = {"model": model, "dataset": self.training.name, **self.options.recipe()}
        what = "lora" if base == System.BASE else "gptq-lora"
        with self.steps.step(f"fine-tune the {base}") as tell:
            named_body = named(self.options, what, body, self.base.revision)
            made = jobs.make(self.client, "/v1/fine-tunes", named_body, tell)
        curve = list(walk(self.client, f"/v1/fine-tunes/{made.job_id}/steps", Point, limit=1000))
        return FineTuned(**dict(made), system=system, curve=curve)

    def evaluate(self, system: System, model: str, limit: int | None) -> Evaluated:
        body = {
            "model": model,
            "dataset": self.dataset.name,
            "limit": limit,
            "metrics": list(Metric),
            "max_new_tokens": self.options.max_new_tokens,
        }
        rows = "all test rows" if limit is None else f"the first {limit} test rows"
        with self.steps.step(f"evaluate {system} on {rows}") as tell:
            job = jobs.evaluate(self.client, body, tell)
        return Evaluated(
            system=system,
            model=model,
            evaluation_id=job.id,
            limit=limit,
            rows=job.rows,
            attempts=job.attempt,
            seconds=jobs.seconds(job) or 0,
            scores=job.scores,
        )


def _notes(
    dataset: Dataset,
    training: Dataset,
    base: Model,
    quantization: Made | None,
    fine_tunes: list[FineTuned],
    evaluations: list[Evaluated],
) -> list[str]:
    notes = []
    if training.name != dataset.name:
        notes.append(
            f"Trained on {training.train_rows} of the {dataset.train_rows} training rows, cleaned: a doctype in front, "
            "two spaces of indentation, and pages that are invalid all the same left out."
        )
    if quantization is None:
        notes.append(f"{base.name} is quantized by GPTQ already: there is no base in full precision to stand here.")
    if not dataset.original:
        expected = " and ".join(map(str, ORIGINAL_ROWS))
        notes.append(f"The dataset is not the original's, which has {expected} rows: nothing here compares with it.")
    if dataset.overlapping_rows:
        notes.append(f"{dataset.overlapping_rows} test rows stand among the training rows, too.")
    for made in [quantization, *fine_tunes]:
        if made and made.reused:
            notes.append(f"{made.name} was made by an earlier run.")
        notes += [f"{made.name}: {event.message}" for event in made.events] if made else []
    notes += [
        f"{one.system}, {one.rows} rows: the seconds are those of attempt {one.attempts}, which went on from another."
        for one in evaluations
        if one.attempts > 1
    ]
    return notes
