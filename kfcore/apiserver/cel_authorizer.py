"""`authorizer` in CEL: may who asks (or a service account) do something? Checks are maps that say what is asked, as
the other types of `cel_functions.py`; `admission_values.py` knows who answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cel_expr_python import cel

from kfcore.apiserver.admission_values import decide
from kfcore.apiserver.authentication import User, service_account_user
from kfcore.apiserver.authorization import Attributes

_FIELDS = ("group", "version", "resource", "subresource", "namespace", "name")
_STRING, _ANY, _BOOL = cel.Type.STRING, cel.Type.DYN, cel.Type.BOOL


def _with(field: str) -> Callable[[Any, str], Mapping[str, Any]]:
    return lambda check, value: {**_asking(check), f"authorizer.{field}": value}


def _asking(check: Any) -> Mapping[str, Any]:
    if not isinstance(check, dict) or "authorizer.user" not in check:
        raise ValueError("no such overload")
    return {name: value for name, value in check.items() if name != "requestResource"}


def _as_account(check: Any, namespace: str, name: str) -> Mapping[str, Any]:
    user = service_account_user(namespace, name)
    return {**_asking(check), "authorizer.user": user.name, "authorizer.groups": list(user.groups)}


def _check(check: Any, verb: str) -> Mapping[str, Any]:
    asked = _asking(check)
    user = User(asked["authorizer.user"], tuple(asked["authorizer.groups"]))
    fields = {field: asked.get(f"authorizer.{field}", "") for field in (*_FIELDS, "path")}
    decision = decide(Attributes(user, verb, **fields))
    return {"authorizer.allowed": decision.allowed, "authorizer.reason": decision.reason}


def _decision(field: str) -> Callable[[Any], Any]:
    def read(decision: Any) -> Any:
        if not isinstance(decision, dict) or "authorizer.allowed" not in decision:
            raise ValueError("no such overload")
        return decision[f"authorizer.{field}"]

    return read


def _member(name: str, result: cel.Type, function: Callable[..., Any], *parameters: cel.Type) -> cel.FunctionDecl:
    overload = cel.Overload(f"authorizer_{name}", result, [_ANY, *parameters], is_member=True, impl=function)
    return cel.FunctionDecl(name, [overload])


def authorizer_library() -> cel.CelExtension:
    return cel.CelExtension(
        "kubernetes.authorizer",
        [
            *(_member(field, _ANY, _with(field), _STRING) for field in ("group", "resource", "subresource", "path")),
            *(_member(field, _ANY, _with(field), _STRING) for field in ("namespace", "name")),
            _member("serviceAccount", _ANY, _as_account, _STRING, _STRING),
            _member("check", _ANY, _check, _STRING),
            _member("allowed", _BOOL, _decision("allowed")),
            _member("reason", _STRING, _decision("reason")),
            _member("errored", _BOOL, lambda decision: False),
            _member("error", _STRING, lambda decision: ""),
        ],
    )
