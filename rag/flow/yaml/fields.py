"""What is wrong with the fields of a step, in words."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import ValidationError

from rag.flow.operator import PLACEMENT, Operator
from rag.names import nearest, suggestion


def wrong_fields(kind: type[Operator], error: ValidationError) -> Iterator[tuple[str, str, str]]:
    """Field, what is wrong with it, and how to mend it, of each problem.

    Args:
        kind: The operator.
        error: What its validation raised.
    """
    known = [name for name in kind.model_fields if name not in PLACEMENT]
    for detail in error.errors():
        name = str(detail["loc"][0]) if detail["loc"] else ""
        if detail["type"] == "extra_forbidden":
            what, fix = f"{kind.use} has no field {name!r}", suggestion(name, known)
            taken = {port.name for port in kind.signature().resources}
            if name in taken:
                fix = f"{name!r} is a resource: write resources: {{{name}: ...}}"
            elif near := nearest(name, PLACEMENT):
                fix = fix if nearest(name, known) else f"did you mean {near!r}? {fix}"
        elif detail["type"] == "missing":
            what, fix = f"{kind.use} needs the field {name!r}", f"`rag operators {kind.use}`"
        else:
            port = ".".join(map(str, detail["loc"]))
            what = f"{kind.use}.{port} is {detail.get('input')!r}: {detail['msg']}"
            fix = f"`rag operators {kind.use}` shows what it takes"
        yield name, what, fix
