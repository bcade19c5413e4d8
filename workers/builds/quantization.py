"""Quantization jobs: a model is quantized with a dataset's rows, and its variants are measured."""

import uuid
from dataclasses import asdict

from sqlalchemy.orm import Session

from db.queries import datasets, quantizations
from db.tables.quantizations import Quantization
from db.vocabulary import JobKind, ModelKind, Split
from models.quantization.options import QuantizationOptions
from models.quantization.task import QuantizeTask
from models.tasks.reports import MeasuredVariant, PromptTemplate, QuantizedModule
from workers.builds.build import Build, build_job
from workers.builds.recorder import Recorder, Store
from workers.builds.result import ResultModel
from workers.model_refs import model_ref
from workers.prompting import prompt_options, store_template

SCORES = ("variant", "rows", "perplexity", "exact_match", "chrf", "disk_bytes", "memory_bytes", "tokens_per_second")
"""The columns of the report that the model card shows."""


@build_job(JobKind.QUANTIZATION)
def quantize(build: Build) -> ResultModel:
    """Quantize from the start: an earlier attempt's measurements are deleted."""
    runtime = build.runtime
    with runtime.database.write() as session:
        row = quantizations.get(session, build.job_id, owner=None)
        assert row is not None, "the quantization is stored with its job"
        quantizations.forget_measured(session, build.job_id)
    quantization = row.request
    rows = runtime.artifacts.local_folder(datasets.artifact(row.dataset.sha256))
    task = QuantizeTask(
        work_folder=build.folder,
        model=model_ref(runtime, row.model),
        calibration=rows / f"{quantization.split}.parquet",
        options=QuantizationOptions(**quantization.options),
        evaluation=rows / f"{Split(quantization.split).other}.parquet" if quantization.report_rows else None,
        evaluation_rows=quantization.report_rows,
        prompt=prompt_options(runtime, quantization, row.model),
    )
    stores: dict[type, Store] = {
        QuantizedModule: _add_module,
        MeasuredVariant: _add_variant,
        PromptTemplate: store_template(Quantization),
    }
    build.run_process(task, Recorder(runtime, build.lease, stores))
    with runtime.database.read() as session:
        done = quantizations.get(session, build.job_id, owner=None)
        variants = quantizations.variants(session, build.job_id)
    assert done is not None
    return ResultModel(
        name=quantization.name,
        kind=ModelKind.FULL,
        parent_id=quantization.model_id,
        dataset_id=quantization.dataset_id,
        template=done.request.template,
        parameters={"split": quantization.split, "quantization": {"method": "gptq", **quantization.options}},
        scores=[{name: getattr(variant, name) for name in SCORES} for variant in variants],
    )


def _add_module(session: Session, job_id: uuid.UUID, report: QuantizedModule) -> None:
    values = asdict(report)
    del values["kind"]
    quantizations.add_module(session, job_id, values)


def _add_variant(session: Session, job_id: uuid.UUID, report: MeasuredVariant) -> None:
    values = asdict(report)
    del values["kind"], values["percent_done"], values["remaining_seconds"]
    quantizations.add_variant(session, job_id, values)
