"""Pods with namespaces of their own: their network, their files, and that nothing of them stays."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from isolated import REDIRECTS, Pods, isolated_cluster, needs_namespaces
from one_machine import CONFIG_MAP, SECRET, terminated
from patience import PATIENCE, eventually, lines_until, wait_until

from kfcore.clock import SystemClock
from kfcore_local.container import Command, ContainerProcess
from kfcore_local.container_log import ContainerLog, Selection
from kfcore_local.isolation.addresses import GATEWAY, hardware
from kfcore_local.isolation.hub_client import Hub, PodLauncher, PodNamespaces
from kfcore_local.storage.kinds import Claim

pytestmark = needs_namespaces

KUBECTL = shutil.which("kubectl") or ""
KFCORE = str(Path(sys.executable).with_name("kfcore"))
ASK = """
import sys, time, urllib.request
for attempt in range(2000):
    try:
        print(urllib.request.urlopen(sys.argv[1], timeout=60).read().decode().strip())
        break
    except OSError as error:
        refused = error
        time.sleep(0.05)
else:
    sys.exit(f'refused: {refused}')
"""


@pytest.fixture
async def pods() -> AsyncIterator[Pods]:
    async with isolated_cluster() as pods:
        yield pods


async def serve(pods: Pods, folder: Path, name: str, port: int = 80, bind: str = "", **spec: Any) -> str:
    """A pod that answers with its name at `port`; its address."""
    (folder / name).mkdir()
    (folder / name / "index.html").write_text(f"this is {name}\n")
    command = (sys.executable, "-m", "http.server", str(port), *(["--bind", bind] if bind else []))
    container = {"workingDir": str(folder / name)}
    return await pods.start(name, *command, labels={"app": name}, container=container, **spec)


async def ask(pods: Pods, url: str, name: str = "asks") -> str:
    await pods.create(name, sys.executable, "-c", ASK, url)
    await pods.until(name, lambda pod: pod.get("status", {}).get("phase") in ("Succeeded", "Failed"))
    return (await pods.log(name)).strip()


# ── network ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["web", "web.default", "web.default.svc", "web.default.svc.cluster.local"])
async def test_a_service_is_reached_by_each_form_of_its_name(pods: Pods, tmp_path: Path, name: str) -> None:
    await pods.service("web", "web", 8080, target=80)
    await serve(pods, tmp_path, "web")
    assert await ask(pods, f"http://{name}:8080/") == "this is web"


async def test_a_headless_service_is_the_addresses_of_its_pods(pods: Pods, tmp_path: Path) -> None:
    await pods.service("web", "web", clusterIP="None")
    address = await serve(pods, tmp_path, "web")
    script = "until getent ahostsv4 web; do sleep 0.05; done"
    assert (await pods.said(script)).split()[0] == address
    assert await ask(pods, "http://web/", name="curious") == "this is web"


async def test_a_pod_is_found_by_its_hostname_below_a_headless_service(pods: Pods, tmp_path: Path) -> None:
    await pods.service("web", "web", clusterIP="None")
    address = await serve(pods, tmp_path, "web", hostname="first", subdomain="web")
    assert await ask(pods, "http://first.web/") == "this is web"
    script = "until getent ahostsv4 first.web.default.svc.cluster.local; do sleep 0.05; done"
    assert (await pods.said(script, name="curious")).split()[0] == address


async def test_a_service_without_a_ready_pod_refuses_at_once(pods: Pods) -> None:
    await pods.service("web", "nobody")
    script = f"{sys.executable} -c \"import socket; socket.create_connection(('web', 80), 60)\" 2>&1 | tail -n 1"
    assert "Connection refused" in await pods.said(script)


NEIGHBOURS = """
import re, socket, sys, time
for address in sys.argv[1:]:
    asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    known = {}
    while not known.get(address, "00:00").strip("0:"):  # while it is looked for, that is what it has
        asking.sendto(b"?", (address, 53))
        time.sleep(0.05)
        known = dict(re.findall(r"(?m)^(\\S+) .* ([0-9a-f:]{17}) ", open("/proc/net/arp").read()))
    print(known[address])
