"""`kubectl --as`: a request's headers name whom it is made for, with groups, uid and extra. Whether its caller may
speak for them, the authorizer decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING
from urllib.parse import unquote

import msgspec

from kfcore.apiserver.authentication import ACCOUNT_PREFIX, AUTHENTICATED, service_account_user
from kfcore.apiserver.authorization import Attributes, Authorizer, demand, user_of
from kfcore.apiserver.request import Request
from kfcore.client.errors import BadRequest

if TYPE_CHECKING:
    from multidict import CIMultiDictProxy

USER, GROUP, UID, EXTRA = "impersonate-user", "impersonate-group", "impersonate-uid", "impersonate-extra-"
_GROUP = "authentication.k8s.io"


def repeated(headers: CIMultiDictProxy[str]) -> Iterator[tuple[str, str]]:
    """The headers that may come several times, each with all its values: a line for each, and of groups commas."""
    for name in {name.lower() for name in headers}:
        if name == GROUP:
            yield name, ",".join(headers.getall(name))
        elif name.startswith(EXTRA):
            yield name, "\n".join(headers.getall(name))


def impersonate(authorizer: Authorizer, request: Request) -> Request:
    """The request as of whom its headers name. Raises Forbidden where its caller may not speak for them, BadRequest."""
    headers: Mapping[str, str] = request.headers
    name = headers.get(USER, "")
    if not name:
        raise BadRequest(f"requested {_claims(headers)} without impersonating a user")
    caller = user_of(request)
    groups = tuple(filter(None, (group.strip() for group in headers.get(GROUP, "").split(","))))
    if name.startswith(ACCOUNT_PREFIX) and name.count(":") == 3:
        namespace, account = name.removeprefix(ACCOUNT_PREFIX).split(":")
        demand(authorizer, Attributes(caller, "impersonate", "", "v1", "serviceaccounts", "", namespace, account))
        groups = groups or service_account_user(namespace, account).groups
    else:
        demand(authorizer, Attributes(caller, "impersonate", "", "v1", "users", name=name))
    for group in groups:
        if not name.startswith(ACCOUNT_PREFIX):
            demand(authorizer, Attributes(caller, "impersonate", "", "v1", "groups", name=group))
    if uid := headers.get(UID, ""):
        demand(authorizer, Attributes(caller, "impersonate", _GROUP, "v1", "uids", name=uid))
    extra = _extra(headers)
    for key, values in extra.items():
        for value in values:
            demand(authorizer, Attributes(caller, "impersonate", _GROUP, "v1", "userextras", key, name=value))
    if AUTHENTICATED not in groups and name != "system:anonymous":
        groups = (*groups, AUTHENTICATED)
    return msgspec.structs.replace(request, user=name, groups=groups, uid=uid, extra=extra)


def _extra(headers: Mapping[str, str]) -> dict[str, list[str]]:
    return {
        unquote(name.removeprefix(EXTRA)): value.split("\n")
        for name, value in headers.items()
        if name.startswith(EXTRA)
    }


def _claims(headers: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in headers.items() if name.startswith("impersonate-"))
