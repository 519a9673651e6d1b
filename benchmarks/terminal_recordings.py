"""The picture of a terminal in `docs/images`: commands that are run on the example handbook.

Seconds that it shows are those of the machine that made it.

python benchmarks/terminal_recordings.py
"""

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
COLUMNS = 100
QUESTION = "How long does a full passage of the north lock take?"
FIRST_MINUTES = [
    "rag init my-rag",
    "cd my-rag",
    "rag ingest handbook",
    f'rag ask "{QUESTION}"',
]
# rich's own frame names a font of another host; a page that shows the picture is to fetch nothing.
FRAME = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width; }}
.{unique_id}-title {{ font: 18px sans-serif; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g></g>
</svg>
"""


def printed(command: str, folder: Path) -> str:
    """What a command prints in a folder, as text with colours; it has to end well."""
    words = shlex.split(command)
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "HF_HUB_OFFLINE": "1",
            "FORCE_COLOR": "1",
            "COLUMNS": str(COLUMNS),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    return done.stdout


def record(commands: list[str], folder: Path, picture: Path, title: str) -> None:
    """Run the commands one after another, and draw what a terminal shows of them."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True)
        for command in commands:
            console.print(Text("$ ", "bold green") + Text(command, "bold"))
            if command.startswith("cd "):
                folder /= command.removeprefix("cd ")
                continue
            for line in printed(command, folder).rstrip().splitlines():
                console.print(Text.from_ansi(line))
            console.print()
        drawn = console.export_svg(
            title=title, theme=MONOKAI, code_format=FRAME, unique_id=picture.stem
        )
    lines = (line.rstrip() for line in drawn.splitlines())
    picture.write_text("\n".join(line for line in lines if line) + "\n", encoding="utf-8")
    print(picture.relative_to(ROOT))


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "my-rag").mkdir()
        (folder / "my-rag" / "handbook").symlink_to(ROOT / "examples" / "handbook")
        record(FIRST_MINUTES, folder, IMAGES / "first-minutes.svg", "The first minutes")


if __name__ == "__main__":
    main()
