"""A flow as a pipeline file, and as a drawing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rag.flow.description import Description


class Described(Description):
    """A flow's description, written down and drawn."""

    def to_yaml(self) -> str:
        """See `Node.to_yaml`.

        Raises:
            ConfigError: A resource was given open, or a type has no name in pipeline files.
        """
        from rag.flow.yaml.dump import dump

        return dump(self)

    def save(self, path: Path) -> None:
        """Write the flow as a pipeline file, whole or not at all."""
        from rag.files import write_atomically

        write_atomically(path, self.to_yaml())

    def mermaid(self, notes: Mapping[str, str] | None = None) -> str:
        """The flow as a Mermaid flowchart.

        Args:
            notes: Place of a step, as text, to a line that is added to it.
        """
        from rag.flow.draw.mermaid import mermaid

        return mermaid(self, notes)

    def svg(self, notes: Mapping[str, str] | None = None) -> str:
        """The flow as an SVG document; see `mermaid`."""
        from rag.flow.draw.svg import svg

        return svg(self, notes)

    def _repr_html_(self) -> str:
        return self.svg()
