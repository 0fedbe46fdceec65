"""Writes the file that points kubectl and every other client at the in-process API."""

from __future__ import annotations

import base64
import json
import os
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

CONTEXT = "kfcore"


def write_kubeconfig(
    path: Path | str, url: str, token: str, *, authority: bytes | None = None, namespace: str = "default"
) -> Path:
    """Write a kubeconfig for the server at `url`, readable by its owner only, replacing what is there at once.

    The file is JSON, which is YAML too: no value needs escaping rules of its own. `authority` is the certificate (PEM)
    that the server's own is signed by. For a server without TLS the token is there twice: as the user's, and in the
    server's address for clients that send no credentials without TLS (`HttpServer`). Returns the path.
    """
    path = Path(path)
    cluster: dict[str, Any] = {"server": f"{url}/{quote(token, safe='')}" if url.startswith("http:") else url}
    if authority is not None:
        cluster["certificate-authority-data"] = base64.b64encode(authority).decode()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": CONTEXT, "cluster": cluster}],
        "users": [{"name": CONTEXT, "user": {"token": token}}],
        "contexts": [{"name": CONTEXT, "context": {"cluster": CONTEXT, "user": CONTEXT, "namespace": namespace}}],
        "current-context": CONTEXT,
        "preferences": {},
    }
    return _write(path, config)


def write_pod_kubeconfig(path: Path, url: str, account: Path, namespace: str) -> Path:
    """One for a pod, by the files of its service account in the directory `account`; clients read the token anew."""
    cluster: dict[str, Any] = {"server": url}
    if url.startswith("https:"):
        cluster["certificate-authority"] = str(account / "ca.crt")
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": CONTEXT, "cluster": cluster}],
        "users": [{"name": CONTEXT, "user": {"tokenFile": str(account / "token")}}],
        "contexts": [{"name": CONTEXT, "context": {"cluster": CONTEXT, "user": CONTEXT, "namespace": namespace}}],
        "current-context": CONTEXT,
    }
    return _write(path, config)


def _write(path: Path, config: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    # The token must never be readable by others, not for a moment: mkstemp creates 0600, and the rename is atomic.
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w") as file:
            json.dump(config, file, indent=2)
            file.write("\n")
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path
