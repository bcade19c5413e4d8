import uuid
from datetime import datetime
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.common import RequestBody, VisibleText
from db.tables.api_keys import ApiKey
from db.vocabulary import Role


class ApiKeyIn(RequestBody):
    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "ci", "role": "user"}]})

    name: VisibleText = Field(min_length=1, max_length=200)
    role: Role = Field(Role.USER, strict=False)


class ApiKeyOut(BaseModel):
    id: uuid.UUID
    name: str
    role: Role
    prefix: str = Field(description="How the key begins, to tell it from others.")
    created_at: datetime
    revoked_at: datetime | None

    @classmethod
    def of(cls, key: ApiKey) -> Self:
        return cls.model_validate(key, from_attributes=True)


class ApiKeyCreated(ApiKeyOut):
    key: str = Field(description="The key itself. It is not stored and is never shown again.")
