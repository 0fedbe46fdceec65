"""A kind of an author's own: what of its Python types the API server knows, and what of an object is sent to it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import pytest
from pydantic import Field

from kfcore import CustomResource, Model
from kfcore.api.conditions import Condition, Conditions, find_condition, is_condition_true, set_condition
from kfcore.api.crd import crd
from kfcore.api.meta import CEL, CRD_DEFAULT, Manifest, untyped
from kfcore.client.errors import Invalid
from kfcore.testing import FakeClient

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


class Door(Model):
    width: int = Field(ge=60, le=240)
    material: str = "oak"


class Window(Model):
    panes: int


class HouseSpec(Model):
    floors: int = Field(1, ge=1, lt=100)
    slope: Annotated[float, Field(gt=0, multiple_of=0.5)] = 1.5
    port: int | str = 80
    opening: Door | Window | None = None
    colours: tuple[int, str] | None = None
    owner: str | None = None
    heating: str = Field("gas", json_schema_extra={CRD_DEFAULT: "gas"})
    rooms: int = Field(
        3, json_schema_extra={CEL: [{"rule": "self >= oldSelf", "message": "rooms are never taken away"}]}
    )


class HouseStatus(Model):
    conditions: Conditions = []
    inspected: str | None = None
    state: str = ""


class House(CustomResource, group="custom.example.com", version="v1", kind="House"):
    printer_columns = ({"name": "Floors", "type": "integer", "jsonPath": ".spec.floors"},)

    spec: HouseSpec
    status: HouseStatus = Field(default_factory=HouseStatus)


def house(**spec: Any) -> Manifest:
    return {"metadata": {"name": "h", "namespace": "default"}, "spec": spec}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"floors": 0}, "spec.floors in body should be greater than or equal to 1"),
        ({"floors": 100}, "spec.floors in body should be less than 100"),
        ({"slope": 0}, "spec.slope in body should be greater than 0"),
        ({"slope": 0.7}, "spec.slope in body should be a multiple of 0.5"),
        ({"port": True}, "spec.port in body must be of type integer,string"),
    ],
)
async def test_the_api_server_refuses_what_the_types_refuse(spec: Manifest, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        await FakeClient().create(untyped(House.resource), house(**spec), "default")


async def test_the_api_server_asks_for_what_has_no_default() -> None:
    with pytest.raises(Invalid, match="spec: Required value"):
        await FakeClient().create(untyped(House.resource), {"metadata": {"name": "h"}}, "default")


@pytest.mark.parametrize(
    "spec",
    [{"port": "http"}, {"port": 80}, {"opening": {"panes": 2}}, {"opening": {"width": 90}}, {"colours": [1, "a"]}],
)
async def test_every_branch_of_a_union_and_every_part_of_a_tuple_may_be_written(spec: Manifest) -> None:
    created = await FakeClient().create(untyped(House.resource), house(**spec), "default")
    assert created.raw["spec"].items() >= spec.items()


async def test_a_default_is_stored_where_it_is_asked_for() -> None:
    created = await FakeClient().create(untyped(House.resource), house(), "default")
    assert created.raw["spec"] == {"heating": "gas"}


async def test_a_rule_of_a_field_is_kept_by_the_api_server() -> None:
    client = FakeClient()
    await client.create(House, house(rooms=4))
    with pytest.raises(Invalid, match="rooms are never taken away"):
        await client.patch(House, "h", "default", {"spec": {"rooms": 3}})


def test_a_type_that_contains_itself_is_refused_with_what_to_do() -> None:
    class Folder(Model):
        folders: list[Folder] = Field(default_factory=list)

    class Tree(CustomResource, group="recursive.example.com", version="v1", kind="Tree"):
        spec: Folder

    with pytest.raises(TypeError, match=r"Folder contains itself.*dict\[str, Any\]"):
        crd(Tree)


def test_columns_of_a_kind_stand_before_its_age() -> None:
    columns = crd(House)["spec"]["versions"][0]["additionalPrinterColumns"]
    assert [column["name"] for column in columns] == ["Floors", "Age"]


async def test_what_is_changed_in_place_reaches_the_api_server() -> None:
    """As in Go: `obj.Status.State = …`, `Status().Update`."""
    client = FakeClient()
    found = await client.create(House, house(opening={"width": 90}))
    found.status.state = "built"
    found.status.conditions.append(Condition(type="Ready", status="True", reason="Built"))
    found = await client.update(found, subresource="status")
    assert (found.status.state, [condition.type for condition in found.status.conditions]) == ("built", ["Ready"])
    found.metadata.labels["street"] = "main"
    assert isinstance(found.spec.opening, Door)
    found.spec.opening.material = "glass"
    found = await client.update(found)
    stored = await client.get(untyped(House.resource), "h")
    assert stored.metadata.labels == {"street": "main"}
    assert stored.raw["spec"] == {"heating": "gas", "opening": {"width": 90, "material": "glass"}}


async def test_none_takes_a_field_away() -> None:
    client = FakeClient()
    found = await client.create(House, house(owner="ann"))
    found.spec.owner = None
    assert "owner" not in (await client.get(untyped(House.resource), (await client.update(found)).name)).raw["spec"]


def test_a_condition_keeps_its_time_until_its_status_is_another() -> None:
    waiting = Condition(type="Ready", status="False", reason="Waiting")
    conditions = set_condition([], waiting, NOON)
    assert set_condition(conditions, waiting, NOON + timedelta(hours=1)) == conditions
    conditions = set_condition(conditions, waiting.model_copy(update={"reason": "Stuck"}), NOON + timedelta(hours=1))
    assert [(one.reason, one.last_transition_time) for one in conditions] == [("Stuck", NOON)]
    ready = Condition(type="Ready", status="True", reason="Built")
    conditions = set_condition(conditions, ready, NOON + timedelta(hours=2))
    assert find_condition(conditions, "Ready") == ready.model_copy(
        update={"last_transition_time": NOON + timedelta(hours=2)}
    )
    assert is_condition_true(conditions, "Ready")
    assert not is_condition_true(conditions, "Painted")


def test_conditions_are_a_map_by_their_type_and_no_two_objects_share_them() -> None:
    status = crd(House)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]
    conditions = status["properties"]["conditions"]
    assert (conditions["x-kubernetes-list-type"], conditions["x-kubernetes-list-map-keys"]) == ("map", ["type"])
    assert "required" not in status
    HouseStatus().conditions.append(Condition(type="Ready", status="True", reason="Built"))
    assert HouseStatus().conditions == []
