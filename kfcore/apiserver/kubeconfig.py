"""Writes the file that points kubectl and every other client at the in-process API."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from urllib.parse import quote

CONTEXT = "kfcore"


def write_kubeconfig(path: Path | str, url: str, token: str, *, namespace: str = "default") -> Path:
    """Write a kubeconfig for the server at `url`, readable by its owner only, replacing what is there at once.

    The file is JSON, which is YAML too: no value needs escaping rules of its own. The token is there twice: as the
    user's, and in the server's address for clients that send no credentials without TLS (`HttpServer`). Returns the
    path.
    """
    path = Path(path)
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": CONTEXT, "cluster": {"server": f"{url}/{quote(token, safe='')}"}}],
        "users": [{"name": CONTEXT, "user": {"token": token}}],
        "contexts": [{"name": CONTEXT, "context": {"cluster": CONTEXT, "user": CONTEXT, "namespace": namespace}}],
        "current-context": CONTEXT,
        "preferences": {},
    }
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
