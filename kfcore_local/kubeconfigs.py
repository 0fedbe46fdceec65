"""A cluster in the user's own kubeconfig, for those who ask for it: one context is added, and taken out at the end.
What else is in the file stays; kubectl's lock beside it is respected.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

LOCK_SECONDS = 3.0
_LISTS = ("clusters", "users", "contexts")


class MergeRefused(Exception):
    """The user's kubeconfig cannot take the context; it was not changed."""


def users_kubeconfig() -> Path:
    """The file that kubectl would write to: the first of KUBECONFIG, or ~/.kube/config."""
    for part in os.environ.get("KUBECONFIG", "").split(os.pathsep):
        if part:
            return Path(part).expanduser().absolute()
    return Path("~/.kube/config").expanduser()


def merge(path: Path, name: str, kubeconfig: Path) -> None:
    """Add the one context of `kubeconfig` as `name`. It becomes the current one only where there is none.

    Raises MergeRefused.
    """
    source = json.loads(kubeconfig.read_text(encoding="utf-8"))
    cluster, user = source["clusters"][0]["cluster"], source["users"][0]["user"]

    def add(config: dict[str, Any]) -> None:
        _check_ours(config, name, path)
        _take_out(config, name)
        entries = (
            {"name": name, "cluster": cluster},
            {"name": name, "user": user},
            {"name": name, "context": {"cluster": name, "user": name, "namespace": "default"}},
        )
        for list_, entry in zip(_LISTS, entries, strict=True):
            config.setdefault(list_, []).append(entry)
        if not config.get("current-context"):
            config["current-context"] = name

    _change(path, add)


def unmerge(path: Path, name: str, token: str) -> None:
    """Take the context out, unless another cluster has put its own in its place."""

    def remove(config: dict[str, Any]) -> None:
        users = [entry for entry in config.get("users") or () if entry.get("name") == name]
        if not any((entry.get("user") or {}).get("token") == token for entry in users):
            return
        _take_out(config, name)
        if config.get("current-context") == name:
            config["current-context"] = ""

    with contextlib.suppress(MergeRefused):
        if path.exists():
            _change(path, remove)


def _check_ours(config: dict[str, Any], name: str, path: Path) -> None:
    for entry in config.get("clusters") or ():
        server = str((entry.get("cluster") or {}).get("server", ""))
        if entry.get("name") == name and urlsplit(server).hostname not in ("127.0.0.1", "::1", "localhost"):
            raise MergeRefused(f"{path} has a cluster {name} at {server} already; choose another --name")


def _take_out(config: dict[str, Any], name: str) -> None:
    for list_ in _LISTS:
        config[list_] = [entry for entry in config.get(list_) or () if entry.get("name") != name]


def _change(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    with _locked(path):
        try:
            text = path.read_text(encoding="utf-8") if path.exists() else ""
            config = yaml.safe_load(text) or {"apiVersion": "v1", "kind": "Config", "preferences": {}}
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise MergeRefused(f"{path} cannot be read, so nothing was added to it: {error}") from error
        lists = [config.get(list_) or [] for list_ in _LISTS] if isinstance(config, dict) else [None]
        if not all(isinstance(part, list) and all(isinstance(entry, dict) for entry in part) for part in lists):
            raise MergeRefused(f"{path} is no kubeconfig, so nothing was added to it")
        change(config)
        _replace(path, yaml.safe_dump(config, sort_keys=False))


def _replace(path: Path, text: str) -> None:
    target = path.resolve()  # a link stays one
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        os.replace(temporary, target)  # 0600, as mkstemp makes it: there is a token in it
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """The lock by which kubectl's own changes and ours do not meet: a file beside it that only one can create."""
    lock = path.with_name(f"{path.name}.lock")
    deadline = time.monotonic() + LOCK_SECONDS
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        while True:
            try:
                os.close(os.open(lock, os.O_CREAT | os.O_EXCL, 0o600))
                break
            except FileExistsError:
                if time.monotonic() > deadline:
                    raise MergeRefused(f"{path} is being changed by another program: {lock} is there") from None
                time.sleep(0.05)
    except OSError as error:
        raise MergeRefused(f"{path} cannot be changed: {error}") from error
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
