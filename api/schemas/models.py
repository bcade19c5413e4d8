import re
import uuid
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from api.schemas.common import NewModelName, RequestBody
from api.schemas.prompting import PromptTemplate
from db.queries.models import BUNDLED, ModelRow
from db.vocabulary import ModelKind, ModelSource

HUB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*")
COMMIT = re.compile(r"[0-9a-f]{40}")

_NULL: dict[str, Any] = {"type": "null"}


class ModelIn(RequestBody):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "llama-2-7b-chat-gptq",
                    "source": "hub",
                    "location": "TheBloke/Llama-2-7b-Chat-GPTQ",
                    "revision": "0123456789abcdef0123456789abcdef01234567",
                },
                {"name": "mine", "source": "local", "location": "my-model"},
            ],
            "oneOf": [
                {
                    "properties": {
                        "source": {"const": "bundled"},
                        "location": {"enum": list(BUNDLED)},
                        "revision": _NULL,
                    }
                },
                {"properties": {"source": {"const": "local"}, "revision": _NULL}},
                {
                    "required": ["revision"],
                    "properties": {
                        "source": {"const": "hub"},
                        "location": {"pattern": f"^{HUB_NAME.pattern}$"},
                        "revision": {"type": "string", "pattern": f"^{COMMIT.pattern}$"},
                    },
                },
            ],
        }
    )

    name: NewModelName = Field(description="The name by which jobs refer to the model.")
    source: Literal["bundled", "local", "hub"] = Field(
        description="`bundled`: a model that ships with Pagewright. `local`: a folder on the server. `hub`: a "
        "repository on the Hugging Face Hub."
    )
    location: Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=r"^[\w./-]+$")] = Field(
        description="For `bundled`, the model's name; for `local`, a folder inside the models directory; for `hub`, "
        "the repository as `owner/name`."
    )
    revision: str | None = Field(
        None,
        max_length=64,
        description="For `hub`, the full commit hash (40 hexadecimal digits). Not allowed for other sources.",
    )
    template: PromptTemplate = Field("auto", description="The prompt template of jobs that name none.")


class MergeIn(RequestBody):
    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "starter-pages-merged"}]})

    name: NewModelName = Field(description="The name of the merged model.")


class MergeRequest(MergeIn):
    """A merge request with the adapter from its path: an Idempotency-Key covers both."""

    model_id: uuid.UUID


class ModelOut(BaseModel):
    id: uuid.UUID
    name: str
    source: ModelSource = Field(description="Where the files are. `artifact`: in the artifact store, written by a job.")
    kind: ModelKind = Field(description="An adapter needs its parent's weights; a full model has its own.")
    location: str = Field(description="The path or name of the files at the source.")
    revision: str | None = Field(description="The commit of a hub model.")
    parent: str | None = Field(description="The name of the model that this one was derived from.")
    dataset_id: uuid.UUID | None = Field(description="The dataset that the model was trained or calibrated on.")
    template: str | None = Field(
        description="The prompt template that the model was registered or fine-tuned with, or that its parent was: a "
        "name, or the hash of a Jinja text. Null: `auto`."
    )
    template_sha256: str | None = Field(
        description="The hash of the template's Jinja text; `GET /v1/templates/{sha256}` returns the text. Null if it "
        "is the tokenizer's."
    )
    parameters: dict[str, Any] | None = Field(description="The options of the job that created the model.")
    quantization: dict[str, Any] | None = Field(
        description="How the stored weights are quantized: `method` and its options. Null if they are not quantized, "
        "and for hub models, whose files the API does not read.",
        examples=[{"method": "gptq", "bits": 4, "group_size": 128}],
    )
    engine: str | None = Field(
        description="How the model is served: `transformers-paged`, or `transformers-plain`, which is slower. Null "
        "until a worker has loaded it."
    )
    engine_reason: str | None = Field(description="Why the model is not served by the faster engine.")
    job_id: uuid.UUID | None = Field(description="The job that created the model.")
    created_at: datetime

    @classmethod
    def of(cls, row: ModelRow) -> Self:
        derived = ("parent", "quantization")
        columns = {name: getattr(row.model, name) for name in cls.model_fields if name not in derived}
        return cls(parent=row.parent_name, quantization=(row.model.parameters or {}).get("quantization"), **columns)
