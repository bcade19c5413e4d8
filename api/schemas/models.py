import re
import uuid
from datetime import datetime
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from api.schemas.common import Name, RequestBody
from db.tables import Model, ModelSource

HUB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*")
COMMIT = re.compile(r"[0-9a-f]{40}")


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
            ]
        }
    )

    name: Name = Field(description="What jobs call it by.")
    source: ModelSource = Field(strict=False)
    location: Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=r"^[\w./-]+$")] = Field(
        description="bundled: its name; local: a folder inside the models directory; hub: `owner/name`."
    )
    revision: str | None = Field(None, max_length=64, description="hub: the commit, 40 hex digits. Others: none.")


class ModelOut(BaseModel):
    id: uuid.UUID
    name: str
    source: ModelSource
    location: str
    revision: str | None
    created_at: datetime

    @classmethod
    def of(cls, model: Model) -> Self:
        return cls.model_validate(model, from_attributes=True)
