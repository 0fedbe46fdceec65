"""Ingresses, NetworkPolicies and EndpointSlices: defaults. Rules: `network_rules.py`, `endpoint_rules.py`."""

from __future__ import annotations

from kfcore.api.meta import Manifest
from kfcore.apiserver.workloads import part


def default_network_policy(policy: Manifest) -> None:
    spec = part(policy, "spec", "NetworkPolicy")
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]
    spec.setdefault("podSelector", {})
    for direction in ("ingress", "egress"):
        for rule in spec.get(direction) or ():
            for port in rule.get("ports") or ():
                port.setdefault("protocol", "TCP")


def default_ingress_class(ingress_class: Manifest) -> None:
    parameters = part(ingress_class, "spec", "IngressClass").get("parameters")
    if isinstance(parameters, dict):
        parameters.setdefault("scope", "Cluster")


def admit_ingress(ingress: Manifest) -> None:
    ingress["status"] = {"loadBalancer": {}}


def default_endpoint_slice(endpoint_slice: Manifest) -> None:
    endpoint_slice.setdefault("ports", None)
    endpoint_slice.setdefault("endpoints", None)
    for endpoint in endpoint_slice["endpoints"] or ():
        endpoint.setdefault("conditions", {})
    for port in endpoint_slice["ports"] or ():
        port.setdefault("name", "")
        port.setdefault("protocol", "TCP")


def default_endpoints(endpoints: Manifest) -> None:
    for subset in endpoints.get("subsets") or ():
        for port in subset.get("ports") or ():
            port.setdefault("protocol", "TCP")
