"""What a flow says of itself: what is written down, drawn and checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rag.flow.node import Node
from rag.flow.policies import Budget
from rag.flow.resources import Resources


class Description(Node):
    """The fields of a flow.

    Attributes:
        node: What runs.
        name: The flow's name.
        description: One line that says what the flow is good for.
        inputs: Channel to type.
        defaults: The values of inputs that may be left out.
        outputs: The channels that a caller gets; None: all there are in the end.
        resources: Its resources.
        budget: What one run may use.
    """

    node: Node
    name: str | None
    description: str | None
    inputs: Mapping[str, Any]
    defaults: Mapping[str, Any]
    outputs: tuple[str, ...] | None
    resources: Resources
    budget: Budget | None
