"""Which objects a list or a watch shows: label selectors with their grammar, field selectors, and versions."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import quote

import pytest
from conversing import NAMESPACE, PODS, Conversation, a_pod

from kfcore.apiserver.request import Request
from kfcore.apiserver.server import ApiServer
from kfcore.client.selectors import FieldSelector, LabelSelector
from kfcore.testing import FakeClock, settle

MAPS = f"{NAMESPACE}/configmaps"
LABEL_NAME = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)


@pytest.fixture
def ask() -> Conversation:
    return Conversation(ApiServer(clock=FakeClock()))


async def a_few(ask: Conversation) -> list[str]:
    """Config maps c0 to c4 with labels n=0 to n=4, odd ones `odd`; returns their versions."""
    made = []
    for number in range(5):
        labels = {"n": str(number), **({"odd": ""} if number % 2 else {})}
        made.append(await ask.created(MAPS, {"metadata": {"name": f"c{number}", "labels": labels}}))
    return [one["metadata"]["resourceVersion"] for one in made]


def numbers(answer: dict[str, Any]) -> str:
    return "".join(item["metadata"]["name"][1:] for item in answer["items"])


@pytest.mark.parametrize(
    ("selector", "chosen"),
    [
        ("n>1", "234"), ("n > 1 , n<4", "23"), ("n<0", ""), ("odd>1", ""), ("m>0", ""),
        ("n in (1,,3)", "13"), ("odd in ()", "13"), ("odd=", "13"), ("odd!=", "024"), ("n notin (1), !odd", "024"),
        ("in notin (a)", "01234"), ("n==2", "2"),
    ],
)  # fmt: skip
async def test_labels_are_selected_by_all_operators(ask: Conversation, selector: str, chosen: str) -> None:
    await a_few(ask)
    status, answer = await ask("GET", f"{MAPS}?labelSelector={quote(selector)}")
    assert (status, numbers(answer)) == (200, chosen)
    again = str(LabelSelector.parse(selector))
    assert LabelSelector.parse(again) == LabelSelector.parse(selector)


@pytest.mark.parametrize(
    ("selector", "why"),
    [
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("=x", "found '=', expected: !, identifier, or 'end of string'"),
        ("a in b", "unable to parse requirement: found 'b' expected: '('"),
        ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("a,", "found '', expected: identifier after ','"),
        ("!a=b", "found '=', expected: ',' or 'end of string'"),
        ("n>=1", "unable to parse requirement: found '=', expected: identifier"),
        (
            "n>x",
            "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be "
            "an integer",
        ),
        ("-a=1", f'unable to parse requirement: <nil>: Invalid value: "-a": {LABEL_NAME}'),
        (
            f"a={'v' * 64}",
            f'unable to parse requirement: values[0][a]: Invalid value: "{"v" * 64}": must be no more than 63 bytes',
        ),
    ],
)
async def test_what_is_no_label_selector_is_told_as_the_grammar_has_it(
    ask: Conversation, selector: str, why: str
) -> None:
    assert await ask.refusal("GET", f"{MAPS}?labelSelector={quote(selector)}") == f"400 {why}"


@pytest.mark.parametrize(
    ("path", "selector", "why"),
    [
        (MAPS, "metadata.name", "invalid selector: 'metadata.name'; can't understand 'metadata.name'"),
        (MAPS, "metadata.name=a=b", "invalid field selector: unescaped character in value: 61"),
        (MAPS, "metadata.name=a\\b", "invalid field selector: invalid escape sequence: \\b"),
        ("/apis/batch/v1/jobs", "spec.x=1", 'field label "spec.x" not supported for Job'),
        (f"{NAMESPACE}/pods", "spec.x=1", "field label not supported: spec.x"),
    ],
)
async def test_what_is_no_field_selector_is_refused(ask: Conversation, path: str, selector: str, why: str) -> None:
    assert await ask.refusal("GET", f"{path}?fieldSelector={quote(selector)}") == f"400 {why}"


def test_field_selectors_escape_what_separates_their_terms() -> None:
    selector = FieldSelector.parse(r"a=x\,y\=z,b!=1")
    assert selector.terms == (("a", True, "x,y=z"), ("b", False, "1"))
    assert FieldSelector.parse(str(selector)) == selector


@pytest.mark.parametrize(
    ("path", "body", "selector"),
    [
        ("/api/v1/nodes", {"metadata": {"name": "n"}}, "spec.unschedulable=false"),
        ("/api/v1/nodes", {"metadata": {"name": "n"}, "spec": {"unschedulable": True}}, "spec.unschedulable=true"),
        (PODS, a_pod("n"), "spec.hostNetwork=false,spec.nodeName="),
        ("/apis/batch/v1/namespaces/default/jobs",
         {"metadata": {"name": "n"}, "spec": {"template": {"spec": {**a_pod()["spec"], "restartPolicy": "Never"}}}},
         "status.successful=0"),
    ],
)  # fmt: skip
async def test_fields_that_an_object_does_not_say_have_a_value(
    ask: Conversation, path: str, body: dict[str, Any], selector: str
) -> None:
    await ask.created(path, body)
    _, answer = await ask("GET", f"{path}?fieldSelector={quote(selector)}")
    assert [item["metadata"]["name"] for item in answer["items"]] == ["n"]


async def test_events_of_both_apis_are_selected_by_who_reports(ask: Conversation) -> None:
    events = "/apis/events.k8s.io/v1/namespaces/default/events"
    about = {"kind": "Pod", "name": "p", "namespace": "default"}
    said = {"reportingController": "a.b/c", "reportingInstance": "i", "action": "A", "reason": "R", "type": "Normal"}
    body = {"metadata": {"name": "e"}, "eventTime": "2026-01-01T00:00:00.000000Z", "regarding": about, **said}
    await ask.created(events, body)
    for path, selector in (
        (events, "reportingController=a.b/c,regarding.name=p"),
        (f"{NAMESPACE}/events", "reportingComponent=a.b/c,involvedObject.name=p"),
    ):
        assert len((await ask("GET", f"{path}?fieldSelector={quote(selector)}"))[1]["items"]) == 1


async def test_a_page_is_of_the_version_that_it_asks_for(ask: Conversation) -> None:
    versions = await a_few(ask)
    _, page = await ask("GET", f"{MAPS}?limit=2&resourceVersion={versions[2]}")
    assert (numbers(page), page["metadata"]["remainingItemCount"]) == ("01", 1)
    assert numbers((await ask("GET", f"{MAPS}?resourceVersion={versions[2]}"))[1]) == "01234"
    _, cached = await ask("GET", f"{MAPS}?limit=2&resourceVersion=0")
    assert (numbers(cached), "continue" in cached["metadata"]) == ("01234", False)


async def test_an_object_of_a_version_that_is_not_reached_is_waited_for(ask: Conversation) -> None:
    versions = await a_few(ask)
    assert await ask.refusal("GET", f"{MAPS}/c1?resourceVersion=99") == (
        f"504 Timeout: Too large resource version: 99, current: {versions[-1]}"
    )
    assert (await ask("GET", f"{MAPS}/c1?resourceVersion=1"))[0] == 200
    assert await ask.refusal("GET", f"{MAPS}?timeoutSeconds=x") == '400 strconv.ParseInt: parsing "x": invalid syntax'


async def first_events(server: ApiServer, query: str) -> list[tuple[str, str, bool]]:
    """Of a watch, the events that come at once: type, name, and whether it ends the initial ones."""
    path, _, rest = f"{MAPS}?{query}".partition("?")
    parameters = dict(pair.partition("=")[::2] for pair in rest.split("&"))
    answer = await server.handle(Request("GET", path, parameters))
    assert not isinstance(answer.body, bytes), answer.body
    stream = answer.body
    reading = asyncio.ensure_future(anext(stream))
    await settle()
    chunk = reading.result() if reading.done() else b""
    reading.cancel()
    await stream.aclose()  # type: ignore[attr-defined]
    events = [json.loads(line) for line in chunk.splitlines()]
    return [
        (event["type"], event["object"]["metadata"].get("name", ""), "annotations" in event["object"]["metadata"])
        for event in events
    ]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("watch=1", [("ADDED", "a", False)]),
        ("watch", [("ADDED", "a", False)]),
        ("watch=yes&resourceVersion=0", [("ADDED", "a", False)]),
        ("watch=1&allowWatchBookmarks=1", [("ADDED", "a", False), ("BOOKMARK", "", True)]),
        ("watch=1&sendInitialEvents=false&resourceVersionMatch=NotOlderThan", []),
    ],
)
async def test_a_watch_without_a_version_begins_with_what_is_there(
    query: str, expected: list[tuple[str, str, bool]]
) -> None:
    server = ApiServer(clock=FakeClock())
    await Conversation(server).created(MAPS, {"metadata": {"name": "a"}})
    assert await first_events(server, query) == expected


async def test_the_old_path_of_a_watch_still_leads_to_one(ask: Conversation) -> None:
    await ask.created(MAPS, {"metadata": {"name": "a"}})
    answer = await ask.server.handle(Request("GET", "/api/v1/watch/namespaces/default/configmaps"))
    assert not isinstance(answer.body, bytes)
    assert json.loads((await anext(answer.body)).splitlines()[0])["type"] == "ADDED"
    await answer.body.aclose()  # type: ignore[attr-defined]
