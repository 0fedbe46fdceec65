"""ValidatingAdmissionPolicies at work: each binding of a policy that is about a request has its expressions judge it,
once for each of its parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import msgspec

from kfcore.api.meta import Manifest
from kfcore.apiserver.admission_attributes import AdmissionAttributes
from kfcore.apiserver.admission_matching import CONFIGURATIONS, Matching
from kfcore.apiserver.admission_values import condition_values
from kfcore.apiserver.conversion import served
from kfcore.apiserver.kinds import Kinds, ServedKind
from kfcore.apiserver.policy_expressions import Decision, PolicyRun
from kfcore.apiserver.storage import Storage
from kfcore.client.errors import ApiError, Cause, Status, error_from_status
from kfcore.client.selectors import LabelSelector, SelectorError

POLICIES = f"validatingadmissionpolicies.{CONFIGURATIONS}"
BINDINGS = f"validatingadmissionpolicybindings.{CONFIGURATIONS}"
POLICY_KINDS = frozenset({
    "mutatingadmissionpolicies", "mutatingadmissionpolicybindings", "validatingadmissionpolicies",
    "validatingadmissionpolicybindings",
})  # fmt: skip
"""What policies are not asked about, as a wrong one could not be mended."""
_CODES = {"Forbidden": 403, "Unauthorized": 401, "RequestEntityTooLarge": 413, "Invalid": 422}


class _ConfigurationError(Exception):
    """A policy or a binding cannot be followed; its failure policy decides."""


class Denied(msgspec.Struct, frozen=True):
    policy: str
    binding: str
    decision: Decision

    @property
    def message(self) -> str:
        by = f" with binding '{self.binding}'" if self.binding else ""
        return f"ValidatingAdmissionPolicy '{self.policy}'{by} denied request: {self.decision.message}"


class Objects(Protocol):
    kinds: Kinds
    storage: Storage


class Policies:
    def __init__(self, objects: Objects, matching: Matching) -> None:
        self._kinds = objects.kinds
        self._storage = objects.storage
        self._matching = matching
        self._policies = objects.storage.collection(POLICIES)
        self._bindings = objects.storage.collection(BINDINGS)

    def validate(self, attributes: AdmissionAttributes, warn: Callable[[str], None]) -> None:
        """Raises the refusal of the first policy that denies the request."""
        if not len(self._policies) or not len(self._bindings):
            return
        denied = next(self._denials(attributes, warn), None)
        if denied is not None:
            raise _refusal(attributes, denied)

    def _denials(self, attributes: AdmissionAttributes, warn: Callable[[str], None]) -> Iterator[Denied]:
        bindings = [stored.manifest for stored in self._bindings.select()]
        found: list[Denied] = []
        for stored in self._policies.select():
            policy, name = stored.manifest["spec"], stored.key[1]
            kind = self._about(policy.get("matchConstraints"), attributes)
            if kind is None:
                continue
            for binding in bindings:
                if binding["spec"].get("policyName") == name:
                    found += self._of_binding(policy, name, binding, kind, attributes, warn)
        yield from found

    def _about(self, resources: Manifest | None, attributes: AdmissionAttributes) -> ServedKind | None:
        if resources is None:
            return attributes.kind
        return self._matching.matches(resources, attributes, rules="resourceRules", excluded="excludeResourceRules")

    def _of_binding(
        self,
        policy: Manifest,
        name: str,
        binding: Manifest,
        kind: ServedKind,
        attributes: AdmissionAttributes,
        warn: Callable[[str], None],
    ) -> Iterator[Denied]:
        spec, by = binding["spec"], binding["metadata"]["name"]
        if self._about(spec.get("matchResources"), attributes) is None:
            return
        try:
            params = list(self._params(policy.get("paramKind"), spec.get("paramRef"), attributes.namespace))
        except _ConfigurationError as error:
            if policy.get("failurePolicy", "Fail") == "Fail":
                yield Denied(name, by, Decision(f"failed to configure binding: {error}"))
            return
        shown = attributes.as_of(kind)
        values = condition_values(shown, attributes.request(kind))
        if attributes.namespace and kind.storage != "namespaces":
            values["namespaceObject"] = self._matching.namespace(attributes.namespace)
        for param in params:
            for decision in PolicyRun(policy, {**values, "params": param}).decisions():
                actions = spec.get("validationActions") or ()
                if "Warn" in actions:
                    warn(
                        f"Validation failed for ValidatingAdmissionPolicy '{name}' with binding '{by}': "
                        f"{decision.message}"
                    )
                if "Deny" in actions:
                    yield Denied(name, by, decision)

    def _params(self, kind: Manifest | None, reference: Manifest | None, namespace: str) -> Iterator[Manifest | None]:
        """What a binding's policy is run with: objects, or for one without parameters nothing. Raises
        _ConfigurationError.
        """
        if kind is None or reference is None:
            yield None
            return
        param_kind = self._kinds.of(kind.get("apiVersion", ""), kind.get("kind", ""))
        if param_kind is None:
            shown = f"&ParamKind{{APIVersion:{kind.get('apiVersion', '')},Kind:{kind.get('kind', '')},}}"
            raise _ConfigurationError(f"paramKind kind `{shown}` not known")
        place = reference.get("namespace") or ""
        if param_kind.resource.namespaced:
            place = place or namespace
            if not place:
                why = "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
                raise _ConfigurationError(why)
        elif place:
            raise _ConfigurationError("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
        found = list(self._found(param_kind, reference, place))
        if not found and reference.get("parameterNotFoundAction") == "Deny":
            raise _ConfigurationError("no params found for policy binding with `Deny` parameterNotFoundAction")
        yield from found

    def _found(self, kind: ServedKind, reference: Manifest, namespace: str) -> Iterator[Manifest]:
        collection = self._storage.collection(kind.storage)
        if name := reference.get("name"):
            if (stored := collection.get(namespace, name)) is not None:
                yield served(kind, stored)
            return
        try:
            selector = LabelSelector.from_spec(reference.get("selector") or {})
        except SelectorError as error:
            raise _ConfigurationError(str(error)) from error
        for stored in collection.select(namespace):
            if selector.matches(stored.labels):
                yield served(kind, stored)


def _refusal(attributes: AdmissionAttributes, denied: Denied) -> ApiError:
    message, details = attributes.forbids(denied.message)
    reason = denied.decision.reason
    details = msgspec.structs.replace(details, causes=[Cause(message=denied.message)])
    return error_from_status(Status(message=message, reason=reason, details=details, code=_CODES.get(reason, 422)))
