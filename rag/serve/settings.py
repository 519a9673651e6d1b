"""What a server allows: limits, and where it keeps things."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt


class Settings(BaseModel):
    """Limits of a server, and its folder. All have defaults that suit a small machine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: Path = Field(
        default=Path(".rag/serve"), description="folder of conversations, uploads and the secret"
    )
    concurrency: PositiveInt = Field(default=4, description="questions worked on at once")
    queue: NonNegativeInt = Field(default=256, description="questions that may wait")
    queue_per_tenant: NonNegativeInt = Field(default=64, description="of these, of one tenant")
    patience: PositiveFloat = Field(default=120, description="seconds that a question may wait")
    run_seconds: PositiveFloat = Field(default=300, description="seconds that a run may take")
    shutdown_seconds: PositiveFloat = Field(
        default=30, description="seconds that what was accepted has left at a shutdown"
    )
    max_body: PositiveInt = Field(default=2**20, description="bytes of a JSON request")
    max_question: PositiveInt = Field(default=8000, description="characters of a question")
    max_upload: PositiveInt = Field(default=20 * 2**20, description="bytes of an uploaded file")
    max_files: PositiveInt = Field(default=20, description="files of one upload")
    max_documents: PositiveInt = Field(default=10_000, description="documents of one tenant")
    max_text: PositiveInt = Field(default=5_000_000, description="characters in an uploaded file")
    max_pages: PositiveInt = Field(default=2000, description="pages of an uploaded PDF")
    inspect_seconds: PositiveFloat = Field(default=30, description="for reading an uploaded file")
    inspect_memory: PositiveInt = Field(default=2**30, description="bytes for reading one")
    keep_runs: PositiveInt = Field(default=1000, description="finished runs that are remembered")
    page: bool = Field(default=True, description="offer the chat page")
