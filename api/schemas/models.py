import re
import uuid
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from api.schemas.common import NewModelName, RequestBody
from api.schemas.prompting import PromptTemplate
from db.queries.models import BUNDLED, ModelRow, commit_of
from db.vocabulary import ModelKind, ModelSource

HUB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*")
COMMIT = re.compile(r"[0-9a-f]{40}")
REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./+-]*")
NOT_LOOKED_UP = (
    "the hub did not answer when the model was registered, so nothing is known of it yet; the first worker that "
    "loads it looks it up"
)

_NULL: dict[str, Any] = {"type": "null"}


class ModelIn(RequestBody):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "llama-2-7b-chat-gptq",
                    "source": "hub",
                    "location": "TheBloke/Llama-2-7b-Chat-GPTQ",
                    "revision": "main",
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
                    "properties": {
                        "source": {"const": "hub"},
                        "location": {"pattern": f"^{HUB_NAME.pattern}$"},
                        "revision": {"type": ["string", "null"], "pattern": f"^{REVISION.pattern}$"},
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
        description="For `hub`, a branch, a tag or a commit; `main` if it is left out. Jobs use the commit that it is "
        "when the model is registered. Not allowed for other sources.",
    )
    template: PromptTemplate = Field("auto", description="The prompt template of jobs that name none.")


class MergeIn(RequestBody):
    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "starter-pages-merged"}]})

    name: NewModelName = Field(description="The name of the merged model.")


class MergeRequest(MergeIn):
    """A merge request with the adapter from its path: an Idempotency-Key covers both."""

    model_id: uuid.UUID


class ModelFilesOut(BaseModel):
    """What a model's configuration and its list of files say. A value that they do not tell is null."""

    architecture: str | None = Field(examples=["LlamaForCausalLM"])
    model_type: str | None = Field(description="transformers' name of the architecture.", examples=["llama"])
    parameters: int | None = Field(description="The number of weights; null if they are quantized.")
    weight_bytes: int | None = Field(description="The size of the files with the weights.")
    dtype: str | None = Field(description="The data type of the weights.", examples=["bfloat16"])
    chat_template: bool = Field(description="Whether the tokenizer has a chat template.")
    served_by: str = Field(
        description="Which engine will serve the model, as far as its configuration tells; `engine` is the one that "
        "does."
    )


class ModelOut(BaseModel):
    id: uuid.UUID
    name: str
    source: ModelSource = Field(description="Where the files are. `artifact`: in the artifact store, written by a job.")
    kind: ModelKind = Field(description="An adapter needs its parent's weights; a full model has its own.")
    location: str = Field(description="The path or name of the files at the source.")
    revision: str | None = Field(description="The branch, tag or commit that a hub model was registered with.")
    commit: str | None = Field(
        description="The commit of a hub model that jobs use; null for other sources, and for a branch or a tag until "
        "the hub has been asked."
    )
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
        "and for a hub model that has not been looked up.",
        examples=[{"method": "gptq", "bits": 4, "group_size": 128}],
    )
    engine: str | None = Field(
        description="How the model is served: `transformers-paged`, or `transformers-plain`, which is slower. Null "
        "until a worker has loaded it."
    )
    engine_reason: str | None = Field(description="Why the model is not served by the faster engine.")
    files: ModelFilesOut | None = Field(
        description="What the files of a local or a hub model are. Null for other sources, and if they are not known."
    )
    note: str | None = Field(description="What a client should know of a hub model that has not been looked up.")
    job_id: uuid.UUID | None = Field(description="The job that created the model.")
    created_at: datetime

    @classmethod
    def of(cls, row: ModelRow) -> Self:
        model = row.model
        derived = ("parent", "quantization", "commit", "files", "note")
        columns = {name: getattr(model, name) for name in cls.model_fields if name not in derived}
        return cls(
            parent=row.parent_name,
            quantization=(model.parameters or {}).get("quantization"),
            commit=commit_of(model),
            files=model.files and ModelFilesOut(**model.files),
            note=NOT_LOOKED_UP if model.source == ModelSource.HUB and model.files is None else None,
            **columns,
        )