"""


async def test_what_a_pod_remembers_of_a_neighbour_stays_true_when_pods_come_and_go(pods: Pods) -> None:
    """Nothing is sent to a device that is gone: a bridge by itself has the lowest of its pods' addresses, and another
    one when they change; whatever a pod sends to its name server is lost then, until it looks for it again."""
    pod = await pods.start("neighbour", "sleep", "1000")
    await pods.create("asks", sys.executable, "-c", NEIGHBOURS, GATEWAY, pod)
    await pods.until("asks", lambda asks: asks.get("status", {}).get("phase") in ("Succeeded", "Failed"))
    expected = [":".join(f"{byte:02x}" for byte in hardware(address)) for address in (GATEWAY, pod)]
    assert (await pods.log("asks")).split() == expected


async def test_a_name_that_is_not_there_is_told_so(pods: Pods) -> None:
    assert (await pods.said("getent hosts no-such-service.default.svc.cluster.local; echo $?")).strip() == "2"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs containers as other users")
async def test_nslookup_answers_a_user_who_may_not_run_our_python(pods: Pods) -> None:
    address = await pods.start("web", "sleep", "1000", labels={"app": "web"})
    await pods.service("web", "web", clusterIP="None")
    script = "until nslookup web; do sleep 0.05; done > /dev/null; nslookup web; id -u"
    container = {"securityContext": {"runAsUser": 65534}}
    said = await pods.said(script, container=container)
    assert said == f"Name:\tweb\nAddress: {address}\n65534\n"


async def test_each_pod_has_its_own_address_hostname_and_loopback(pods: Pods, tmp_path: Path) -> None:
    address = await serve(pods, tmp_path, "web", port=8765, bind="127.0.0.1")
    own_address = "import socket as s; print(s.gethostbyname(s.gethostname()))"
    said = await pods.said(
        f'hostname; cat /etc/hostname; {sys.executable} -c "{own_address}";'
        f"{sys.executable} -c \"import socket; socket.create_connection(('127.0.0.1', 8765), 60)\" 2>&1 | tail -n 1"
    )
    hostname, written, own, refused = said.splitlines()
    assert (hostname, written) == ("asks", "asks")
    assert own not in ("127.0.0.1", address)
    assert "Connection refused" in refused


async def test_two_pods_listen_at_one_port_of_all_addresses(pods: Pods, tmp_path: Path) -> None:
    one, other = await serve(pods, tmp_path, "one", 8000), await serve(pods, tmp_path, "other", 8000)
    assert one != other
    assert await ask(pods, f"http://{one}:8000/", "first") == "this is one"
    assert await ask(pods, f"http://{other}:8000/", "second") == "this is other"


async def test_this_machine_has_none_of_the_pods_ports(pods: Pods, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        address = await serve(pods, tmp_path, "web", port)
        assert await ask(pods, f"http://{address}:{port}/") == "this is web"


@pytest.mark.skipif(not REDIRECTS, reason="this kernel redirects no connections")
async def test_this_machines_own_servers_are_reached_by_its_name(pods: Pods) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nthis is the machine")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await ask(pods, f"http://host.kfcore.internal:{port}/") == "this is the machine"


async def test_what_listens_on_a_pods_loopback_is_reached_by_port_forward(pods: Pods, tmp_path: Path) -> None:
    await serve(pods, tmp_path, "web", 8000, "127.0.0.1")
    pod = await pods.until("web", lambda pod: True)

    async def connection() -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        try:
            return await pods.cluster.logs.connect(pod, 8000)
        except OSError:
            return None

    connected = await eventually(connection, "the server listens")
    assert connected is not None
    reader, writer = connected
    writer.write(b"GET / HTTP/1.0\r\n\r\n")
    assert b"this is web" in await reader.read()
    writer.close()


async def test_the_api_is_reached_with_the_pods_own_token(pods: Pods) -> None:
    script = (
        "import os, ssl, urllib.request as u; token = open('/token/token').read();"
        "c = ssl.create_default_context(cafile='/token/ca.crt'); headers = {'Authorization': 'Bearer ' + token};"
        "host = os.environ['KUBERNETES_SERVICE_HOST'] + ':' + os.environ['KUBERNETES_SERVICE_PORT'];"
        "names = (host, 'kubernetes.default.svc');"
        "print(*(u.urlopen(u.Request(f'https://{n}/version', headers=headers), context=c).status for n in names))"
    )
    token: list[dict[str, Any]] = [
        {"serviceAccountToken": {"path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt"}},
    ]
    mounts = [{"name": "token", "mountPath": "/token"}]
    volumes = [{"name": "token", "projected": {"sources": token}}]
    await pods.create("asks", sys.executable, "-c", script, volumes=volumes, container={"volumeMounts": mounts})
    await pods.until("asks", lambda pod: pod.get("status", {}).get("phase") in ("Succeeded", "Failed"))
    assert await pods.log("asks") == "200 200\n"


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_writes_go_nowhere_but_into_the_pod(pods: Pods, tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.write_text("of the machine\n")
    script = f"cat {here}; echo changed > {here}; cat {here}; echo new > /etc/new-file && cat /etc/new-file; rm {here}"
    said = await pods.said(script)
    assert said.splitlines() == ["of the machine", "changed", "new"]
    assert here.read_text() == "of the machine\n"
    assert "new-file" not in os.listdir("/etc")
    assert await pods.said(f"cat {here} /etc/new-file 2>/dev/null", name="later") == "of the machine\n"


async def test_without_overlays_files_are_read_only_but_for_volumes_and_temporary_directories(
    tmp_path: Path,
) -> None:
    hub = Hub(tmp_path / "hub", overlays=False)
    await hub.start()
    log = ContainerLog(tmp_path / "log", SystemClock())
    (tmp_path / "volume").mkdir()
    place = {
        "places": [],
        "hidden": [],
        "files": {"/etc/hosts": "127.0.0.1 localhost\n", "/etc/resolv.conf": "nameserver 10.244.0.1\n"},
        "mounts": [(str(tmp_path / "volume"), "", "/mnt", False)],
    }
    namespaces = PodNamespaces("uid", "name", "10.244.0.9")
    script = (
        "cat /etc/hosts; touch /usr/x 2>/dev/null || echo fixed; echo a > /tmp/a; echo b > /mnt/b; cat /tmp/a /mnt/b"
    )
    try:
        await hub.add(namespaces)
        command = Command(["sh", "-c", script], dict(os.environ), "/", PodLauncher(hub, namespaces, place))
        process = await ContainerProcess.start(command, log, "mark")
        assert (await process.wait()).code == 0
    finally:
        await hub.stop()
    log.close()
    said = b"".join([chunk async for chunk in log.read(Selection())]).decode()
    assert said.splitlines() == ["127.0.0.1 localhost", "fixed", "a", "b"]
    assert os.listdir(tmp_path / "volume") == ["b"]


WRITABLE = """
import asyncio, sys
from pathlib import Path
from kfcore_local.isolation.addresses import GATEWAY, hardware
from kfcore_local.isolation.hub_client import Hub

