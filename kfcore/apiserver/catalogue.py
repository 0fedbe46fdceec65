"""The built-in kinds, as kube-apiserver's discovery lists them. Data only; `Kinds(builtin_kinds())` serves them."""

from __future__ import annotations

from kfcore.api.resource import Resource
from kfcore.apiserver.kinds import ALL_VERBS, ScalePaths, ServedKind, Subresource

_UPDATE = ("get", "patch", "update")
_PROXY = ("create", "delete", "get", "patch", "update")
_CREATE = ("create",)
_SCALE = ScalePaths(".spec.replicas", ".status.replicas", ".spec.selector")

_POD_SUBRESOURCES = (
    Subresource("attach", "PodAttachOptions", "", "v1", ("create", "get")),
    Subresource("binding", "Binding", "", "v1", _CREATE),
    Subresource("ephemeralcontainers", "Pod", "", "v1", _UPDATE),
    Subresource("eviction", "Eviction", "policy", "v1", _CREATE),
    Subresource("exec", "PodExecOptions", "", "v1", ("create", "get")),
    Subresource("log", "Pod", "", "v1", ("get",)),
    Subresource("portforward", "PodPortForwardOptions", "", "v1", ("create", "get")),
    Subresource("proxy", "PodProxyOptions", "", "v1", _PROXY),
    Subresource("resize", "Pod", "", "v1", _UPDATE),
)

# (kind, plural, short names, options); options: C cluster-scoped, A category all, X category api-extensions,
# S status, c scale, 1 create only, R read only, N no deletecollection
_TABLE: dict[str, tuple[tuple[str, str, str, str], ...]] = {
    "v1": (
        ("Binding", "bindings", "", "1"),
        ("ConfigMap", "configmaps", "cm", ""),
        ("Endpoints", "endpoints", "ep", ""),
        ("Event", "events", "ev", ""),
        ("LimitRange", "limitranges", "limits", ""),
        ("Namespace", "namespaces", "ns", "CSN"),
        ("Node", "nodes", "no", "CS"),
        ("PersistentVolumeClaim", "persistentvolumeclaims", "pvc", "S"),
        ("PersistentVolume", "persistentvolumes", "pv", "CS"),
        ("Pod", "pods", "po", "AS"),
        ("PodTemplate", "podtemplates", "", ""),
        ("ReplicationController", "replicationcontrollers", "rc", "ASc"),
        ("ResourceQuota", "resourcequotas", "quota", "S"),
        ("Secret", "secrets", "", ""),
        ("ServiceAccount", "serviceaccounts", "sa", ""),
        ("Service", "services", "svc", "AS"),
    ),
    "apps/v1": (
        ("ControllerRevision", "controllerrevisions", "", ""),
        ("DaemonSet", "daemonsets", "ds", "AS"),
        ("Deployment", "deployments", "deploy", "ASc"),
        ("ReplicaSet", "replicasets", "rs", "ASc"),
        ("StatefulSet", "statefulsets", "sts", "ASc"),
    ),
    "events.k8s.io/v1": (("Event", "events", "ev", ""),),
    "authentication.k8s.io/v1": (
        ("SelfSubjectReview", "selfsubjectreviews", "", "C1"),
        ("TokenReview", "tokenreviews", "", "C1"),
    ),
    "authorization.k8s.io/v1": (
        ("LocalSubjectAccessReview", "localsubjectaccessreviews", "", "1"),
        ("SelfSubjectAccessReview", "selfsubjectaccessreviews", "", "C1"),
        ("SelfSubjectRulesReview", "selfsubjectrulesreviews", "", "C1"),
        ("SubjectAccessReview", "subjectaccessreviews", "", "C1"),
    ),
    "autoscaling/v2": (("HorizontalPodAutoscaler", "horizontalpodautoscalers", "hpa", "AS"),),
    "autoscaling/v1": (("HorizontalPodAutoscaler", "horizontalpodautoscalers", "hpa", "AS"),),
    "batch/v1": (("CronJob", "cronjobs", "cj", "AS"), ("Job", "jobs", "", "AS")),
    "certificates.k8s.io/v1": (("CertificateSigningRequest", "certificatesigningrequests", "csr", "CS"),),
    "networking.k8s.io/v1": (
        ("IngressClass", "ingressclasses", "", "C"),
        ("Ingress", "ingresses", "ing", "S"),
        ("NetworkPolicy", "networkpolicies", "netpol", ""),
    ),
    "policy/v1": (("PodDisruptionBudget", "poddisruptionbudgets", "pdb", "S"),),
    "rbac.authorization.k8s.io/v1": (
        ("ClusterRoleBinding", "clusterrolebindings", "", "C"),
        ("ClusterRole", "clusterroles", "", "C"),
        ("RoleBinding", "rolebindings", "", ""),
        ("Role", "roles", "", ""),
    ),
    "storage.k8s.io/v1": (
        ("CSIDriver", "csidrivers", "", "C"),
        ("CSINode", "csinodes", "", "C"),
        ("StorageClass", "storageclasses", "sc", "C"),
        ("VolumeAttachment", "volumeattachments", "", "CS"),
    ),
    "admissionregistration.k8s.io/v1": (
        ("MutatingWebhookConfiguration", "mutatingwebhookconfigurations", "", "CX"),
        ("ValidatingAdmissionPolicy", "validatingadmissionpolicies", "", "CXS"),
        ("ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings", "", "CX"),
        ("ValidatingWebhookConfiguration", "validatingwebhookconfigurations", "", "CX"),
    ),
    "apiextensions.k8s.io/v1": (("CustomResourceDefinition", "customresourcedefinitions", "crd,crds", "CXS"),),
    "scheduling.k8s.io/v1": (("PriorityClass", "priorityclasses", "pc", "C"),),
    "coordination.k8s.io/v1": (("Lease", "leases", "", ""),),
    "node.k8s.io/v1": (("RuntimeClass", "runtimeclasses", "", "C"),),
    "discovery.k8s.io/v1": (("EndpointSlice", "endpointslices", "", ""),),
}


