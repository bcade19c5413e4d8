from datetime import datetime

from pydantic import BaseModel, Field


class TemplateOut(BaseModel):
    """A Jinja text that prompts were rendered with."""

    sha256: str = Field(description="The text's SHA-256 hash, in hexadecimal.")
    text: str
    created_at: datetime = Field(description="When it was first used.")
