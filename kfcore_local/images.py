"""What a container runs whose manifest leaves its command to the image: `--image NAME=COMMAND`, and a Jupyter server
for images of that name. Image names come in, command lines go out; nothing is pulled.
"""

from __future__ import annotations

import importlib.util
import shlex
import sys
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec

HOME = "/home/jovyan"
"""Where images of notebooks have their user's files."""


class Image(msgspec.Struct, frozen=True):
    """What stands for the images that `pattern` matches: a command, or the programs of a virtual environment.

    `$(NAME)` in the command is the container's variable; `$(KFCORE_POD_IP)` is the address to listen at. A volume that
    is mounted at `home` becomes the working directory.
    """

    pattern: str
    command: tuple[str, ...] = ()
    bin_directory: Path | None = None
    home: str = ""

    def matches(self, image: str) -> bool:
        name = image.rpartition("@")[0] or image
        repository, colon, tag = name.rpartition(":")
        without_tag = repository if colon and "/" not in tag else name
        names = {image, name, without_tag, name.rpartition("/")[2], without_tag.rpartition("/")[2]}
        return any(fnmatchcase(candidate, self.pattern) for candidate in names)


JUPYTER = Image(
    "*jupyter*",
    (
        sys.executable,
        "-m",
        "jupyterlab",
        "--ip=$(KFCORE_POD_IP)",
        "--port=8888",
        "--ServerApp.port_retries=0",
        "--ServerApp.base_url=$(NB_PREFIX)",
        "--no-browser",
        "--allow-root",
    ),
    home=HOME,
)
"""A server as images of Jupyter start one. It demands the token in JUPYTER_TOKEN, which the gateway adds."""


class ImageMap(msgspec.Struct, frozen=True):
    """The images of a cluster; of those that match the first is taken."""

    images: tuple[Image, ...] = ()

    @classmethod
    def parse(cls, options: Sequence[str]) -> ImageMap:
        """From `NAME=COMMAND` or `NAME=VENV`; NAME may have `*`. Raises ValueError."""
        own = tuple(_parse(option) for option in options)
        built_in = (JUPYTER,) if importlib.util.find_spec("jupyterlab") else ()
        return cls((*own, *built_in))

    def find(self, image: str) -> Image | None:
        return next((entry for entry in self.images if entry.matches(image)), None)


def _parse(option: str) -> Image:
    pattern, separator, what = option.partition("=")
    if not pattern or not separator or not what.strip():
        raise ValueError(f"--image {option}: expected NAME=COMMAND or NAME=VENV")
    directory = Path(what).expanduser()
    if (directory / "bin" / "python").exists():
        return Image(pattern, bin_directory=directory.absolute() / "bin")
    try:
        command = tuple(shlex.split(what))
    except ValueError as error:
        raise ValueError(f"--image {option}: {error}") from error
    return Image(pattern, command)