async def main():
    hub = Hub(Path(sys.argv[1]))
    await hub.start()
    print(hub.writable)
    await hub.stop()

asyncio.run(main())
"""


@pytest.mark.skipif(not shutil.which("unshare"), reason="unshare is not installed")
def test_files_are_overlaid_where_a_container_runtime_has_mounted_some_of_them(tmp_path: Path) -> None:
    (tmp_path / "hosts").touch()
    mounted = 'mount --bind "$0" /etc/hosts && exec "$@"'
    python = [sys.executable, "-c", WRITABLE, str(tmp_path / "hub")]
    command = ["unshare", "-Urm", "sh", "-c", mounted, str(tmp_path / "hosts"), *python]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert ended.stdout == "True\n", ended.stderr


async def test_a_pod_does_not_see_other_processes_nor_the_clusters_own_files(pods: Pods) -> None:
    folder = pods.cluster.kubeconfig.parent
    said = await pods.said(
        f"ls /proc | grep -c '^[0-9]'; cat {pods.cluster.kubeconfig} 2>/dev/null; ls {folder}/kubelet"
    )
    processes, *listed = said.splitlines()
    assert int(processes) < 8
    assert listed == ["bin"], "the tools of pods, and nothing else"


async def test_api_objects_are_files(pods: Pods) -> None:
    await pods.client.create(CONFIG_MAP, {"metadata": {"name": "c"}, "data": {"a": "one", "b": "two"}}, "default")
    await pods.client.create(SECRET, {"metadata": {"name": "s"}, "stringData": {"key": "hidden"}}, "default")
    volumes: list[dict[str, Any]] = [
        {"name": "c", "configMap": {"name": "c"}},
        {"name": "s", "secret": {"secretName": "s", "defaultMode": 0o400}},
        {"name": "d", "downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
        {"name": "p", "projected": {"sources": [{"configMap": {"name": "c", "items": [{"key": "a", "path": "x/y"}]}}]}},
    ]
    mounts = [{"name": name, "mountPath": f"/etc/volumes/{name}"} for name in "csdp"]
    mounts.append({"name": "c", "mountPath": "/etc/only-b", "subPath": "b"})
    script = (
        "cd /etc/volumes; cat c/a c/b s/key d/name p/x/y; cat /etc/only-b; touch c/new 2>/dev/null || echo :read-only"
    )
    said = await pods.said(script, volumes=volumes, container={"volumeMounts": mounts})
    assert said == "onetwohiddenasksonetwo:read-only\n"


async def test_directories_are_shared_kept_and_read_only_as_asked(pods: Pods, tmp_path: Path) -> None:
    claim = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {}}}
    claim["spec"]["resources"] = {"requests": {"storage": "1Mi"}}  # type: ignore[index]
    await pods.client.create(Claim, claim, "default")
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "file").write_text("given\n")
    volumes: list[dict[str, Any]] = [
        {"name": "empty", "emptyDir": {}},
        {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        {"name": "host", "hostPath": {"path": str(tmp_path / "given"), "type": "Directory"}},
        {"name": "claim", "persistentVolumeClaim": {"claimName": "data"}},
    ]
    mounts = [{"name": volume["name"], "mountPath": f"/mnt/{volume['name']}"} for volume in volumes]
    mounts.append({"name": "empty", "mountPath": "/opt/part", "subPath": "part"})
    mounts.append({"name": "host", "mountPath": "/opt/fixed", "readOnly": True})  # type: ignore[dict-item]
    script = (
        "echo e > /opt/part/file; cat /mnt/empty/part/file; cat /mnt/host/file; echo changed > /mnt/host/file;"
        "echo no 2>/dev/null > /opt/fixed/file || cat /opt/fixed/file; echo kept > /mnt/claim/file;"
        "head -c 2000000 /dev/zero 2>/dev/null > /mnt/memory/big || echo full"
    )
    said = await pods.said(script, volumes=volumes, container={"volumeMounts": mounts})
    assert [line for line in said.splitlines() if "sh:" not in line] == ["e", "given", "changed", "full"]
    assert (tmp_path / "given" / "file").read_text() == "changed\n"
    again = await pods.said(
        "cat /mnt/claim/file", name="again", volumes=volumes[3:], container={"volumeMounts": mounts[3:4]}
    )
    assert again == "kept\n"


async def test_containers_of_a_pod_share_their_volumes_network_and_hostname(pods: Pods) -> None:
    volumes = [{"name": "shared", "emptyDir": {"medium": "Memory"}}]
    mounts = [{"name": "shared", "mountPath": "/shared"}]
    first = {
        "name": "first",
        "image": "x",
        "command": ["sh", "-c", "hostname > /shared/name; echo x > /shm-only; echo s > /dev/shm/s"],
        "volumeMounts": mounts,
    }
    script = "cat /shared/name /dev/shm/s; ls /shm-only 2>/dev/null || echo own files"
    said = await pods.said(script, volumes=volumes, container={"volumeMounts": mounts}, initContainers=[first])
    assert said == "asks\ns\nown files\n"


async def test_a_host_path_that_is_not_there_is_told(pods: Pods, tmp_path: Path) -> None:
    volumes = [{"name": "v", "hostPath": {"path": str(tmp_path / "missing")}}]
    await pods.create("asks", "true", volumes=volumes, container={"volumeMounts": [{"name": "v", "mountPath": "/v"}]})

    def told(pod: dict[str, Any]) -> bool:
        return "does not exist on this machine" in str(pod.get("status", {}).get("containerStatuses"))

    await pods.until("asks", told)


async def test_a_sub_path_that_leads_out_of_its_volume_is_refused(pods: Pods, tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume" / "out").symlink_to("/etc")
    volumes = [{"name": "v", "hostPath": {"path": str(tmp_path / "volume")}}]
    mounts = [{"name": "v", "mountPath": "/v", "subPath": "out"}]
    await pods.create("asks", "true", volumes=volumes, container={"volumeMounts": mounts}, restartPolicy="Never")
    pod = await pods.until("asks", lambda pod: pod.get("status", {}).get("phase") == "Failed")
    assert "leads out of the volume" in terminated(pod)["message"]


# ── ends ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def processes_of(folder: Path) -> dict[int, str]:
    """Those whose command line names something in the folder."""
    listed = subprocess.run(["ps", "-ewwo", "pid=,args="], capture_output=True, text=True, check=True).stdout
    return {int(line.split()[0]): line for line in listed.splitlines() if str(folder) in line and " ps " not in line}


async def test_pods_are_started_again_when_what_runs_them_is_killed(pods: Pods, tmp_path: Path) -> None:
    await pods.service("web", "web")
    address = await serve(pods, tmp_path, "web", restartPolicy="Always")
    assert await ask(pods, "http://web/", "before") == "this is web"
    hub = [pid for pid, line in processes_of(pods.cluster.kubeconfig.parent).items() if "isolation.hub" in line]
    os.kill(max(hub), signal.SIGKILL)

    def restarted(pod: dict[str, Any]) -> bool:
        status = pod["status"]["containerStatuses"][0]
        return status["restartCount"] == 1 and "running" in status["state"]

    pod = await pods.until("web", restarted)
    assert pod["status"]["podIP"] == address
    assert await ask(pods, "http://web/", "after") == "this is web"


MANIFEST = """
apiVersion: v1
kind: Pod
metadata: {name: sleeps}
spec:
  containers:
  - {name: main, image: x, command: [sh, -c, "setsid tail -f /dev/null FOLDER/one & exec tail -f /dev/null FOLDER/two"]}
