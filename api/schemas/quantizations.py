import uuid
from collections.abc import Sequence
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.common import Name, NewModelName, RequestBody
from api.schemas.fine_tunes import JobEventOut
from api.schemas.jobs import JobOut, job_fields
from db.queries.quantizations import QuantizationRow
from db.tables.jobs import JobEvent
from db.tables.quantizations import QuantizationVariant, QuantizedModule
from db.vocabulary import Split


class QuantizationOptionsIn(RequestBody):
    """GPTQConfig's own names and meanings."""

    bits: Literal[2, 3, 4, 8] = 4
    group_size: Literal[-1, 16, 32, 64, 128, 256, 512, 1024] = Field(
        128, description="Weights of a row that share a scale; it divides their number. -1: all."
    )
    desc_act: bool = Field(False, description="Quantize the columns that matter most first. Smaller errors, slower.")
    sym: bool = Field(True, description="Symmetric about 0.")
    damp_percent: float = Field(0.1, gt=0, lt=1, description="Of the Hessian's mean diagonal, added to all of it.")
    samples: int = Field(128, ge=1, le=100_000, description="Calibration rows, drawn by the seed.")
    max_length: int = Field(512, ge=1, le=131_072, description="Tokens of each that are used.")
    seed: int = Field(42, ge=0, le=2**32 - 1)


class QuantizationIn(RequestBody):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "starter",
                    "dataset": "pages",
                    "name": "starter-4bit",
                    "options": {"bits": 4, "group_size": 64},
                    "report_rows": 50,
                }
            ]
        }
    )

    model: Name = Field(description="A registered full model, not quantized yet.")
    dataset: Name = Field(description="Whose rows calibrate it, and whose other split the report is on.")
    split: Split = Field(Split.TRAIN, strict=False, description="The calibration rows'.")
    name: NewModelName = Field(description="What the quantized model will be called.")
    options: QuantizationOptionsIn = QuantizationOptionsIn()
    report_rows: int = Field(
        50, ge=0, le=100_000, description="Rows of the other split that the report is on; 0: no report."
    )


class QuantizationOut(JobOut):
    """A quantization job: what was asked, and when it has succeeded, the quantized model."""

    model: str
    dataset: str
    split: Split
    name: str
    options: dict[str, Any]
    report_rows: int
    result_model_id: uuid.UUID | None = Field(description="The model that came of it.")

    @classmethod
    def of_row(cls, row: QuantizationRow) -> Self:
        return cls(**_fields(row))


class ModuleOut(BaseModel):
    """One quantized module of a layer."""

    module: str
    layer: int
    error: float | None = Field(
        description="Squared distance between its outputs before and after, over the calibration's tokens; null where "
        "none came to it."
    )
    relative_error: float | None = Field(description="The same over the outputs' own squares.")
    tokens: int
    seconds: float


class VariantOut(BaseModel):
    """One way to run the model, measured on the same rows."""

    variant: str = Field(examples=["original", "gptq", "bitsandbytes-8", "bitsandbytes-4"])
    error: str | None = Field(description="Why it could not be measured.")
    disk_bytes: int | None
    memory_bytes: int | None = Field(description="Of weights and buffers.")
    perplexity: float | None = Field(description="Of the references, given the prompts.")
    exact_match: float | None
    chrf: float | None
    rows: int | None
    tokens_per_second: float | None
    seconds: float | None = Field(description="To make it ready: to load it, and for GPTQ to quantize it.")


class QuantizationDetails(QuantizationOut):
    report: list[VariantOut]
    modules: list[ModuleOut]
    events: list[JobEventOut] = Field(description="What happened on the way, in order.")

    @classmethod
    def of_row_and(
        cls,
        row: QuantizationRow,
        variants: Sequence[QuantizationVariant],
        modules: Sequence[QuantizedModule],
        events: Sequence[JobEvent],
    ) -> Self:
        return cls(
            **_fields(row),
            report=[VariantOut.model_validate(variant, from_attributes=True) for variant in variants],
            modules=[ModuleOut.model_validate(module, from_attributes=True) for module in modules],
            events=[JobEventOut.of(event) for event in events],
        )


def _fields(row: QuantizationRow) -> dict[str, Any]:
    asked = row.request
    return {
        **job_fields(row.job),
        "model": row.model.name,
        "dataset": row.dataset.name,
        "split": asked.split,
        "name": asked.name,
        "options": asked.options,
        "report_rows": asked.report_rows,
        "result_model_id": row.job.result_model_id,
    }
