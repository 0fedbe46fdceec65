"""The strategies of the built-in kinds: which defaults, rules and selectable fields each has."""

from __future__ import annotations

from functools import partial

from kfcore.api.meta import Manifest
from kfcore.apiserver import (
    admission_policy_rules,
    autoscaling,
    autoscaling_rules,
    batch,
    configuration,
    endpoint_rules,
    limit_range_rules,
    limit_ranges,
    network_rules,
    networking,
    nodes,
    pod_rules,
    pods,
    policy_rules,
    quota_rules,
    roles,
    scheduling,
    service_rules,
    services,
    volumes,
    webhook_rules,
    workload_rules,
    workloads,
)
from kfcore.apiserver.addresses import Addresses
from kfcore.apiserver.admission import Admission
from kfcore.apiserver.names import dns_label, path_segment
from kfcore.apiserver.status import FieldError, bad_request, invalid_value, required
from kfcore.apiserver.strategy import Default, Strategy

PLAIN = Strategy(generation=False)
_EVENT_FIELDS = (
    "involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid",
    "involvedObject.apiVersion", "involvedObject.resourceVersion", "involvedObject.fieldPath", "reason",
    "reportingComponent", "source", "type",
)  # fmt: skip
_REGARDING = {
    field.replace("involvedObject", "regarding"): field for field in _EVENT_FIELDS if field.startswith("involved")
} | {"reportingController": "reportingComponent"}


def _object(manifest: Manifest, name: str) -> Manifest:
    value = manifest.get(name)
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise bad_request(f"{manifest['kind']}.{name}: expected an object")
    return value


# ── namespaces ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _default_namespace(namespace: Manifest) -> None:
    metadata = namespace["metadata"]
    metadata["labels"] = {**metadata.get("labels", {}), "kubernetes.io/metadata.name": metadata.get("name", "")}


def _admit_namespace(namespace: Manifest) -> None:
    finalizers = (namespace.get("spec") or {}).get("finalizers") or []
    namespace["spec"] = {"finalizers": finalizers if "kubernetes" in finalizers else [*finalizers, "kubernetes"]}
    namespace["status"] = {"phase": "Active"}


def _keep_namespace(namespace: Manifest, previous: Manifest) -> None:
    """`/finalize` alone takes what holds a namespace."""
    namespace["spec"] = previous.get("spec") or {}


# ── events and leases ────────────────────────────────────────────────────────────────────────────────────────────────


def _default_event(event: Manifest) -> None:
    if event["apiVersion"] == "v1":
        times, source, reporter = ("firstTimestamp", "lastTimestamp"), "source", "reportingComponent"
        event.setdefault("involvedObject", {})
    else:
        times, source = ("deprecatedFirstTimestamp", "deprecatedLastTimestamp"), "deprecatedSource"
        reporter = "reportingController"
        event.setdefault("regarding", {})
    _object(event, "involvedObject")
    _object(event, "regarding")
    event.setdefault(source, {})
    for name in (*times, "eventTime"):
        event.setdefault(name, None)
    event.setdefault(reporter, "")
    event.setdefault("reportingInstance", "")


def _validate_event(event: Manifest, previous: Manifest | None) -> list[FieldError]:
    about = event.get("involvedObject") or event.get("regarding") or {}
    namespace = about.get("namespace", "")
    if namespace != event["metadata"]["namespace"] and (namespace or event["metadata"]["namespace"] != "default"):
        return [invalid_value("involvedObject.namespace", namespace, "does not match event.namespace")]
    return _validate_new_event(event) if previous is None and event["apiVersion"] != "v1" else []


def _validate_new_event(event: Manifest) -> list[FieldError]:
    """Who reports by the newer group says all of it."""
    needed = ("eventTime", "reportingController", "reportingInstance", "action", "reason")
    errors = [required(name) for name in needed if not event.get(name)]
    if (kind := event.get("type") or "") not in ("Normal", "Warning"):
        errors.append(invalid_value("type", "", f"has invalid value: {kind}"))
    return errors


def _default_lease(lease: Manifest) -> None:
    lease.setdefault("spec", {})


def _validate_lease(lease: Manifest, previous: Manifest | None) -> list[FieldError]:
    spec = _object(lease, "spec")
    errors = []
    for name, least, why in (
        ("leaseDurationSeconds", 1, "must be greater than 0"),
        ("leaseTransitions", 0, "must be greater than or equal to 0"),
    ):
        value = spec.get(name)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool):
            raise bad_request(f"Lease.spec.{name}: expected an integer")
        if value < least:
            errors.append(invalid_value(f"spec.{name}", value, why))
    return errors