"""


@pytest.mark.skipif(not KUBECTL, reason="kubectl is not installed")
def test_kill_9_of_kfcore_leaves_no_process_and_no_mount(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).touch()
    kubeconfig = str(tmp_path / "kubeconfig")
    environment = {**os.environ, "TMPDIR": str(tmp_path), "HOME": str(tmp_path), "KUBECONFIG": kubeconfig}
    command = [KFCORE, "local", "up", "--kubeconfig", kubeconfig, "--without", "operator", "--isolation", "pod"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "https://" in process.stdout.readline()
        manifest = MANIFEST.replace("FOLDER", str(tmp_path))
        try:
            subprocess.run([KUBECTL, "apply", "-f", "-"], input=manifest, env=environment, text=True, check=True)
            wait_until(lambda: sum("tail -f" in line for line in processes_of(tmp_path).values()) >= 2)
        finally:
            process.kill()
    wait_until(lambda: not processes_of(tmp_path))
    assert str(tmp_path) not in Path("/proc/mounts").read_text()


@pytest.mark.skipif(not shutil.which("unshare"), reason="unshare is not installed")
def test_where_namespaces_are_forbidden_one_line_says_what_is_weaker(tmp_path: Path) -> None:
    forbid = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    command = ["unshare", "-Ur", "sh", "-c", forbid, "sh", KFCORE, "local", "up", "--without", "operator"]
    environment = {**os.environ, "TMPDIR": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    refused = subprocess.run(
        [*command, "--isolation", "pod"], env=environment, capture_output=True, text=True, timeout=PATIENCE
    )
    assert refused.returncode == 2
    assert "pods cannot be isolated on this machine" in refused.stderr
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = lines_until("Ctrl-C ends it, and everything that it runs.", process.stdout)
        process.send_signal(signal.SIGINT)
    assert len([line for line in said if "not isolated" in line and "share this machine's files" in line]) == 1
