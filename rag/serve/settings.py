"""The limits of a server, and its folder."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt


class Settings(BaseModel):
    """Limits of a server, and its folder. The defaults suit a small machine; times in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: Path = Field(
        default=Path(".rag/serve"), description="folder of conversations, uploads and the secret"
    )
    state: str | None = Field(
        default=None,
        pattern="^postgres(ql)?://",
        description="postgresql://USER:PASSWORD@HOST/DATABASE, where several machines share "
        "conversations, runs and uploads; none: a file in `data`",
    )
    concurrency: PositiveInt = Field(default=4, description="concurrent questions")
    queue: NonNegativeInt = Field(default=256, description="questions that may wait")
    queue_per_user: NonNegativeInt = Field(default=64, description="of these, of one user")
    queue_timeout: PositiveFloat = Field(default=120, description="that a question may wait")
    requests_per_minute: PositiveInt | None = Field(
        default=None, description="questions and uploads of one user; none: any number"
    )
    tokens_per_day: PositiveInt | None = Field(
        default=None, description="that models may read and write for one user"
    )
    redis: str | None = Field(
        default=None, description="redis://..., where several servers count these two together"
    )
    max_tokens: PositiveInt = Field(
        default=4096, description="tokens of one output that a question may ask for"
    )
    open_flows: PositiveInt = Field(
        default=64, description="users whose flows and indexes stay open while they do nothing"
    )
    run_timeout: PositiveFloat = Field(default=300, description="that a run may take")
    shutdown_timeout: PositiveFloat = Field(
        default=30, description="until a shutdown ends what is still running"
    )
    max_body: PositiveInt = Field(default=2**20, description="bytes of a JSON request")
    max_question: PositiveInt = Field(default=8000, description="characters of a question")
    max_upload: PositiveInt = Field(default=20 * 2**20, description="bytes of an uploaded file")
    max_files: PositiveInt = Field(default=20, description="files of one upload")
    max_documents: PositiveInt = Field(default=10_000, description="uploads of one user")
    max_user_bytes: PositiveInt = Field(
        default=2**30, description="bytes of all uploads of one user"
    )
    max_text: PositiveInt = Field(default=5_000_000, description="characters in an uploaded file")
    max_pages: PositiveInt = Field(default=2000, description="pages of an uploaded PDF")
    inspect_timeout: PositiveFloat = Field(default=30, description="for reading an uploaded file")
    inspect_memory: PositiveInt = Field(default=2**30, description="bytes for reading one")
    max_runs: PositiveInt = Field(
        default=200, description="finished runs of a user that are stored"
    )
    page: bool = Field(default=True, description="offer the chat page")
