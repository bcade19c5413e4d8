import uuid
from datetime import datetime
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.common import PageQuery, RequestBody, VisibleText
from db.tables.api_keys import ApiKey
from db.vocabulary import Role


class ApiKeyIn(RequestBody):
    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "ci", "role": "user"}]})

    name: VisibleText = Field(min_length=1, max_length=200, description="A label for the key. It need not be unique.")
    role: Role = Field(
        Role.USER,
        strict=False,
        description="`user` can submit generations and evaluations, and sees its own jobs. `admin` can do everything.",
    )


class ApiKeysQuery(PageQuery):
    name: VisibleText | None = Field(None, max_length=200, description="Return only keys with this name.")


class ApiKeyOut(BaseModel):
    id: uuid.UUID
    name: str
    role: Role
    prefix: str = Field(description="The first characters of the key.")
    created_at: datetime
    revoked_at: datetime | None = Field(description="When the key was revoked; null while it is valid.")

    @classmethod
    def of(cls, key: ApiKey) -> Self:
        return cls.model_validate(key, from_attributes=True)


class ApiKeyCreated(ApiKeyOut):
    key: str = Field(description="The API key. The server stores only its hash and can't show it again.")
