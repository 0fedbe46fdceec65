"""`kfcore operator` as its users start it: by flags, by environment variables, by a Deployment's old arguments."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from kfcore.api.core import Lease
from kfcore.api.crd import crd
from kfcore.apiserver.kubeconfig import write_kubeconfig
from kfcore.pytest_plugin import RunningApiServer
from kfcore_pytorch import PyTorchJob

KFCORE = str(Path(sys.executable).with_name("kfcore"))
ADDRESSES = ["--metrics-bind-address", "0", "--health-probe-bind-address", "127.0.0.1:0"]


def refused(*arguments: str, **environment: str) -> str:
    ended = subprocess.run(
        [KFCORE, "operator", *arguments], capture_output=True, text=True, timeout=240, env={**os.environ, **environment}
    )
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--controller-threads", "0"], "expected a number of at least 1"),
        (["--controller-threads", "TFJob=many"], "such as TFJob=8"),
        (["--kube-api-qps", "-1"], "greater than or equal to 0"),
        (["--log-level", "loud"], "'debug', 'info', 'warning', 'error'"),
        (["--zap-encoder", "xml"], "'json', 'console'"),
        (["--metrics-cert-path", "/nowhere"], "does not exist"),
        (["--leader-elect"], "--leader-election-namespace"),
        (["-enable-leader-election=maybe"], "expected true or false"),
        (["--zap-log-level=loud"], "'debug', 'info', 'warning', 'error'"),
        (["--threadiness=none"], "expected a number of at least 1"),
        (["--master=https://example.com"], "No such option"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_bad_value_is_refused_with_what_was_expected(arguments: list[str], expected: str) -> None:
    assert expected in refused(*arguments)


def test_a_bad_environment_variable_is_refused_too() -> None:
    assert "expected a number of at least 1" in refused(KFCORE_WORKERS="none")


def test_help_explains_every_flag() -> None:
    printed = subprocess.run([KFCORE, "operator", "--help"], capture_output=True, text=True, timeout=240).stdout
    known_to_users_of_the_training_operator = [
        "--metrics-bind-address", "--health-probe-bind-address", "--leader-elect", "--leader-election-id",
        "--enable-scheme", "--gang-scheduler-name", "--namespace", "--controller-threads", "--kube-api-qps",
        "--kube-api-burst", "--pytorch-init-container-image", "--pytorch-init-container-template-file",
        "--pytorch-init-container-max-tries", "--kubeconfig", "--zap-log-level", "--zap-encoder",
    ]  # fmt: skip
    for flag in known_to_users_of_the_training_operator:
        assert flag in printed
    flags = printed.partition("Options:")[2].partition("The arguments of the Go operators")[0].count("\n  --")
    words = " ".join(printed.split())
    assert words.count("env var:") == flags, "every flag has an environment variable"


@pytest.mark.parametrize("by", ["flags", "environment", "a Go operator's flags"])
async def test_it_serves_until_it_is_asked_to_stop(by: str, api_server: RunningApiServer, tmp_path: Path) -> None:
    write_kubeconfig(tmp_path / "kubeconfig", api_server.url, api_server.token)
    api_server.api.install_crd(crd(PyTorchJob))
    options = {
        "kubeconfig": str(tmp_path / "kubeconfig"),
        "enable_scheme": "pytorchjob",
        "workers": "PyTorchJob=2",
        "leader_election_namespace": "default",
        "kube_api_qps": "1000",
        "log_format": "json",
        "health_probe_bind_address": "127.0.0.1:0",
        "metrics_bind_address": "0",
    }
    arguments, environment = [], dict(os.environ)
    for name, value in options.items():
        if by == "flags":
            arguments += [f"--{name.replace('_', '-')}", value]
        elif by == "environment":
            environment[f"KFCORE_{name.upper()}"] = value
    if by == "a Go operator's flags":
        arguments = [
            f"-kubeconfig={options['kubeconfig']}",
            "-enable-scheme=pytorchjob",
            "--threadiness",
            "2",
            "--zap-devel=false",
            "--enable-leader-election=true",
            "--leader-election-namespace=default",
            "--qps=1000",
            "--burst=50",
            "--probe-addr=127.0.0.1:0",
            "--metrics-addr=0",
            "--webhook-server-port=9443",
            "--zap-log-level=2",
        ]
    process = await asyncio.create_subprocess_exec(
        KFCORE, "operator", *arguments, env=environment, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr
    async with asyncio.timeout(240), await api_server.connect() as user:
        lines = []
        while not lines or b"manager.started" not in lines[-1]:
            lines.append(await process.stderr.readline())
            assert lines[-1], b"".join(lines)
        template = {"spec": {"containers": [{"name": "pytorch", "image": "none"}]}}
        spec = {"pytorchReplicaSpecs": {"Master": {"replicas": 1, "template": template}}}
        await user.create(PyTorchJob, {"metadata": {"name": "a", "namespace": "default"}, "spec": spec})
        while not (await user.get(PyTorchJob, "a")).status.conditions:  # noqa: ASYNC110 — it happens elsewhere
            await asyncio.sleep(0.02)
        lease = (await user.list(Lease, "default"))[0]
        assert lease.spec.holder_identity.startswith(f"{socket.gethostname()}_")
        process.send_signal(signal.SIGTERM)
        said = await process.stderr.read()
        assert await process.wait() == 0, said.decode()
        assert (await user.get(Lease, lease.name, "default")).spec.holder_identity == ""


async def test_a_taken_port_is_named(api_server: RunningApiServer, tmp_path: Path) -> None:
    write_kubeconfig(tmp_path / "kubeconfig", api_server.url, api_server.token)
    port = api_server.url.rpartition(":")[2]
    process = await asyncio.create_subprocess_exec(
        KFCORE, "operator", "--kubeconfig", str(tmp_path / "kubeconfig"), "--metrics-bind-address", f"127.0.0.1:{port}",
        "--health-probe-bind-address", "0", stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(240):
        _, error = await process.communicate()
    assert process.returncode == 1, error.decode()
    assert f"cannot serve metrics on 127.0.0.1:{port}".encode() in error
    assert b"Traceback" not in error
