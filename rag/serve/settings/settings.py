"""The settings of a server: its limits, and of `rag serve` all else that can be set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from rag.serve.identity.tokens import ALGORITHMS
from rag.serve.settings.file import SettingsFile

PREFIX = "RAG_SERVE_"
"""Of the environment variables: `RAG_SERVE_QUEUE_PER_USER` is `queue_per_user`."""

Bytes = Annotated[ByteSize, Field(gt=0)]
"""A number, or a text such as `20MiB`."""


def _items(value: Any) -> Any:
    """The items of a list that is one text, as in a variable."""
    if not isinstance(value, str):
        return value
    return tuple(item for one in value.split(",") if (item := one.strip()))


Items = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_items)]
"""A list in a file, an option that may be repeated, or items between commas in a variable."""


class Settings(BaseModel):
    """Limits of a server, and its folder. The defaults suit a small machine; times in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: Path = Field(
        default=Path(".rag/serve"),
        description="Folder of conversations, uploads and the server's secret.",
    )
    state: str | None = Field(
        default=None,
        repr=False,
        pattern="^postgres(ql)?://",
        description="postgresql://USER:PASSWORD@HOST/DATABASE, where several machines share "
        "conversations, runs and uploads. Default: a file in the folder.",
    )
    concurrency: PositiveInt = Field(default=8, description="Questions answered at a time.")
    queue: NonNegativeInt = Field(default=256, description="Questions that may wait.")
    queue_per_user: NonNegativeInt = Field(default=64, description="Of these, of one user.")
    queue_timeout: PositiveFloat = Field(
        default=120, description="Seconds that a question may wait."
    )
    requests_per_minute: PositiveInt | None = Field(
        default=None, description="Questions and uploads of one user. Default: any number."
    )
    tokens_per_day: PositiveInt | None = Field(
        default=None,
        description="Tokens that models may read and write for one user. Default: any number.",
    )
    redis: str | None = Field(
        default=None,
        repr=False,
        description="redis://..., where several servers count these two together.",
    )
    max_tokens: PositiveInt = Field(
        default=4096, description="Tokens of one output that a question may ask for."
    )
    open_flows: PositiveInt = Field(
        default=64, description="Users whose flows and indexes stay open while they do nothing."
    )
    run_timeout: PositiveFloat = Field(default=300, description="Seconds that a run may take.")
    shutdown_timeout: PositiveFloat = Field(
        default=30, description="Seconds until a shutdown ends what is still running."
    )
    max_connections: PositiveInt = Field(
        default=1000, description="Connections that may be open, where the system allows as many."
    )
    header_timeout: PositiveFloat = Field(
        default=10, description="Seconds that the header of a request may take to arrive."
    )
    body_timeout: PositiveFloat = Field(
        default=30, description="Seconds without a byte of a body that is awaited."
    )
    max_body: Bytes = Field(default=ByteSize(2**20), description="Bytes of a JSON request.")
    max_question: PositiveInt = Field(default=8000, description="Characters of a question.")
    max_upload: Bytes = Field(
        default=ByteSize(20 * 2**20), description="Bytes of an uploaded file: 20MiB, say."
    )
    max_files: PositiveInt = Field(default=20, description="Files of one upload.")
    max_documents: PositiveInt = Field(default=10_000, description="Uploads of one user.")
    max_user_bytes: Bytes = Field(
        default=ByteSize(2**30), description="Bytes of all uploads of one user."
    )
    ingest: bool = Field(
        default=True, description="Ingest uploads in the server itself; else `rag worker` does."
    )
    upload_lease: PositiveFloat = Field(
        default=30,
        description="Seconds until the upload of a worker that died is another's.",
    )
    max_text: PositiveInt = Field(default=5_000_000, description="Characters in an uploaded file.")
    max_pages: PositiveInt = Field(default=2000, description="Pages of an uploaded PDF.")
    inspect_timeout: PositiveFloat = Field(
        default=30, description="Seconds for reading an uploaded file."
    )
    inspect_memory: Bytes = Field(
        default=ByteSize(2**30), description="Bytes of memory for reading one."
    )
    max_runs: PositiveInt = Field(
        default=200, description="Finished runs of a user that are stored."
    )
    max_events: PositiveInt = Field(
        default=10_000, description="Events of a background run that are kept: the latest."
    )
    keep_events: PositiveFloat = Field(
        default=3600, description="Seconds that events are kept behind the end of their run."
    )
    keep_conversations_days: PositiveFloat | None = Field(
        default=None,
        description="Days that a conversation is kept behind its last message, with its runs and "
        "ratings. Default: for ever.",
    )
    keep_runs_days: PositiveFloat | None = Field(
        default=None, description="Days that a run is kept behind its end. Default: for ever."
    )
    keep_uploads_days: PositiveFloat | None = Field(
        default=None,
        description="Days that an uploaded document is kept and found. Default: for ever.",
    )
    lease: PositiveFloat = Field(
        default=30, description="Seconds until runs of a process that died count as failed."
    )
    link_seconds: NonNegativeInt = Field(
        default=86_400,
        description="Seconds that a link to a source opens without the key of its user; 0: never.",
    )
    public_url: str | None = Field(
        default=None,
        pattern="^https?://",
        description="Where browsers reach the endpoints. Default: at the address of the request.",
    )
    language_models: bool = Field(
        default=True,
        description="Offer the language model of each pipeline as the model NAME:llm.",
    )
    sources_in_text: bool = Field(
        default=False,
        description="List the cited sources below the answers of OpenAI's API, for clients that "
        "show no annotations.",
    )
    audit_questions: bool = Field(
        default=False, description="The audit log holds the text of questions."
    )
    trace: bool = Field(
        default=True,
        description="Keep prompts, outputs and rankings of runs, for the users who asked.",
    )
    page: bool = Field(default=True, description="Serve the chat page and the widget.")
    title: str = Field(
        default="",
        max_length=80,
        description="Name of the chat page. Default: one in the reader's language.",
    )
    logo: Path | None = Field(
        default=None, description="Picture of the chat page: an SVG, PNG, JPEG or WebP file."
    )
    suggestions: NonNegativeInt = Field(
        default=0,
        le=10,
        description="Questions that the chat page suggests after an answer, by a call of the "
        "model; 0: none.",
    )


