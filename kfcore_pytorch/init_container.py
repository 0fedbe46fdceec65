"""The init container of workers, which waits until the master's name resolves: built in, or from an operator's file."""

from __future__ import annotations

import re
from pathlib import Path

from kfcore.api.meta import Manifest

INIT_CONTAINER = "init-pytorch"
_VARIABLE = re.compile(r"{{\s*\.(\w+)\s*}}")
_VARIABLES = ("MasterAddr", "InitContainerImage", "MaxTries")


class InitContainers:
    """What is put into workers: from `template` (a YAML list of containers, in which `{{.MasterAddr}}`,
    `{{.InitContainerImage}}` and `{{.MaxTries}}` are replaced), read once; without it the built-in container.

    Raises ValueError for a file that is there but is no such template. One that is not there means the built-in one.
    """

    def __init__(self, image: str, max_tries: int, template: Path | None = None) -> None:
        self._image, self._max_tries = image, max_tries
        self._template: str | None = None
        if template is not None and template.exists():
            self._template = template.read_text(encoding="utf-8")
            self._check(template)

    def waiting_for(self, master: str) -> list[Manifest]:
        """The containers that wait for `master`, a host name that was checked to be a DNS label."""
        if self._template is None:
            return [built_in(master, self._image, self._max_tries)]
        values = dict(zip(_VARIABLES, (master, self._image, str(self._max_tries)), strict=True))
        return _containers(_VARIABLE.sub(lambda found: values[found[1]], self._template))

    def _check(self, path: Path) -> None:
        assert self._template is not None
        if unknown := set(_VARIABLE.findall(self._template)) - set(_VARIABLES):
            known = ", ".join(f".{name}" for name in _VARIABLES)
            raise ValueError(f"{path}: unknown variable .{min(unknown)}: expected one of {known}")
        try:
            self.waiting_for("master")
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


def _containers(text: str) -> list[Manifest]:
    import yaml

    try:
        containers = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    if not isinstance(containers, list) or not all(isinstance(item, dict) and item.get("name") for item in containers):
        raise ValueError("expected a list of containers, each with a name")
    return containers


def built_in(master: str, image: str, max_tries: int) -> Manifest:
    """Waits until `master` resolves, for at most so many tries, 2 s apart."""
    script = (
        f'for i in $(seq {max_tries}); do nslookup {master} && exit 0; echo "waiting for master"; sleep 2; done; exit 1'
    )
    return {
        "name": INIT_CONTAINER,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", script],
        "resources": {"limits": {"cpu": "100m", "memory": "20Mi"}, "requests": {"cpu": "50m", "memory": "10Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "runAsNonRoot": True,
            "runAsUser": 65534,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
