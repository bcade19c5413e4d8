import re
import uuid
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from api.schemas.common import NewModelName, RequestBody
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

    name: NewModelName = Field(description="What jobs call it by.")
    source: Literal["bundled", "local", "hub"]
    location: Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=r"^[\w./-]+$")] = Field(
        description="bundled: its name; local: a folder inside the models directory; hub: `owner/name`."
    )
    revision: str | None = Field(None, max_length=64, description="hub: the commit, 40 hex digits. Others: none.")


class MergeIn(RequestBody):
    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "starter-pages-merged"}]})

    name: NewModelName = Field(description="What the merged model will be called.")


class MergeOf(MergeIn):
    """A merge with the adapter that the path names: what one Idempotency-Key stands for."""

    model_id: uuid.UUID


class ModelOut(BaseModel):
    id: uuid.UUID
    name: str
    source: ModelSource = Field(description="`artifact`: made here, and kept in the artifact store.")
    kind: ModelKind = Field(description="An adapter is served over its parent.")
    location: str
    revision: str | None
    parent: str | None = Field(description="The model that it was made from.")
    dataset_id: uuid.UUID | None = Field(description="What it was fine-tuned on.")
    template: str | None = Field(description="The prompt template that it was fine-tuned with.")
    parameters: dict[str, Any] | None = Field(description="How it was made.")
    quantization: dict[str, Any] | None = Field(
        description="How its weights are quantized, as far as that is known here: `method`, and what it says of "
        "itself. Null also for a hub model, whose files only a worker has.",
        examples=[{"method": "gptq", "bits": 4, "group_size": 128}],
    )
    job_id: uuid.UUID | None = Field(description="The job that made it.")
    created_at: datetime

    @classmethod
    def of(cls, row: ModelRow) -> Self:
        derived = ("parent", "quantization")
        columns = {name: getattr(row.model, name) for name in cls.model_fields if name not in derived}
        return cls(parent=row.parent_name, quantization=(row.model.parameters or {}).get("quantization"), **columns)