# ── the rest ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _initial_status(**status: object) -> partial[None]:
    return partial(_set_status, status)


def _set_status(status: Manifest, manifest: Manifest) -> None:
    manifest["status"] = dict(status)


def _in_order(*steps: Default) -> Default:
    def run(manifest: Manifest) -> None:
        for step in steps:
            step(manifest)

    return run


def strategies(admission: Admission, addresses: Addresses) -> dict[str, Strategy]:
    """Strategies by storage name; kinds that are not here are `PLAIN`. Made for one server:
    services count addresses, and admission looks at what is there.
    """
    replicated = _initial_status(replicas=0)
    return {
        "namespaces": Strategy(
            default=_default_namespace,
            on_create=_admit_namespace,
            on_update=_keep_namespace,
            names=dns_label,
            generation=False,
            returns_deleted=True,
            fields={"status.phase": "status.phase"},
        ),
        "configmaps": Strategy(
            default=configuration.default_config_map, validate=configuration.validate_config_map, generation=False
        ),
        "secrets": Strategy(
            default=configuration.default_secret,
            validate=configuration.validate_secret,
            generation=False,
            fields={"type": "type"},
        ),
        "pods": Strategy(
            default=pods.default_pod,
            admit=_in_order(
                admission.give_account,
                admission.resolve_priority,
                admission.apply_runtime_class,
                admission.keep_limits,
            ),
            on_create=pods.admit_pod,
            validate=pod_rules.validate_pod,
            graceful=True,
            returns_deleted=True,
            fields=pods.POD_FIELDS,
        ),
        "services": Strategy(
            default=services.default_service,
            on_create=partial(services.admit_service, addresses),
            on_update=partial(services.keep_addresses, addresses),
            validate=service_rules.validate_service,
            names=dns_label,
            created_by_update=True,
            generation=False,
            returns_deleted=True,
            fields={"spec.clusterIP": "spec.clusterIP", "spec.type": "spec.type"},
        ),
        "events": Strategy(
            default=_default_event,
            validate=_validate_event,
            created_by_update=True,
            generation=False,
            fields={field: field for field in _EVENT_FIELDS} | _REGARDING | {"source": "source.component"},
        ),
        "leases.coordination.k8s.io": Strategy(
            default=_default_lease, validate=_validate_lease, created_by_update=True, generation=False
        ),
        "nodes": Strategy(
            default=nodes.default_node,
            on_update=nodes.keep_status,
            validate=nodes.validate_node,
            generation=False,
            fields={"spec.unschedulable": "spec.unschedulable"},
            keeps_status=True,
        ),
        "deployments.apps": Strategy(
            default=workloads.default_deployment,
            on_create=_initial_status(),
            validate=workload_rules.validate_workload,
            counts_annotations=True,
        ),
        "replicasets.apps": Strategy(
            validate=workload_rules.validate_workload,
            default=workloads.default_replicated,
            on_create=replicated,
            fields={"status.replicas": "status.replicas"},
        ),
        "replicationcontrollers": Strategy(
            default=workloads.default_controller,
            validate=workload_rules.validate_controller,
            on_create=replicated,
            fields={"status.replicas": "status.replicas"},
        ),
        "podtemplates": Strategy(
            default=workloads.default_pod_template, validate=workload_rules.validate_pod_template, returns_deleted=True
        ),
        "statefulsets.apps": Strategy(
            default=workloads.default_stateful_set,
            validate=workload_rules.validate_workload,
            on_create=_initial_status(replicas=0, availableReplicas=0),
        ),
        "daemonsets.apps": Strategy(
            default=workloads.default_daemon_set,
            validate=workload_rules.validate_workload,
            on_create=workloads.admit_daemon_set,
            on_update=workloads.keep_template_generation,
        ),
        "jobs.batch": Strategy(
            default=batch.default_job,
            on_create=batch.admit_job,
            validate=batch.validate_job,
            fields={"status.successful": "status.succeeded"},
        ),
        "cronjobs.batch": Strategy(
            default=batch.default_cron_job, validate=batch.validate_cron_job, on_create=_initial_status()
        ),
        **dict.fromkeys(
            ("roles.rbac.authorization.k8s.io", "clusterroles.rbac.authorization.k8s.io"),
            Strategy(
                default=roles.default_role,
                validate=roles.validate_role,
                created_by_update=True,
                generation=False,
                names=path_segment,
            ),
        ),
        **dict.fromkeys(
            ("rolebindings.rbac.authorization.k8s.io", "clusterrolebindings.rbac.authorization.k8s.io"),
            Strategy(
                default=roles.default_binding,
                validate=roles.validate_binding,
                created_by_update=True,
                generation=False,
                names=path_segment,
            ),
        ),
        "persistentvolumeclaims": Strategy(
            default=volumes.default_claim,
            validate=volumes.validate_claim,
            generation=False,
            returns_deleted=True,
            admit=admission.choose_storage_class,
            on_create=_initial_status(phase="Pending"),
        ),
        "persistentvolumes": Strategy(
            default=volumes.default_volume,
            validate=volumes.validate_volume,
            generation=False,
            returns_deleted=True,
            on_create=volumes.admit_volume,
        ),
        "storageclasses.storage.k8s.io": Strategy(
            default=volumes.default_storage_class, validate=volumes.validate_storage_class, generation=False
        ),
        "csidrivers.storage.k8s.io": Strategy(default=volumes.default_driver, generation=False),
        "volumeattachments.storage.k8s.io": Strategy(on_create=_initial_status(attached=False), generation=False),
        "runtimeclasses.node.k8s.io": Strategy(validate=policy_rules.validate_runtime_class, generation=False),
        "poddisruptionbudgets.policy": Strategy(
            default=policy_rules.default_disruption_budget,
            validate=policy_rules.validate_disruption_budget,
            on_create=_initial_status(disruptionsAllowed=0, currentHealthy=0, desiredHealthy=0, expectedPods=0),
        ),
        "networkpolicies.networking.k8s.io": Strategy(
            default=networking.default_network_policy, validate=network_rules.validate_network_policy
        ),
        "ingressclasses.networking.k8s.io": Strategy(
            default=networking.default_ingress_class, validate=network_rules.validate_ingress_class
        ),
        "ingresses.networking.k8s.io": Strategy(
            on_create=networking.admit_ingress, validate=network_rules.validate_ingress
        ),
        "endpointslices.discovery.k8s.io": Strategy(
            default=networking.default_endpoint_slice, validate=endpoint_rules.validate_endpoint_slice
        ),
        "endpoints": Strategy(
            default=networking.default_endpoints,
            validate=endpoint_rules.validate_endpoints,
            created_by_update=True,
            generation=False,
        ),
        "horizontalpodautoscalers.autoscaling": Strategy(
            default=autoscaling.default_autoscaler,
            on_create=autoscaling.admit_autoscaler,
            validate=autoscaling_rules.validate_autoscaler,
            generation=False,
        ),
        "serviceaccounts": Strategy(generation=False, returns_deleted=True),
        "resourcequotas": Strategy(
            default=quota_rules.default_quota,
            validate=quota_rules.validate_quota,
            on_create=_initial_status(),
            generation=False,
            returns_deleted=True,
        ),
        "limitranges": Strategy(
            default=limit_ranges.default_limit_range,
            validate=limit_range_rules.validate_limit_range,
            created_by_update=True,
            generation=False,
        ),
        "priorityclasses.scheduling.k8s.io": Strategy(
            default=scheduling.default_priority_class,
            admit=admission.keep_one_default,
            validate=scheduling.validate_priority_class,
        ),
        **dict.fromkeys(
            (
                "mutatingwebhookconfigurations.admissionregistration.k8s.io",
                "validatingwebhookconfigurations.admissionregistration.k8s.io",
            ),
            Strategy(default=webhook_rules.default_webhooks, validate=webhook_rules.validate_webhooks),
        ),
        "validatingadmissionpolicies.admissionregistration.k8s.io": Strategy(
            default=admission_policy_rules.default_policy,
            validate=admission_policy_rules.validate_policy,
            on_create=_initial_status(),
        ),
        "validatingadmissionpolicybindings.admissionregistration.k8s.io": Strategy(
            default=admission_policy_rules.default_policy_binding,
            validate=admission_policy_rules.validate_policy_binding,
        ),
        "certificatesigningrequests.certificates.k8s.io": Strategy(
            validate=policy_rules.validate_signing_request, generation=False, on_create=_initial_status()
        ),
    }
