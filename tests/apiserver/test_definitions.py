"""CustomResourceDefinitions: the names they are given, their versions over time, and what is refused of them."""

from __future__ import annotations

from typing import Any

import pytest
from conversing import MERGE, Conversation

from kfcore.api.meta import Manifest
from kfcore.apiserver.request import Request
from kfcore.apiserver.server import ApiServer
from kfcore.testing import FakeClock

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"


@pytest.fixture
def ask() -> Conversation:
    return Conversation(ApiServer(clock=FakeClock()))


def a_version(name: str = "v1", *, stored: bool = True, spec: Manifest | None = None, **more: Any) -> Manifest:
    properties = {"spec": spec or {"type": "object", "properties": {"colour": {"type": "string"}}}}
    schema = {"openAPIV3Schema": {"type": "object", "properties": properties}}
    return {"name": name, "served": True, "storage": stored, "schema": schema, **more}


def a_definition(
    plural: str = "widgets", kind: str = "Widget", *versions: Manifest, group: str = "example.com", **more: Any
) -> Manifest:
    names = {"plural": plural, "kind": kind, "shortNames": more.pop("short", [])}
    spec = {"group": group, "scope": "Namespaced", "names": names, "versions": list(versions) or [a_version()]}
    return {"metadata": {"name": f"{plural}.{group}"}, "spec": spec | more}


def a_widget(name: str, version: str = "v1", **spec: Any) -> Manifest:
    return {"apiVersion": f"example.com/{version}", "kind": "Widget", "metadata": {"name": name}, "spec": spec}


def conditions(crd: Manifest) -> dict[str, tuple[str, str]]:
    return {item["type"]: (item["status"], item["reason"]) for item in crd["status"]["conditions"]}


async def test_a_name_is_one_definitions_until_that_goes(ask: Conversation) -> None:
    await ask.created(CRDS, a_definition(short=["w"]))
    second = await ask.created(CRDS, a_definition("wheels", "Wheel", short=["w"]))
    assert conditions(second) == {
        "NamesAccepted": ("False", "ShortNamesConflict"),
        "Established": ("False", "NotAccepted"),
    }
    assert (await ask("GET", WIDGETS))[0] == 200
    wheels = WIDGETS.replace("widgets", "wheels")
    assert (await ask("GET", wheels))[0] == 404
    await ask("DELETE", f"{CRDS}/widgets.example.com")
    _, second = await ask("GET", f"{CRDS}/wheels.example.com")
    assert conditions(second)["Established"][0] == "True"
    assert (await ask("GET", wheels))[0] == 200


async def test_a_version_in_which_objects_may_be_stored_stays(ask: Conversation) -> None:
    await ask.created(CRDS, a_definition("widgets", "Widget", a_version(), a_version("v2", stored=False)))
    path = f"{CRDS}/widgets.example.com"
    changed = {"spec": {"versions": [a_version(stored=False), a_version("v2")]}}
    assert (await ask("PATCH", path, changed, MERGE))[1]["status"]["storedVersions"] == ["v1", "v2"]
    without = {"spec": {"versions": [a_version("v2")]}}
    assert "v1 was previously a storage version" in await ask.refusal("PATCH", path, without, MERGE)
    await ask("PATCH", f"{path}/status", {"status": {"storedVersions": ["v2"]}}, MERGE)
    assert (await ask("PATCH", path, without, MERGE))[0] == 200


async def test_objects_are_selected_by_the_fields_that_a_definition_names(ask: Conversation) -> None:
    version = a_version(selectableFields=[{"jsonPath": ".spec.colour"}])
    await ask.created(CRDS, a_definition("widgets", "Widget", version))
    await ask.created(WIDGETS, a_widget("a", colour="red"))
    await ask.created(WIDGETS, a_widget("b", colour="blue"))
    _, found = await ask("GET", f"{WIDGETS}?fieldSelector=spec.colour=red")
    assert [item["metadata"]["name"] for item in found["items"]] == ["a"]
    assert "field label not supported: spec.size" in await ask.refusal("GET", f"{WIDGETS}?fieldSelector=spec.size=1")


async def test_users_of_a_deprecated_version_are_told(ask: Conversation) -> None:
    older = a_version("v1beta1", stored=False, deprecated=True)
    await ask.created(CRDS, a_definition("widgets", "Widget", a_version(), older))
    answer = await ask.server.handle(Request("GET", WIDGETS.replace("v1", "v1beta1")))
    assert answer.headers["warning"] == '299 - "example.com/v1beta1 Widget is deprecated"'
    assert "warning" not in (await ask.server.handle(Request("GET", WIDGETS))).headers


def with_spec(**schema: Any) -> list[Manifest]:
    return [a_version(spec={"type": "object", "properties": {"a": schema}})]


@pytest.mark.parametrize(
    ("definition", "said"),
    [
        (a_definition("as", "A", a_version(), a_version(stored=False)), "must contain unique version names"),
        (a_definition("as", "A", group="team.k8s.io"), "protected groups must have approval annotation"),
        (a_definition("as", "A", conversion={"strategy": "Magic"}), 'supported values: "None", "Webhook"'),
        (a_definition("as", "A", preserveUnknownFields=True), "spec.preserveUnknownFields: Invalid value: true"),
        (
            a_definition("as", "A", a_version(additionalPrinterColumns=[{"name": "a", "type": "x", "jsonPath": "a"}])),
            'type: Invalid value: "x": must be one of boolean,date,integer,number,string',
        ),
        (
            a_definition("as", "A", a_version(subresources={"scale": {"specReplicasPath": ".status.n"}})),
            'specReplicasPath: Invalid value: ".status.n": should be a json path under .spec',
        ),
        (
            a_definition("as", "A", a_version(selectableFields=[{"jsonPath": ".spec.size"}])),
            'selectableFields[0].jsonPath: Invalid value: ".spec.size": is an invalid path',
        ),
        (a_definition("as", "A", *with_spec(type="string", pattern="[")), "missing closing ]"),
    ],
)
async def test_a_definition_that_cannot_be_is_refused(ask: Conversation, definition: Manifest, said: str) -> None:
    assert said in await ask.refusal("POST", CRDS, definition)


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("duration", "1h30m", "soon"), ("email", "a@example.com", "a"), ("uri", "https://example.com/a", "a b"),
        ("uuid", "6f9619ff-8b86-d011-b42d-00cf4fc964ff", "6f9619ff"), ("hostname", "a.example.com", "a_b"),
        ("mac", "00:1b:44:11:3a:b7", "00:1b"), ("hexcolor", "#a0f", "red"), ("rgbcolor", "rgb(1, 2, 3)", "rgb(1)"),
        ("unheard-of", "anything", ""),
    ],
)  # fmt: skip
async def test_strings_have_the_format_of_their_schema(ask: Conversation, name: str, good: str, bad: str) -> None:
    await ask.created(CRDS, a_definition("widgets", "Widget", *with_spec(type="string", format=name)))
    await ask.created(WIDGETS, a_widget("good", a=good))
    if bad:
        said = await ask.refusal("POST", WIDGETS, a_widget("bad", a=bad))
        assert f"spec.a in body must be of type {name}: " in said
