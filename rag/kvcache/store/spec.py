"""What a pipeline may say of a store: the mapping under `kv:`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    StrictInt,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError

from rag.errors import ConfigError
from rag.kvcache.store.policy import POLICIES
from rag.kvcache.store.quantize import Storage
from rag.names import suggestion

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?\s*", re.IGNORECASE)


def size_of(value: Any) -> int:
    """Bytes of `512MB`, `2 GiB` or a number; units are powers of 1,024.

    Raises:
        ValueError: It is no size.
    """
    match = _SIZE.fullmatch(str(value))
    if match is None or isinstance(value, bool):
        raise ValueError(f"{value!r} is no size")
    return int(float(match[1]) * 1024 ** " kmgt".index(match[2].lower() or " "))


def _size(value: Any) -> int:
    try:
        return size_of(value)
    except ValueError as error:
        raise _problem(str(error), "write bytes, or a size such as 512MB") from error


def _path(value: Any) -> Path:
    if not isinstance(value, str | Path) or not str(value):
        raise _problem(f"{value!r} is no path", "write the path of a folder")
    return Path(value)


def _policy(value: Any) -> str:
    if not isinstance(value, str) or value not in POLICIES:
        fix = suggestion(str(value), POLICIES)
        raise _problem(f"there is no eviction policy {value!r}", fix)
    return value


def _problem(what: str, fix: str) -> PydanticCustomError:
    return PydanticCustomError("kv", "{what}", {"what": what, "fix": fix})


Size = Annotated[
    int,
    BeforeValidator(_size),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string"}]}),
]
Folder = Annotated[Path, BeforeValidator(_path), WithJsonSchema({"type": "string"})]
Policy = Annotated[str, BeforeValidator(_policy), WithJsonSchema({"enum": list(POLICIES)})]
_STORAGE = "of new entries: int8 halves the files, int4 makes them a third"


class _Spec(BaseModel):
    """A mapping, or its most important field alone."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    shorthand: ClassVar[str]
    example: ClassVar[str]

    @model_validator(mode="before")
    @classmethod
    def _mapping(cls, value: Any) -> Any:
        if isinstance(value, str | Path):
            return {cls.shorthand: value}
        if not isinstance(value, Mapping):
            raise _problem(f"{value!r} names no {cls.shorthand}", f"write {cls.example}")
        return value

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        mapping = handler.resolve_ref_schema(handler(core_schema))
        return {"anyOf": [{"type": "string"}, mapping]}


class DiskSpec(_Spec):
    """A folder of this machine."""

    shorthand = "path"
    example = "./kv, or {path: ./kv, max_bytes: 20GB}"

    path: Folder = Field(description="the folder; relative paths start at the pipeline's")
    max_bytes: Size | None = Field(default=None, description="of the files; default: no limit")
    storage: Storage | None = Field(default=None, description=_STORAGE)


class SharedSpec(_Spec):
    """A folder that machines share."""

    shorthand = "path"
    example = "/mnt/kv, or {path: /mnt/kv, max_bytes: 100GB}"

    path: Folder = Field(description="the folder; relative paths start at the pipeline's")
    max_bytes: Size | None = Field(
        default=None, description="of the files of all machines; default: no limit"
    )
    storage: Storage | None = Field(default=None, description=_STORAGE)


class RedisSpec(_Spec):
    """A Redis server."""

    shorthand = "url"
    example = "redis://host:6379/0, or {url: redis://host:6379/0, ttl_seconds: 86400}"

    url: str = Field(description="of the server, such as redis://host:6379/0")
    ttl_seconds: Annotated[StrictInt, Field(ge=1)] | None = Field(
        default=None, description="whole seconds that an entry is kept; default: no limit"
    )
    storage: Storage | None = Field(default=None, description=_STORAGE)


class StoreSpec(_Spec):
    """A store: tiers from the fastest to the slowest."""

    shorthand = "disk"
    example = "a folder, or {memory: 512MB, disk: ./kv}"

    memory: Size = Field(default=512 * 2**20, description="bytes of the tier in memory")
    disk: DiskSpec | None = Field(default=None, description="a tier on disk")
    shared: SharedSpec | None = Field(
        default=None, description="a tier in a folder that machines share"
    )
    redis: RedisSpec | None = Field(default=None, description="a tier in Redis")
    policy: Policy = Field(default="cost", description="which entry is evicted: cost, lfu or lru")
    storage: Storage = Field(default="as is", description=f"{_STORAGE}; a tier's own overrides it")

    @field_validator("disk", "shared", "redis", mode="before")
    @classmethod
    def _given(cls, value: Any) -> Any:
        if value is None:
            raise _problem("nothing is named", "write a path or URL, or leave the tier out")
        return value


def parse(spec: Any) -> StoreSpec:
    """A store's specification, validated.

    Args:
        spec: None: memory only. A text: a folder below memory. A mapping: see `StoreSpec`.

    Raises:
        ConfigError: It says something wrong: the first such thing.
    """
    if isinstance(spec, StoreSpec):
        return spec
    try:
        return StoreSpec.model_validate({} if spec is None else spec)
    except ValidationError as error:
        raise _config_error(error) from error


def _config_error(error: ValidationError) -> ConfigError:
    details = error.errors()
    # A misspelt field is often a missing one too.
    detail = next((one for one in details if one["type"] == "extra_forbidden"), details[0])
    loc = [str(part) for part in detail["loc"]]
    tiers: dict[str, type[_Spec]] = {"disk": DiskSpec, "shared": SharedSpec, "redis": RedisSpec}
    kind = tiers[loc[0]] if len(loc) > 1 else StoreSpec
    if detail["type"] in ("extra_forbidden", "missing"):
        *outer, name = loc
        where = ".".join(["kv", *outer])
        if detail["type"] == "missing":
            return ConfigError(f"{name} is missing", where=where, fix=f"add {name}: ...")
        fix = suggestion(name, kind.model_fields)
        return ConfigError(f"unknown key {name!r}", where=where, fix=fix)
    where = ".".join(["kv", *loc])
    if detail["type"] == "kv":
        return ConfigError(detail["ctx"]["what"], where=where, fix=detail["ctx"]["fix"])
    field = kind.model_fields[loc[-1]]
    what = f"{detail['input']!r}: {detail['msg']}"
    return ConfigError(what, where=where, fix=f"{loc[-1]}: {field.description}")
