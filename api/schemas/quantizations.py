from collections.abc import Sequence
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.common import Name, NewModelName
from api.schemas.jobs import JobEventOut, JobOut, job_fields
from api.schemas.prompting import PromptIn, PromptOut
from db.queries.quantizations import QuantizationRow
from db.tables.jobs import JobEvent
from db.tables.quantizations import QuantizationVariant, QuantizedModule
from db.vocabulary import Split
from models.quantization.options import QuantizationOptions


class QuantizationIn(PromptIn):
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

    model: Name = Field(description="The name or id of a registered full model that is not quantized.")
    dataset: Name = Field(description="The name or id of the dataset with the calibration rows.")
    split: Split = Field(Split.TRAIN, strict=False, description="The split from which calibration rows are drawn.")
    name: NewModelName = Field(description="The name of the quantized model.")
    options: QuantizationOptions = QuantizationOptions()
    report_rows: int = Field(
        50,
        ge=0,
        le=100_000,
        description="The number of rows of the other split on which the report compares the model's variants; 0: no "
        "report.",
    )


class QuantizationOut(PromptOut, JobOut):
    """A quantization job: the request, and the quantized model when the job has succeeded."""

    model: str
    dataset: str
    split: Split
    name: str = Field(description="The name of the quantized model.")
    options: dict[str, Any]
    report_rows: int

    @classmethod
    def of_row(cls, row: QuantizationRow) -> Self:
        return cls(**_fields(row))


class ModuleOut(BaseModel):
    """One quantized module of the model."""

    module: str = Field(description="The module's name.")
    layer: int = Field(description="The number of its layer, from 0.")
    error: float | None = Field(
        description="The squared distance between the module's outputs before and after quantization, as a mean over "
        "the calibration tokens; null if no token reached the module."
    )
    relative_error: float | None = Field(description="`error` divided by the mean square of the outputs before.")
    tokens: int = Field(description="The number of calibration tokens that reached the module.")
    seconds: float = Field(description="The time it took to quantize the module.")


class VariantOut(BaseModel):
    """One variant of the model. All variants are measured on the same rows."""

    variant: str = Field(examples=["original", "gptq", "bitsandbytes-8", "bitsandbytes-4"])
    error: str | None = Field(description="Why the variant could not be measured.")
    disk_bytes: int | None = Field(description="The size of the weight files.")
    memory_bytes: int | None = Field(description="The size of weights and buffers in memory.")
    perplexity: float | None = Field(description="The perplexity of the references, given the prompts.")
    exact_match: float | None = Field(description="The share of completions that equal their reference.")
    chrf: float | None = Field(description="The corpus chrF, from 0 to 100.")
    rows: int | None = Field(description="The number of rows measured.")
    tokens_per_second: float | None
    seconds: float | None = Field(
        description="The time it took to prepare the variant: to load it and, for GPTQ, to quantize it."
    )


class QuantizationDetails(QuantizationOut):
    report: list[VariantOut] = Field(description="How the variants of the model compare.")
    modules: list[ModuleOut] = Field(description="The modules quantized so far.")
    events: list[JobEventOut] = Field(description="What happened while the job ran, oldest first.")

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
    quantization = row.request
    return {
        **job_fields(row.job),
        "model": row.model.name,
        "dataset": row.dataset.name,
        "split": quantization.split,
        "name": quantization.name,
        "options": quantization.options,
        **{name: getattr(quantization, name) for name in PromptOut.model_fields},
        "report_rows": quantization.report_rows,
    }
