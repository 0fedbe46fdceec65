"""Kubernetes' protobuf bodies to JSON. kubectl sends what its own subcommands build (`create namespace`, `create job`,
`auth can-i`) in this form and has no other, so that the kinds it builds are read here; answers are always JSON.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

from kfcore.api.meta import Manifest, rfc3339
from kfcore.client.errors import BadRequest, UnsupportedMediaType

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"

# Field numbers, by message. A field is `number:name:type`; without a type it is a string. Types: `i` integer and `?`
# boolean, both left out when zero and kept with `!` (where Kubernetes tells zero from absent); `b` bytes; `t` time;
# `q` quantity; `I` integer or string; `[]x` a list; `{}x` a map from strings; any other name is a message below.
_MESSAGES = {
    "ObjectMeta": "1:name 2:generateName 3:namespace 4:selfLink 5:uid 6:resourceVersion 7:generation:i "
    "8:creationTimestamp:t 9:deletionTimestamp:t 10:deletionGracePeriodSeconds:i! 11:labels:{}s 12:annotations:{}s "
    "13:ownerReferences:[]OwnerReference 14:finalizers:[]s",
    "OwnerReference": "1:kind 3:name 4:uid 5:apiVersion 6:controller:?! 7:blockOwnerDeletion:?!",
    "LabelSelector": "1:matchLabels:{}s 2:matchExpressions:[]LabelSelectorRequirement",
    "LabelSelectorRequirement": "1:key 2:operator 3:values:[]s",
    "DeleteOptions": "1:gracePeriodSeconds:i! 2:preconditions:Preconditions 3:orphanDependents:?! 4:propagationPolicy "
    "5:dryRun:[]s",
    "Preconditions": "1:uid 2:resourceVersion",
    "Empty": "",
    "Namespace": "1:metadata:ObjectMeta 2:spec:NamespaceSpec 3:status:NamespaceStatus",
    "NamespaceSpec": "1:finalizers:[]s",
    "NamespaceStatus": "1:phase",
    "ConfigMap": "1:metadata:ObjectMeta 2:data:{}s 3:binaryData:{}b 4:immutable:?!",
    "Secret": "1:metadata:ObjectMeta 2:data:{}b 3:type 4:stringData:{}s 5:immutable:?!",
    "ServiceAccount": "1:metadata:ObjectMeta 2:secrets:[]ObjectReference 3:imagePullSecrets:[]LocalObjectReference "
    "4:automountServiceAccountToken:?!",
    "ObjectReference": "1:kind 2:namespace 3:name 4:uid 5:apiVersion 6:resourceVersion 7:fieldPath",
    "LocalObjectReference": "1:name",
    "ResourceQuota": "1:metadata:ObjectMeta 2:spec:ResourceQuotaSpec 3:status:Empty",
    "ResourceQuotaSpec": "1:hard:{}q 2:scopes:[]s",
    "Service": "1:metadata:ObjectMeta 2:spec:ServiceSpec 3:status:ServiceStatus",
    "ServiceSpec": "1:ports:[]ServicePort 2:selector:{}s 3:clusterIP 4:type 5:externalIPs:[]s 7:sessionAffinity "
    "8:loadBalancerIP 9:loadBalancerSourceRanges:[]s 10:externalName 11:externalTrafficPolicy 12:healthCheckNodePort:i "
    "13:publishNotReadyAddresses:?",
    "ServicePort": "1:name 2:protocol 3:port:i 4:targetPort:I 5:nodePort:i 6:appProtocol",
    "ServiceStatus": "1:loadBalancer:Empty",
    "PodTemplateSpec": "1:metadata:ObjectMeta 2:spec:PodSpec",
    "PodSpec": "2:containers:[]Container 3:restartPolicy 4:terminationGracePeriodSeconds:i! "
    "5:activeDeadlineSeconds:i! 6:dnsPolicy 7:nodeSelector:{}s 8:serviceAccountName 9:serviceAccount 10:nodeName "
    "11:hostNetwork:? 12:hostPID:? 13:hostIPC:? 15:imagePullSecrets:[]LocalObjectReference 16:hostname 17:subdomain "
    "19:schedulerName 20:initContainers:[]Container 21:automountServiceAccountToken:?! 24:priorityClassName "
    "25:priority:i!",
    "Container": "1:name 2:image 3:command:[]s 4:args:[]s 5:workingDir 6:ports:[]ContainerPort 7:env:[]EnvVar "
    "8:resources:ResourceRequirements 9:volumeMounts:[]VolumeMount 13:terminationMessagePath 14:imagePullPolicy "
    "16:stdin:? 17:stdinOnce:? 18:tty:? 20:terminationMessagePolicy",
    "ContainerPort": "1:name 2:hostPort:i 3:containerPort:i 4:protocol 5:hostIP",
    "EnvVar": "1:name 2:value 3:valueFrom:EnvVarSource",
    "EnvVarSource": "1:fieldRef:ObjectFieldSelector 3:configMapKeyRef:KeySelector 4:secretKeyRef:KeySelector",
    "ObjectFieldSelector": "1:apiVersion 2:fieldPath",
    "KeySelector": "1:localObjectReference:LocalObjectReference 2:key 3:optional:?!",
    "ResourceRequirements": "1:limits:{}q 2:requests:{}q",
    "VolumeMount": "1:name 2:readOnly:? 3:mountPath 4:subPath",
    "Deployment": "1:metadata:ObjectMeta 2:spec:DeploymentSpec 3:status:Status",
    "DeploymentSpec": "1:replicas:i! 2:selector:LabelSelector 3:template:PodTemplateSpec 4:strategy:DeploymentStrategy "
    "5:minReadySeconds:i 6:revisionHistoryLimit:i! 7:paused:? 9:progressDeadlineSeconds:i!",
    "DeploymentStrategy": "1:type 2:rollingUpdate:RollingUpdate",
    "RollingUpdate": "1:maxUnavailable:I 2:maxSurge:I",
    "Status": "1:a:i 2:b:i 3:c:i 4:d:i 5:e:i 7:g:i",
    "Job": "1:metadata:ObjectMeta 2:spec:JobSpec 3:status:Status",
    "JobSpec": "1:parallelism:i! 2:completions:i! 3:activeDeadlineSeconds:i! 4:selector:LabelSelector "
    "5:manualSelector:?! 6:template:PodTemplateSpec 7:backoffLimit:i! 8:ttlSecondsAfterFinished:i! 9:completionMode "
    "10:suspend:?!",
    "CronJob": "1:metadata:ObjectMeta 2:spec:CronJobSpec 3:status:Empty",
    "CronJobSpec": "1:schedule 2:startingDeadlineSeconds:i! 3:concurrencyPolicy 4:suspend:?! 5:jobTemplate:JobTemplate "
    "6:successfulJobsHistoryLimit:i! 7:failedJobsHistoryLimit:i! 8:timeZone",
    "JobTemplate": "1:metadata:ObjectMeta 2:spec:JobSpec",
    "Scale": "1:metadata:ObjectMeta 2:spec:ScaleSpec 3:status:ScaleStatus",
    "ScaleSpec": "1:replicas:i",
    "ScaleStatus": "1:replicas:i 2:selector",
    "Role": "1:metadata:ObjectMeta 2:rules:[]PolicyRule",
    "ClusterRole": "1:metadata:ObjectMeta 2:rules:[]PolicyRule",
    "PolicyRule": "1:verbs:[]s 2:apiGroups:[]s 3:resources:[]s 4:resourceNames:[]s 5:nonResourceURLs:[]s",
    "RoleBinding": "1:metadata:ObjectMeta 2:subjects:[]Subject 3:roleRef:RoleRef",
    "ClusterRoleBinding": "1:metadata:ObjectMeta 2:subjects:[]Subject 3:roleRef:RoleRef",
    "Subject": "1:kind 2:apiGroup 3:name 4:namespace",
    "RoleRef": "1:apiGroup 2:kind 3:name",
    "PriorityClass": "1:metadata:ObjectMeta 2:value:i! 3:globalDefault:? 4:description 5:preemptionPolicy",
    "PodDisruptionBudget": "1:metadata:ObjectMeta 2:spec:PodDisruptionBudgetSpec 3:status:Status",
    "PodDisruptionBudgetSpec": "1:minAvailable:I 2:selector:LabelSelector 3:maxUnavailable:I",
    "Eviction": "1:metadata:ObjectMeta 2:deleteOptions:DeleteOptions",
    "SelfSubjectReview": "1:metadata:ObjectMeta 2:status:Empty",
    "SelfSubjectAccessReview": "1:metadata:ObjectMeta 2:spec:AccessReviewSpec 3:status:AccessReviewStatus",
    "AccessReviewSpec": "1:resourceAttributes:ResourceAttributes 2:nonResourceAttributes:NonResourceAttributes",
    "ResourceAttributes": "1:namespace 2:verb 3:group 4:version 5:resource 6:subresource 7:name",
    "NonResourceAttributes": "1:path 2:verb",
    "AccessReviewStatus": "1:allowed:? 2:reason 3:evaluationError 4:denied:?",
    "SelfSubjectRulesReview": "1:metadata:ObjectMeta 2:spec:RulesReviewSpec 3:status:RulesReviewStatus",
    "RulesReviewSpec": "1:namespace",
    "RulesReviewStatus": "3:incomplete:? 4:evaluationError",
}
_SERVER_WRITTEN = frozenset({"Status", "Empty", "AccessReviewStatus", "RulesReviewStatus", "NamespaceStatus"})


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    type: str
    keep_zero: bool


def read_object(body: bytes) -> Manifest:
    """The object of a request body of `MEDIA_TYPE`.

    Raises BadRequest for what is not one, UnsupportedMediaType for a kind or a field that is not read here: a client
    that can send JSON can send it.
    """
    if not body.startswith(_MAGIC):
        raise BadRequest("the body is not a Kubernetes protobuf message")
    try:
        envelope = dict(_parts(body[len(_MAGIC) :]))
        identity = dict(_parts(envelope[1]))
        api_version, kind = identity[1].decode(), identity[2].decode()
        if kind not in _MESSAGES:
            raise UnsupportedMediaType(f"{kind} cannot be read as protobuf: send it as application/json")
        return {"apiVersion": api_version, "kind": kind, **_message(kind, envelope.get(2, b""))}
    except (IndexError, KeyError, AttributeError, TypeError, UnicodeDecodeError) as error:
        raise BadRequest(f"the body is not a Kubernetes protobuf message: {error!r}") from error


@cache
def _fields(message: str) -> dict[int, _Field]:
    fields = {}
    for entry in _MESSAGES[message].split():
        number, name, *type_ = entry.split(":")
        text = type_[0] if type_ else "s"
        fields[int(number)] = _Field(name, text.rstrip("!"), text.endswith("!"))
    return fields


def _message(message: str, data: bytes) -> Manifest:
    if message in _SERVER_WRITTEN:
        return {}
    fields = _fields(message)
    made: Manifest = {}
    for number, raw in _parts(data):
        field = fields.get(number)
        if field is None:
            raise UnsupportedMediaType(f"field {number} of {message} cannot be read as protobuf: send JSON")
        if field.type.startswith("[]"):
            made.setdefault(field.name, []).append(_value(field.type[2:], raw))
        elif field.type.startswith("{}"):
            entry = dict(_parts(raw))
            key = entry.get(1, b"").decode()
            made.setdefault(field.name, {})[key] = _value(field.type[2:], entry.get(2, b""))
        else:
            value = _value(field.type, raw)
            if value or field.keep_zero or isinstance(value, dict):
                made[field.name] = value
    if message == "KeySelector":  # its name is a struct of its own in Go, and inlined in JSON
        made |= made.pop("localObjectReference", {})
    return made


def _value(type_: str, raw: Any) -> Any:
    match type_:
        case "s":
            return raw.decode()
        case "i":
            return raw - (1 << 64) if raw >= 1 << 63 else raw
        case "?":
            return bool(raw)
        case "b":
            return base64.b64encode(raw).decode()
        case "q":
            return dict(_parts(raw)).get(1, b"").decode()
        case "t":
            seconds = dict(_parts(raw)).get(1, 0)
            return rfc3339(datetime.fromtimestamp(seconds, UTC)) if seconds else None
        case "I":
            parts = dict(_parts(raw))
            return parts.get(3, b"").decode() if parts.get(1) else parts.get(2, 0)
    return _message(type_, raw)


def _parts(data: bytes) -> Iterator[tuple[int, Any]]:
    """A message's fields as (number, value): bytes for what has a length, an integer otherwise."""
    position, end = 0, len(data)
    while position < end:
        tag, position = _varint(data, position)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, position = _varint(data, position)
            yield number, value
        elif wire == 2:
            length, position = _varint(data, position)
            if position + length > end:
                raise IndexError("a field is cut off")
            yield number, data[position : position + length]
            position += length
        else:
            raise TypeError(f"wire type {wire}")


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise IndexError("an integer is too long")