def builtin_kinds() -> list[ServedKind]:
    """Every built-in kind; events are served in two groups over one storage."""
    return [_kind(api_version, *row) for api_version, rows in _TABLE.items() for row in rows]


def _kind(api_version: str, kind: str, plural: str, short_names: str, options: str) -> ServedKind:
    group, _, version = api_version.rpartition("/")
    subresources = list(_EXTRA.get((group, plural), ()))
    if "S" in options:
        subresources.append(Subresource("status", kind, group, version, _UPDATE))
    if "c" in options:
        subresources.append(Subresource("scale", "Scale", "autoscaling", "v1", _UPDATE))
    subresources.sort(key=lambda subresource: subresource.name)
    resource = Resource(
        group,
        version,
        kind,
        plural,
        "C" not in options,
        short_names=tuple(filter(None, short_names.split(","))),
        subresources=frozenset(subresource.name for subresource in subresources),
    )
    verbs: tuple[str, ...] = ALL_VERBS
    if "1" in options:
        verbs = _CREATE
    elif "N" in options:
        verbs = tuple(verb for verb in verbs if verb != "deletecollection")
    return ServedKind(
        resource,
        categories=(*("all" for _ in "A" if "A" in options), *("api-extensions" for _ in "X" if "X" in options)),
        verbs=verbs,
        subresources=tuple(subresources),
        scale=_SCALE if "c" in options else None,
        storage="events" if plural == "events" else resource.qualified_plural,
        storage_version="v2" if group == "autoscaling" else "v1",
    )


_EXTRA: dict[tuple[str, str], tuple[Subresource, ...]] = {
    ("", "pods"): _POD_SUBRESOURCES,
    ("certificates.k8s.io", "certificatesigningrequests"): (
        Subresource("approval", "CertificateSigningRequest", "certificates.k8s.io", "v1", _UPDATE),
    ),
    ("", "namespaces"): (Subresource("finalize", "Namespace", "", "v1", ("update",)),),
    ("", "nodes"): (Subresource("proxy", "NodeProxyOptions", "", "v1", _PROXY),),
    ("", "services"): (Subresource("proxy", "ServiceProxyOptions", "", "v1", _PROXY),),
    ("", "serviceaccounts"): (Subresource("token", "TokenRequest", "authentication.k8s.io", "v1", _CREATE),),
}