class ServeSettings(Settings, BaseSettings):
    """The settings of `rag serve`: given here, else in the environment, else in a file.

    Raises:
        ValidationError: A value is wrong; `rag.serve.settings.origin` says where it comes from.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix=PREFIX, env_ignore_empty=True
    )

    settings: Path | None = Field(default=None, description="YAML file of these settings.")
    pipelines: Items = Field(
        default=(),
        description="Pipeline files, or names of ready-made pipelines. Default: ./rag.yaml, else "
        "`hybrid`.",
    )
    param: Items = Field(
        default=(), description="NAME=VALUE for ${NAME} in the pipeline files; repeatable."
    )
    allow_import: Items = Field(
        default=(),
        description="Package that pipeline files may import operators from; repeatable.",
    )
    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(
        default=8000, ge=0, le=65535, description="Port to listen on; 0: any free one."
    )
    workers: PositiveInt = Field(
        default=1, description="Processes that answer; each opens the models for itself."
    )
    keys: Path | None = Field(default=None, description="File of API keys. Default: no keys.")
    oidc_issuer: str | None = Field(
        default=None,
        description="URL of the OpenID Connect issuer whose tokens say who asks, beside keys.",
    )
    oidc_audience: Items = Field(
        default=(), description="Whom a token must be meant for (aud); repeatable."
    )
    oidc_algorithms: Items = Field(
        default=ALGORITHMS, description="Signature of tokens that is accepted; repeatable."
    )
    oidc_leeway: NonNegativeFloat = Field(
        default=30, description="Seconds by which the issuer's clock may differ."
    )
    oidc_user: str = Field(default="sub", description="Claim, or path to it, with the user's name.")
    oidc_groups: str | None = Field(
        default="groups", description="Claim with the user's groups: realm_access.roles, say."
    )
    oidc_collections: str | None = Field(
        default=None,
        description="Claim with what is searched. Default: shared, and one of the user's own.",
    )
    oidc_permissions: str | None = Field(
        default=None, description="Claim with what the user may do. Default: ask and upload."
    )
    oidc_permission: Items = Field(
        default=(),
        description="VALUE=PERMISSION of that claim; repeatable. Default: its values are ask, "
        "upload and admin.",
    )
    cors: Items = Field(default=(), description="Origin whose pages may call the API; repeatable.")
    allow_host: Items = Field(
        default=(),
        description="Name under which the server is reached; repeatable. Default: on loopback its "
        "own, else any.",
    )
    trusted_proxies: Items = Field(
        default=("127.0.0.1",),
        description="Address of a proxy whose X-Forwarded-For and -Proto are believed; repeatable, "
        "`*`: any.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="What is logged: debug, info, warning or error."
    )
    log_format: Literal["text", "json"] = Field(
        default="text", description="Lines of text, or JSON objects: text or json."
    )
    access_log: bool = Field(default=True, description="Log requests.")
    audit_log: str | None = Field(
        default=None,
        description="File that a line is added to for whoever asks, uploads or deletes; `-`: "
        "standard error. Default: none.",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The command line, before the environment, before the file that either names."""
        return init_settings, env_settings, SettingsFile(settings_cls)
