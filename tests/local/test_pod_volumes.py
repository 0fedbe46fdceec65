"""Volumes that show API objects, in containers that run for real."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from one_machine import CONFIG_MAP, FOREVER, POD, SECRET, Machine, a_container, a_pod, condition, running
from patience import eventually, text_of, wait_until

from kfcore.api.meta import Manifest
from kfcore.clock import SystemClock
from kfcore.testing.clock import FakeClock
from kfcore_local.service_account_tokens import SERVICE_ACCOUNT


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    async with running(tmp_path / "kubelet", SystemClock()) as machine:
        yield machine


def mounting(*command: str, path: str = "/etc/kfcore-test", **fields: Any) -> Manifest:
    return a_container(*command, volumeMounts=[{"name": "data", "mountPath": path}], **fields)


async def create(machine: Machine, script: str, volume: Manifest, **spec: Any) -> str:
    spec = {"volumes": [{"name": "data", **volume}], **spec}
    return await machine.create(a_pod("pod", mounting("sh", "-c", script), **spec))


async def output(machine: Machine, script: str, volume: Manifest) -> str:
    name = await create(machine, script, volume)
    await machine.until_phase(name, "Succeeded")
    return await machine.log(name)


async def test_a_config_map_is_a_directory_of_its_keys(machine: Machine) -> None:
    body = {"metadata": {"name": "config"}, "data": {"colour": "blue"}, "binaryData": {"raw": "AAE="}}
    await machine.client.create(CONFIG_MAP, body)
    script = "cat /etc/kfcore-test/colour; echo; od -An -tx1 /etc/kfcore-test/raw; ls /etc/kfcore-test"
    assert await output(machine, script, {"configMap": {"name": "config"}}) == "blue\n 00 01\ncolour\nraw\n"


async def test_keys_may_be_chosen_put_elsewhere_and_given_a_mode(machine: Machine) -> None:
    value = base64.b64encode(b"hunter2").decode()
    await machine.client.create(SECRET, {"metadata": {"name": "secret"}, "data": {"password": value, "other": value}})
    item = {"key": "password", "path": "db/pass", "mode": 0o400}
    script = "cd /etc/kfcore-test; cat db/pass; echo; stat -L -c %a db/pass; ls"
    volume = {"secret": {"secretName": "secret", "items": [item]}}
    assert await output(machine, script, volume) == "hunter2\n400\ndb\n"


async def test_a_pod_reads_its_own_fields_from_files_that_follow_them(machine: Machine, tmp_path: Path) -> None:
    items = [
        {"path": "name", "fieldRef": {"fieldPath": "metadata.name"}},
        {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
        {"path": "memory", "resourceFieldRef": {"containerName": "main", "resource": "limits.memory"}},
    ]
    script = (
        "cd /etc/kfcore-test; cat name labels; echo; cat memory; echo; "
        "until grep -q shut labels; do sleep 0.02; done; cat labels"
    )
    container = mounting("sh", "-c", script, resources={"limits": {"memory": "64Mi"}})
    pod = a_pod("pod", container, volumes=[{"name": "data", "downwardAPI": {"items": items}}])
    name = await machine.create(pod)
    await machine.until_phase(name, "Running")

    async def has_read_them() -> bool:
        return "67108864" in await machine.log(name)

    await eventually(has_read_them)
    await machine.client.patch(POD, name, "default", {"metadata": {"labels": {"door": "shut"}}})
    await machine.until_phase(name, "Succeeded")
    assert await machine.log(name) == 'podapp="test"\n67108864\napp="test"\ndoor="shut"'


async def test_what_changes_in_a_config_map_reaches_a_running_pod_all_at_once(tmp_path: Path) -> None:
    clock = FakeClock()
    async with running(tmp_path / "kubelet", clock) as machine:
        await machine.client.create(CONFIG_MAP, {"metadata": {"name": "config"}, "data": {"a": "1", "b": "1"}})
        # Of a file that is new or gone, the name changes a moment after what is in the others.
        names = "until test -e c && ! test -L b; do sleep 0.02; done"
        script = f"cd /etc/kfcore-test; until grep -q 2 a; do sleep 0.02; done; {names}; cat a c; ls"
        name = await create(machine, script, {"configMap": {"name": "config"}})
        await machine.until_phase(name, "Running")
        change = {"data": {"a": "2", "b": None, "c": "2"}}
        await machine.client.patch(CONFIG_MAP, "config", "default", change)
        await clock.advance(10)
        await machine.until_phase(name, "Succeeded")
        assert await machine.log(name) == "22a\nc\n"


async def test_a_volume_that_is_not_there_is_waited_for_with_the_reason(tmp_path: Path) -> None:
    clock = FakeClock()
    async with running(tmp_path / "kubelet", clock) as machine:
        name = await create(machine, "cat /etc/kfcore-test/k", {"configMap": {"name": "late"}}, nodeName="here")
        pod = await machine.until(name, lambda pod: pod["status"].get("containerStatuses"))
        assert (pod["status"]["phase"], condition(pod, "PodReadyToStartContainers")) == ("Pending", "False")
        message = 'MountVolume.SetUp failed for volume "data" : configmap "late" not found'
        waiting = pod["status"]["containerStatuses"][0]["state"]["waiting"]
        assert waiting == {"reason": "ContainerCreating", "message": message}
        assert message in await machine.events("FailedMount")
        await machine.client.create(CONFIG_MAP, {"metadata": {"name": "late"}, "data": {"k": "here"}})
        await clock.advance(10)
        await machine.until_phase(name, "Succeeded")
        assert await machine.log(name) == "here"


async def test_a_key_that_is_not_there_is_named(machine: Machine) -> None:
    await machine.client.create(CONFIG_MAP, {"metadata": {"name": "config"}, "data": {"a": "1"}})
    items = [{"key": "b", "path": "b"}]
    await create(machine, "true", {"configMap": {"name": "config", "items": items}})
    told = await eventually(lambda: machine.events("FailedMount"))
    why = "configmap config references non-existent config key: b"
    assert told[0] == f'MountVolume.SetUp failed for volume "data" : {why}'


async def test_what_is_optional_may_be_missing(machine: Machine) -> None:
    sources = [
        {"secret": {"name": "none", "optional": True}},
        {"configMap": {"name": "none", "optional": True}},
    ]
    assert await output(machine, "ls /etc/kfcore-test | wc -l", {"projected": {"sources": sources}}) == "0\n"


async def test_a_deleted_pod_does_not_wait_for_its_volumes(machine: Machine) -> None:
    name = await create(machine, "true", {"secret": {"secretName": "none"}})
    pod = await machine.until(name, lambda pod: pod["status"].get("containerStatuses"))
    await machine.client.delete(POD, name, "default")
    await machine.until_deleted(name, pod["metadata"]["resourceVersion"])


async def test_a_token_of_the_service_account_is_renewed_before_it_runs_out(tmp_path: Path) -> None:
    clock = FakeClock()
    async with running(tmp_path / "kubelet", clock) as machine:
        await machine.client.create(SERVICE_ACCOUNT, {"metadata": {"name": "default", "namespace": "default"}})
        token = {"serviceAccountToken": {"path": "token", "audience": "vault", "expirationSeconds": 1000}}
        script = f"cp /etc/kfcore-test/token {tmp_path}/part && mv {tmp_path}/part {tmp_path}/first; {FOREVER}"
        name = await create(machine, script, {"projected": {"sources": [token]}})
        await machine.until_phase(name, "Running")
        first = await asyncio.to_thread(wait_until, lambda: text_of(tmp_path / "first"))
        claims = json.loads(base64.urlsafe_b64decode(first.split(".")[1] + "=="))
        assert claims["aud"] == ["vault"]
        assert claims["kubernetes.io"]["pod"]["name"] == "pod"
        [file] = (tmp_path / "kubelet" / "pods").glob("*/.volumes/data/token")
        await clock.advance(790)
        assert file.read_text() == first
        await clock.advance(20)
        assert file.read_text() != first


async def test_secrets_are_for_nobody_else_on_this_machine_to_read(machine: Machine, tmp_path: Path) -> None:
    await machine.client.create(SECRET, {"metadata": {"name": "secret"}, "stringData": {"k": "v"}})
    await machine.until_phase(await create(machine, FOREVER, {"secret": {"secretName": "secret"}}), "Running")
    [directory] = (tmp_path / "kubelet" / "pods").glob("*/.volumes")
    assert directory.stat().st_mode & 0o077 == 0
