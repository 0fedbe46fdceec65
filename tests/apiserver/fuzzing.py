"""Ask an API server of this process for things that nobody would, and see that it answers each with a refusal at worst.

    python tests/apiserver/fuzzing.py [SECONDS] [SEED]

Bodies are made from the types of all kinds, with some values of other types; so are patches of every sort, paths,
queries and headers. What is answered with 500 or not at all is printed as it was asked, and the exit code is 1.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from kfcore.apiserver import shapes
from kfcore.apiserver.kinds import ServedKind
from kfcore.apiserver.request import Request
from kfcore.apiserver.server import ApiServer
from kfcore.testing import FakeClock

PATCHES = (
    "application/merge-patch+json", "application/json-patch+json", "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)  # fmt: skip
ACCEPTED = (
    "", "application/json", "*/*", "application/json;as=Table;g=meta.k8s.io;v=v1", "text/html", "a;b=c;;,",
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", "application/vnd.kubernetes.protobuf",
)  # fmt: skip
QUERIES = (
    "watch", "limit", "continue", "resourceVersion", "resourceVersionMatch", "labelSelector", "fieldSelector", "dryRun",
    "fieldManager", "force", "fieldValidation", "sendInitialEvents", "allowWatchBookmarks", "timeoutSeconds",
    "propagationPolicy", "gracePeriodSeconds", "orphanDependents", "container", "tailLines", "includeObject", "pretty",
)  # fmt: skip
WORDS = (
    "", "a", "b", "x-y", "A_B", "default", "kube-system", "1", "0", "-1", "true", "None", "ClusterIP", "NodePort",
    "RollingUpdate", "Recreate", "Always", "Never", "25%", "1Gi", "10m", "a=b", "a in (b)", "!a", "metadata.name=a",
    "é\u0000", "a/b", "example.com/a", "..", "*", "All", "Strict", "Exact", "NotOlderThan", "Foreground", "Orphan",
    "Indexed",
    "2024-01-01T00:00:00Z", "* * * * *", "[", "x" * 300, "self.spec > 1", ".spec.a", "Bound", "10.96.0.1", "v1",
    "\ud7ff",
)  # fmt: skip
JUNK: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2**31, 2**63, 10**400, 1.5, "", "x", [], {}, [None], {"a": None}, [[]], {"": ""},
    [1, "a", {}], {"$patch": "delete"}, {"$patch": "replace"}, {"$retainKeys": ["a"]}, {"name": "a"},
    [{"name": "a"}, {"name": "a"}],
    {"$setElementOrder/containers": [1]}, {"$deleteFromPrimitiveList/finalizers": 1}, "9" * 30, {"matchLabels": 1},
)  # fmt: skip
SUBRESOURCES = (
    "status", "scale", "binding", "eviction", "log", "exec", "resize", "ephemeralcontainers", "token", "finalize",
    "proxy", "approval",
)  # fmt: skip


class Fuzzer:
    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.asked = 0
        self.answers: dict[int, int] = {}
        self.found: list[str] = []

    # ── values ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _word(self) -> str:
        return self._random.choice(WORDS)

    def _of(self, type_: shapes.FieldType, depth: int) -> Any:
        chance = self._random
        if chance.random() < 0.04:
            return chance.choice(JUNK)
        if type_.container == "list" and type_.inner:
            return [self._of(type_.inner, depth + 1) for _ in range(chance.choice((0, 1, 1, 2)))]
        if type_.container and type_.inner:
            return {self._word(): self._of(type_.inner, depth + 1) for _ in range(chance.choice((0, 1, 2)))}
        match type_.name:
            case "str" | "bytes" | "datetime":
                return self._word()
            case "int":
                return chance.choice((0, 1, 3, 80, 30080, -1, 2**31))
            case "float":
                return chance.choice((0, 0.5, -1))
            case "bool":
                return chance.random() < 0.5
            case "object" | "file":
                return chance.choice((*JUNK, *WORDS))
        return self._struct(type_.name, depth)

    def _struct(self, model: str, depth: int) -> Any:
        fields = list(shapes.field_types(model).items())
        if not fields or depth > 9:
            return {}
        keep = min(0.9, 4 / len(fields) + 0.1) if depth else 0.95
        wanted = ("name", "containers", "image", "template", "spec", "selector", "metadata", "ports", "port", "schema")
        return {
            name: self._of(type_, depth + 1)
            for name, type_ in fields
            if self._random.random() < (0.8 if name in wanted else keep)
        }

    def body(self, kind: ServedKind) -> Any:
        if self._random.random() < 0.03:
            return self._random.choice(JUNK)
        model = shapes.model_of(kind.resource)
        made = self._struct(model, 0) if model else {"spec": self._random.choice(JUNK)}
        if self._random.random() < 0.95:
            made["apiVersion"], made["kind"] = kind.resource.api_version, kind.resource.kind
        metadata = made.get("metadata")
        if isinstance(metadata, dict) and self._random.random() < 0.8:
            for field in (
                "uid",
                "resourceVersion",
                "namespace",
                "managedFields",
                "ownerReferences",
                "deletionTimestamp",
            ):
                metadata.pop(field, None)
            metadata["name"] = self._random.choice("ab")
            self._sound(metadata)
        self._complete(kind, made)
        return made

    def _sound(self, metadata: dict[str, Any]) -> None:
        for field in ("labels", "annotations"):
            if self._random.random() < 0.7:
                metadata[field] = {"a": "b"}
        if self._random.random() < 0.8:
            metadata.pop("finalizers", None)

    def _complete(self, kind: ServedKind, made: dict[str, Any]) -> None:
        """A definition that might be taken has to fit together."""
        spec = made.get("spec")
        if kind.resource.kind == "CustomResourceDefinition" and isinstance(spec, dict) and self._random.random() < 0.8:
            spec["group"], spec["scope"] = "example.com", "Namespaced"
            spec["names"] = {"plural": "things", "kind": "Thing"}
            made["metadata"] = {"name": "things.example.com"}

    def _operations(self) -> list[Any]:
        pointers = (
            "",
            "/",
            "/spec",
            "/spec/containers/0",
            "/spec/containers/-",
            "/metadata/labels/a",
            "/metadata",
            "/x~1y",
            "a",
        )
        chance = self._random
        return [
            {
                "op": chance.choice(("add", "remove", "replace", "move", "copy", "test", "odd")),
                "path": chance.choice((*pointers, *JUNK)),
                "from": chance.choice(pointers),
                "value": chance.choice(JUNK),
            }
            for _ in range(chance.choice((0, 1, 2, 3)))
        ]

    # ── requests ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def request(self, server: ApiServer) -> Request:
        chance = self._random
        kind = chance.choice(list(server.kinds))
        present = list(server.storage.collection(kind.storage).select()) if chance.random() < 0.8 else []
        method = chance.choice(("GET", "POST", "POST", "PUT", "PATCH", "PATCH", "PATCH", "DELETE", "ODD"))
        if not present and chance.random() < 0.6:
            method = "POST"
        path = self._path(kind, method, chance.choice(present).key if present else None)
        headers = {"accept": chance.choice(ACCEPTED), "user-agent": chance.choice(("fuzz", "", "a/b"))}
        query = {chance.choice(QUERIES): self._word() for _ in range(chance.choice((0, 0, 1, 2)))}
        body: Any = b""
        if method == "PATCH":
            headers["content-type"] = chance.choice(PATCHES)
            body = self._operations() if "json-patch" in headers["content-type"] else self.body(kind)
            if "apply" in headers["content-type"]:
                query.setdefault("fieldManager", chance.choice("mn"))
        elif method in ("POST", "PUT", "DELETE"):
            headers["content-type"] = chance.choice(
                ("application/json", "application/json", "application/yaml", "", "x")
            )
            body = self.body(kind) if method != "DELETE" or chance.random() < 0.3 else b""
        data = body if isinstance(body, bytes) else json.dumps(body).encode("utf-8", "replace")
        if data and chance.random() < 0.03:
            data = data[: chance.randrange(len(data))]
        raw = "&".join(f"{name}={value}" for name, value in query.items())
        return Request(method, path, query, headers, data, raw_query=raw)

    def _path(self, kind: ServedKind, method: str, present: tuple[str, str] | None) -> str:
        chance, resource = self._random, kind.resource
        path = resource.base_path
        if resource.namespaced and chance.random() < 0.97:
            other = chance.choice(("default", "default", "default", "kube-system", self._word()))
            path += f"/namespaces/{present[0] if present else other}"
        path += f"/{resource.plural}"
        if method != "POST" and chance.random() < 0.9:
            path += f"/{present[1] if present else chance.choice('ab')}"
            if chance.random() < 0.3:
                path += f"/{chance.choice(SUBRESOURCES)}"
        elif present and chance.random() < 0.3:
            path += f"/{present[1]}/{chance.choice(SUBRESOURCES)}"
        return path

    async def ask(self, server: ApiServer) -> None:
        request = self.request(server)
        self.asked += 1
        try:
            answer = await server.handle(request)
            close: Callable[[], Any] | None = getattr(answer.body, "aclose", None)
            if close is not None:
                await close()
            self.answers[answer.status] = self.answers.get(answer.status, 0) + 1
            if answer.status == 500:
                self._note(request, repr(answer.body))
        except Exception:  # noqa: BLE001 -- whatever it is, it is what is looked for
            self._note(request, traceback.format_exc())

    def _note(self, request: Request, what: str) -> None:
        last = what.strip().splitlines()
        key = "\n".join(last[-4:])
        if not any(key in known for known in self.found):
            asked = f"{request.method} {request.path}?{request.raw_query} {dict(request.headers)}"
            self.found.append(f"{asked}\n{request.body[:3000]!r}\n{what}")


async def fuzz(seconds: float, seed: int) -> Fuzzer:
    """The requests of a seed, for so long; a server takes a few thousand, then there is another one."""
    fuzzer, until = Fuzzer(seed), time.monotonic() + seconds
    while time.monotonic() < until:
        server = ApiServer(clock=FakeClock(), seed=seed)
        for _ in range(2000):
            await fuzzer.ask(server)
            if time.monotonic() > until:
                break
        await server.close()
    return fuzzer


def main() -> int:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 300
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(2**32)
    fuzzer = asyncio.run(fuzz(seconds, seed))
    for found in fuzzer.found:
        print(found)
    answers = ", ".join(f"{status}: {count}" for status, count in sorted(fuzzer.answers.items()))
    print(f"{fuzzer.asked} requests with seed {seed}; answers by status: {answers}; {len(fuzzer.found)} findings")
    return 1 if fuzzer.found else 0


if __name__ == "__main__":
    sys.exit(main())
