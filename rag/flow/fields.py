"""What is wrong with the fields of a step, in words."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from pydantic import ValidationError

from rag.errors import BuildError, ConfigError, RagError
from rag.names import nearest, suggestion


def wrong_fields(
    kind: Any, placement: Collection[str], error: ValidationError | RagError
) -> Iterator[tuple[str, str, str]]:
    """Field, what is wrong with it, and how to mend it, of each problem.

    Args:
        kind: The operator's class.
        placement: The fields that every operator has.
        error: What its validation raised, or what came of it (see `wrong`).
    """
    if isinstance(error, RagError):
        if not isinstance(error.__cause__, ValidationError):
            yield "use", error.what, error.fix or f"`rag operators {kind.use}`"
            return
        error = error.__cause__
    known = [name for name in kind.model_fields if name not in placement]
    for detail in error.errors():
        name = str(detail["loc"][0]) if detail["loc"] else ""
        if detail["type"] == "extra_forbidden":
            what, fix = f"{kind.use} has no field {name!r}", suggestion(name, known)
            taken = {port.name for port in kind.signature().resources}
            if name in taken:
                fix = f"{name!r} is a resource: write resources: {{{name}: ...}}"
            elif near := nearest(name, placement):
                fix = fix if nearest(name, known) else f"did you mean {near!r}? {fix}"
        elif detail["type"] == "missing":
            what, fix = f"{kind.use} needs the field {name!r}", f"`rag operators {kind.use}`"
        else:
            said = detail["msg"].removeprefix("Value error, ")
            what = f"{kind.use}: {said}"
            if port := ".".join(map(str, detail["loc"])):
                what = f"{kind.use}.{port} is {detail.get('input')!r}: {said}"
            fix = f"`rag operators {kind.use}` shows what it takes"
            cause = getattr(detail.get("ctx", {}).get("error"), "__cause__", None)
            if isinstance(cause, RagError):
                what, fix = f"{kind.use}.{port}: {cause.what}", cause.fix or fix
        yield name, what, fix


def wrong(kind: Any, placement: Collection[str], error: ValidationError) -> RagError:
    """The error for whoever made a step with wrong fields: one problem, or all of them."""
    found = [ConfigError(what, fix=fix) for _, what, fix in wrong_fields(kind, placement, error)]
    return found[0] if len(found) == 1 else BuildError(found)
