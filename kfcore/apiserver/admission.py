"""What admission makes of a new object by what else there is: a pod's priority, a claim's storage class, the resources
that LimitRanges give and allow, the token of a pod's service account.
"""

from __future__ import annotations

from kfcore.api.meta import Manifest
from kfcore.api.resource import Resource
from kfcore.apiserver import limit_ranges
from kfcore.apiserver.names import dns_subdomain
from kfcore.apiserver.objects import Objects
from kfcore.apiserver.service_accounts import ServiceAccounts
from kfcore.apiserver.status import forbidden
from kfcore.apiserver.storage import Change

DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
_POD = Resource("", "v1", "Pod", "pods")
_CLAIM = Resource("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims")
_PREEMPTS = "PreemptLowerPriority"


class Admission:
    """Runs on creation, before the kind's own rules."""

    def __init__(self, objects: Objects, *, service_accounts: bool = False) -> None:
        self._objects = objects
        self._classes: dict[str, Manifest] | None = None
        self._default_class: Manifest | None = None
        objects.storage.collection("priorityclasses.scheduling.k8s.io").subscribers.append(self._class_changed)
        self._accounts = ServiceAccounts(objects) if service_accounts else None

    def give_account(self, pod: Manifest) -> None:
        """Where there are service accounts, a pod has one. Raises Forbidden for one that is not there."""
        if self._accounts is not None:
            self._accounts.admit(pod)

    def resolve_priority(self, pod: Manifest) -> None:
        """Raises Forbidden for a class that is not there, and for a number or policy that is not the class's."""
        spec = pod.get("spec")
        if not isinstance(spec, dict):
            return
        name = spec.get("priorityClassName") or ""
        value, policy = 0, _PREEMPTS
        if found := self._priority_class(name):
            spec["priorityClassName"] = found["metadata"]["name"]
            value, policy = int(found.get("value") or 0), found.get("preemptionPolicy") or _PREEMPTS
        elif name:
            pod_name = pod["metadata"].get("name", "")
            raise forbidden(_POD, pod_name, f"no PriorityClass with name {name} was found")
        if (given := spec.get("priority")) is not None and given != value:
            why = (
                f"the integer value of priority ({given}) must not be provided in pod spec; priority admission "
                f"controller computed {value} from the given PriorityClass name"
            )
            raise forbidden(_POD, pod["metadata"].get("name", ""), why)
        if (own := spec.get("preemptionPolicy")) and own != policy:
            why = (
                f"the string value of PreemptionPolicy ({own}) must not be provided in pod spec; priority admission "
                f"controller computed {policy} from the given PriorityClass name"
            )
            raise forbidden(_POD, pod["metadata"].get("name", ""), why)
        spec["priority"], spec["preemptionPolicy"] = value, policy

    def keep_one_default(self, priority_class: Manifest) -> None:
        """Raises Forbidden for a second class that is meant for everybody."""
        if priority_class.get("globalDefault") and (found := self._priority_class("")):
            kind = Resource("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses")
            name = found["metadata"]["name"]
            why = f"PriorityClass {name} is already marked as default. Only one default can exist"
            raise forbidden(kind, priority_class["metadata"].get("name", ""), why)

    def apply_runtime_class(self, pod: Manifest) -> None:
        """What a pod's RuntimeClass costs, and where it runs. Raises Forbidden for one that is not there."""
        spec = pod.get("spec")
        name = spec.get("runtimeClassName") if isinstance(spec, dict) else None
        if not isinstance(spec, dict):
            return
        if not name:
            self._refuse_overhead(pod)
            return
        classes = self._all("node.k8s.io", "runtimeclasses")
        found = next((item for item in classes if item["metadata"]["name"] == name), None)
        pod_name = pod["metadata"].get("name", "")
        if found is None:
            if dns_subdomain(name):
                return  # its name says enough against it
            raise forbidden(_POD, pod_name, f'pod rejected: RuntimeClass "{name}" not found')
        overhead = (found.get("overhead") or {}).get("podFixed")
        if overhead:
            if spec.get("overhead") not in (None, overhead):
                why = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"
                raise forbidden(_POD, pod_name, why)
            spec["overhead"] = dict(overhead)
        else:
            self._refuse_overhead(pod)
        scheduling = found.get("scheduling") or {}
        if selector := scheduling.get("nodeSelector"):
            own = spec.get("nodeSelector") or {}
            if any(own.get(key, value) != value for key, value in selector.items()):
                why = (
                    f"pod rejected: conflict: runtimeClass.scheduling.nodeSelector and pod.spec.nodeSelector of {name}"
                )
                raise forbidden(_POD, pod_name, why)
            spec["nodeSelector"] = {**selector, **own}
        if tolerations := scheduling.get("tolerations"):
            own_tolerations = spec.get("tolerations") or []
            spec["tolerations"] = [*own_tolerations, *(item for item in tolerations if item not in own_tolerations)]

    @staticmethod
    def _refuse_overhead(pod: Manifest) -> None:
        if pod["spec"].get("overhead"):
            why = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
            raise forbidden(_POD, pod["metadata"].get("name", ""), why)

    def choose_storage_class(self, claim: Manifest) -> None:
        """A claim that names no class gets the default one; an empty name asks for none."""
        spec = claim.get("spec")
        if not isinstance(spec, dict) or spec.get("storageClassName") is not None:
            return
        defaults = [
            item
            for item in self._all("storage.k8s.io", "storageclasses")
            if (item["metadata"].get("annotations") or {}).get(DEFAULT_CLASS) == "true"
        ]
        if defaults:
            newest = max(defaults, key=lambda item: (item["metadata"]["creationTimestamp"], item["metadata"]["name"]))
            spec["storageClassName"] = newest["metadata"]["name"]

    def keep_limits(self, manifest: Manifest) -> None:
        """Give a pod's containers what its namespace's LimitRanges have for those that say nothing.

        Raises Forbidden for a pod or a claim beyond them.
        """
        ranges = self._all("", "limitranges", manifest["metadata"].get("namespace", ""))
        if not ranges:
            return
        kind = _POD if manifest["kind"] == "Pod" else _CLAIM
        if kind is _POD:
            limit_ranges.give_defaults(manifest, ranges)
        if problems := limit_ranges.problems(manifest, ranges):
            why = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
            raise forbidden(kind, manifest["metadata"].get("name", ""), why)

    def _priority_class(self, name: str) -> Manifest | None:
        """The class of a name, or without a name the one that is meant for everybody."""
        if self._classes is None:
            classes = self._all("scheduling.k8s.io", "priorityclasses")
            self._classes = {item["metadata"]["name"]: item for item in classes}
            everybody = (item for item in classes if item.get("globalDefault"))
            self._default_class = min(everybody, key=lambda item: int(item.get("value") or 0), default=None)
        return self._classes.get(name) if name else self._default_class

    def _class_changed(self, change: Change) -> None:
        self.forget()

    def forget(self) -> None:
        """Storage took back changes: look again at what is there."""
        self._classes = None

    def _all(self, group: str, plural: str, namespace: str = "") -> list[Manifest]:
        kind = self._objects.kinds.at(group, "v1", plural)
        assert kind is not None
        collection = self._objects.collection(kind)
        return [stored.manifest for stored in collection.select(namespace)] if len(collection) else []
