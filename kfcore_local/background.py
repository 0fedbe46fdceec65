"""`kfcore local up --detach`, `status`, `logs`, `stop` and `reset`: clusters beside the command, or such as have ended.
Each function returns the exit code of its command.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from kfcore_local import instances
from kfcore_local.instances import Instance, InstanceError

READY_SECONDS = 120.0
"""It takes one; but a machine may be busy, or its disk slow, and whether the process still lives is seen before."""
POLL_SECONDS = 0.02
ANSWER_SECONDS = 20.0
OK, FAILED, BAD_INPUT = 0, 1, 2


def start(name: str | None, options: Sequence[str]) -> int:
    """Start `kfcore local up` with `options` as a process of its own, and return when it is up."""
    try:
        name, directory, claim = instances.claim(name)
    except InstanceError as error:
        return _refuse(str(error))
    try:
        path = directory / "log"
        with path.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", "from kfcore.cli import main; main()", "local", "up", "--name", name, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=(claim,),
                env=instances.handed_on(claim),
            )
    finally:
        os.close(claim)
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        found = instances.entered(name)
        if found is not None and found.pid == process.pid:
            _tell_of(found)
            return OK
        if process.poll() is not None:
            return _refuse(path.read_text(errors="replace").strip())
        time.sleep(POLL_SECONDS)
    process.terminate()
    return _refuse(f"the cluster did not come up in {READY_SECONDS:.0f} s; its log is {path}")


def _tell_of(instance: Instance) -> None:
    option = "" if instance.name == instances.DEFAULT_NAME else f" --name {instance.name}"
    print(f"Kubernetes API on this machine: {instance.url} (process {instance.pid})")
    print(f"kubeconfig: {instance.kubeconfig}")
    if instance.gateway:
        print(f"services in a browser: {instance.gateway}")
    if instance.note:
        print(instance.note)
    print()
    if instance.context:
        print(f"  kubectl --context {instance.context} get pytorchjobs,pods\n")
    else:
        print(f"  export KUBECONFIG={shlex.quote(instance.kubeconfig)}")
        print("  kubectl get pytorchjobs,pods\n")
    print(
        f"`kfcore local logs{option}` shows its log, `kfcore local stop{option}` ends it, and everything that it runs."
    )


def status(name: str | None) -> int:
    """Print what runs; 1 when nothing does."""
    try:
        found = instances.running() if name is None else [one for one in (instances.find(name),) if one is not None]
    except InstanceError as error:
        return _refuse(str(error))
    if not found:
        print("no cluster is running" if name is None else f"no cluster named {name} is running")
        return FAILED
    rows = [("NAME", "API", "PROCESS", "PODS", "KUBECONFIG", "DATA", "SERVICES IN A BROWSER")]
    rows += [
        (one.name, one.url, str(one.pid), _pods(one), one.kubeconfig, one.data_dir or "in memory", one.gateway)
        for one in found
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return OK


def _pods(instance: Instance) -> str:
    """`3 Running, 1 Pending`, or why that cannot be told."""
    import base64
    import json
    import ssl
    import urllib.request

    try:
        cluster = json.loads(Path(instance.kubeconfig).read_text(encoding="utf-8"))["clusters"][0]["cluster"]
        authority = base64.b64decode(cluster.get("certificate-authority-data", "")).decode()
        context = ssl.create_default_context(cadata=authority) if authority else None
        request = urllib.request.Request(
            f"{instance.url}/api/v1/pods", headers={"Authorization": f"Bearer {instance.token}"}
        )
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS, context=context) as response:
            items = json.load(response)["items"]
    except (OSError, ValueError, LookupError) as error:
        return f"no answer ({error})"
    phases = Counter(item["status"].get("phase", "Pending") for item in items)
    return ", ".join(f"{count} {phase}" for phase, count in sorted(phases.items())) or "none"


def logs(name: str | None, follow: bool) -> int:
    """Print the log of a cluster that was started with `--detach`, and with `follow` what is added until it ends."""
    name = name or instances.DEFAULT_NAME
    try:
        path = instances.log_of(name)
    except InstanceError as error:
        return _refuse(str(error))
    if not path.exists():
        return _refuse(f"there is no log of a cluster named {name}: only `kfcore local up --detach` writes one")
    with path.open("rb") as file:
        while True:
            alive = instances.is_alive(name)
            while block := file.read(65536):
                sys.stdout.buffer.write(block)
            sys.stdout.buffer.flush()
            if not follow or not alive:
                return OK
            time.sleep(0.2)


def stop(name: str | None, *, every: bool, timeout: float) -> int:
    """End clusters in order, and after `timeout` seconds at once; return when they and their processes are gone."""
    try:
        if every:
            found = instances.running()
        else:
            one = instances.find(name or instances.DEFAULT_NAME)
            found = [one] if one is not None else []
    except InstanceError as error:
        return _refuse(str(error))
    if not found:
        return _refuse(
            "no cluster is running" if every else f"no cluster named {name or instances.DEFAULT_NAME} is running"
        )
    for one in found:
        _signal(one, signal.SIGTERM)
    deadline = time.monotonic() + timeout
    for one in found:
        while instances.is_alive(one.name) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        if instances.is_alive(one.name):
            print(f"{one.name} did not end in {timeout:g} s and was killed", file=sys.stderr)
            _signal(one, signal.SIGKILL)
            while instances.is_alive(one.name):
                time.sleep(POLL_SECONDS)
        else:
            print(f"{one.name} has ended")
    return OK


def _signal(instance: Instance, number: signal.Signals) -> None:
    """To the process that holds the name's lock; it cannot be another one of the same number."""
    if instances.is_alive(instance.name):
        os.kill(instance.pid, number)


def reset(data_dir: Path, *, agreed: bool) -> int:
    """Remove what a cluster kept in a data directory."""
    if not agreed:
        if not sys.stdin.isatty():
            return _refuse(f"this removes every object in {data_dir}: say --yes")
        if input(f"Remove every object in {data_dir}? [y/N] ").strip().lower() not in ("y", "yes"):
            return FAILED
    try:
        instances.clear_data(data_dir)
    except (InstanceError, OSError) as error:
        return _refuse(str(error))
    print(f"{data_dir} is empty")
    return OK


def _refuse(why: str) -> int:
    print(why, file=sys.stderr)
    return BAD_INPUT
