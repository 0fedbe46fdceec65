"""The Notebook kind: what a person or a web UI writes. The controller reads it and writes nothing but its status and
the annotations about its activity.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import Field

from kfcore.api.meta import CustomResource, Manifest, Model
from kfcore.api.pod_template import PodTemplate
from kfcore.api.validation import FieldError

STOPPED = "kubeflow-resource-stopped"
"""The annotation that stops a notebook, whatever its value; by convention the time of the stop."""
LAST_ACTIVITY = "notebooks.kubeflow.org/last-activity"
LAST_CHECK = "notebooks.kubeflow.org/last_activity_check_timestamp"
CULLING = "notebooks.kubeflow.org/culling"
IDLE_MINUTES = "notebooks.kubeflow.org/cull-idle-time"
ACTIVITY_PATH = "notebooks.kubeflow.org/activity-path"
REWRITE_URI = "notebooks.kubeflow.org/http-rewrite-uri"
REQUEST_HEADERS = "notebooks.kubeflow.org/http-headers-request-set"

MAX_NAME = 52
"""Of the 63 characters of a label, `-` and the ten of the hash that a StatefulSet's pods carry leave so many."""
NAME_TOO_LONG = (
    f"a notebook's name must have at most {MAX_NAME} characters: its pods carry the label "
    "controller-revision-hash=<name>-<hash>, which may have 63"
)


class NotebookSpec(Model):
    template: PodTemplate = Field(
        default_factory=PodTemplate, description="The pod of the notebook; its first container is the server."
    )


class Notebook(CustomResource, group="kubeflow.org", version="v1", kind="Notebook"):
    """A notebook server. `status` is kept as it is on the wire: it mirrors a pod's."""

    other_versions: ClassVar[tuple[str, ...]] = ("v1beta1", "v1alpha1")

    spec: NotebookSpec = Field(default_factory=NotebookSpec)
    status: dict[str, Any] = Field(default_factory=dict)

    @property
    def is_stopped(self) -> bool:
        return STOPPED in self.metadata.annotations

    @property
    def pod_name(self) -> str:
        return f"{self.name}-0"

    @property
    def prefix(self) -> str:
        """The path under which the server is reached, without a slash at its end."""
        return f"/notebook/{self.namespace}/{self.name}"

    def rule_violations(self) -> Iterator[FieldError]:
        if len(self.name) > MAX_NAME:
            yield FieldError("metadata.name", NAME_TOO_LONG)
        path = "spec.template.spec.containers"
        containers = self.spec.template.containers
        if not containers:
            yield FieldError(path, "expected at least one container")
        for index, container in enumerate(containers):
            for field in ("name", "image"):
                if not container.get(field):
                    yield FieldError(f"{path}[{index}].{field}", "required, but missing")

    @classmethod
    def adapt_schema(cls, schema: Manifest) -> None:
        """What the types do not say: no pod metadata, containers with name and image, a status that is always whole."""
        template = schema["properties"]["spec"]["properties"]["template"]
        pod = template["properties"]["spec"]
        template["properties"] = {"spec": pod}
        pod["properties"]["containers"]["minItems"] = 1
        pod["properties"]["containers"]["items"]["required"] = ["name", "image"]
        pod["required"] = sorted({*pod.get("required", ()), "containers"})
        schema["properties"]["status"] = STATUS_SCHEMA
        schema["x-kubernetes-validations"] = [
            {"rule": f"self.metadata.name.size() <= {MAX_NAME}", "message": f"metadata.name: {NAME_TOO_LONG}"}
        ]


_TIME: Manifest = {"type": "string", "format": "date-time", "nullable": True}
_CONDITION: Manifest = {
    "type": "object",
    "required": ["type", "status"],
    "properties": {
        "type": {"type": "string"},
        "status": {"type": "string"},
        "reason": {"type": "string"},
        "message": {"type": "string"},
        "lastProbeTime": _TIME,
        "lastTransitionTime": _TIME,
    },
}
STATUS_SCHEMA: Manifest = {
    "type": "object",
    "required": ["conditions", "readyReplicas", "containerState"],
    "properties": {
        "conditions": {"type": "array", "items": _CONDITION},
        "readyReplicas": {"type": "integer", "format": "int32"},
        "containerState": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    },
}
