"""What a person sees on a terminal while jobs run, and what is left when they are done."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from terminal import Terminal, shown

from kfcore.api.resource import Resource
from kfcore_local.board import Board, cut, width
from kfcore_local.hints import brief, hint
from kfcore_local.progress import FollowedJob, JobKey, Replica, pod_state
from kfcore_local.usage import Usage

KFCORE = str(Path(sys.executable).with_name("kfcore"))
JOB = Resource("kubeflow.org", "v1", "PyTorchJob", "pytorchjobs")


async def a_board(*states: str, line: str = "loss=0.2", color: bool = False) -> Board:
    job = FollowedJob(JobKey(JOB, "default", "digits"), 100.0, frozenset(), condition="Running")
    for index, state in enumerate(states):
        name = f"worker-{index}"
        job.replicas[name] = Replica(name, uid=str(index), state=state, pods={str(index)}, last_line=line)
    used = {("0", "main"): Usage(0.5, 100 << 20), ("0", "sidecar"): Usage(0.25, 3 << 30)}
    return Board(lambda: [job], lambda: used, lambda: 112.4, color=color)


async def test_the_board_has_a_line_for_the_job_and_one_for_each_replica() -> None:
    board = await a_board("Running", "CrashLoopBackOff")
    assert board.lines(90, 20) == [
        "─" * 90,
        "digits  Running  12 s  1 of 2 running",
        "  REPLICA   STATE             RESTARTS  CPU   MEMORY  LAST LINE",
        "  worker-0  Running                  0  75%  3.1 GiB  loss=0.2",
        "  worker-1  CrashLoopBackOff         0                loss=0.2",
    ]


@pytest.mark.parametrize("columns", [8, 20, 30, 40, 60, 200])
async def test_no_line_is_wider_than_the_terminal(columns: int) -> None:
    board = await a_board("Running", "CrashLoopBackOff", line="数字 und ein langes Wort " * 20)
    assert all(width(line) <= columns for line in board.lines(columns, 20))


async def test_of_many_replicas_those_in_trouble_are_shown_and_the_others_counted() -> None:
    board = await a_board(*(["Running"] * 50 + ["ImagePullBackOff"] + ["Pending"] * 49))
    lines = board.lines(80, 10)
    assert len(lines) <= 10
    assert any("worker-50  ImagePullBackOff" in line for line in lines)
    assert lines[-1].startswith("  … and ")
    assert "50 Running" in lines[-1]


async def test_a_job_that_is_done_is_on_the_board_no_more() -> None:
    assert Board(list, dict, lambda: 0.0, color=False).lines(80, 10) == []


def test_a_text_that_is_too_long_ends_with_an_ellipsis() -> None:
    assert cut("abcdef", 4) == "abc…"
    assert cut("数字数字", 4) == "数…"
    assert cut("abcd", 4) == "abcd"


def test_the_state_of_a_pod_is_one_word() -> None:
    unscheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no room"}
    waiting = {"state": {"waiting": {"reason": "CrashLoopBackOff"}}}
    for status, expected in (
        ({}, "Pending"),
        ({"phase": "Running"}, "Running"),
        ({"phase": "Pending", "conditions": [unscheduled]}, "Unschedulable"),
        ({"phase": "Running", "containerStatuses": [waiting]}, "CrashLoopBackOff"),
        ({"phase": "Failed", "reason": "DeadlineExceeded"}, "DeadlineExceeded"),
    ):
        assert pod_state({"metadata": {}, "status": status}) == expected


@pytest.mark.parametrize(
    ("message", "advice"),
    [
        ("1 Insufficient nvidia.com/gpu. Preemption is not helpful", "nvidia-smi finds no GPU on this machine"),
        ("1 Insufficient memory. Preemption is not helpful", "This machine has memory 2.0Gi: ask for less"),
        ("1 Insufficient cpu. No preemption victims found", "It starts when pods that have it end."),
        (
            "1 Insufficient cpu. The PodGroup default/x needs 3 pods at once",
            "This machine has cpu 2: the group has to fit",
        ),
        ("1 node(s) had untolerated taint {a: b}", "Add a toleration"),
        ("1 node(s) didn't match pod anti-affinity rules", "There is one node: it starts when the pods end"),
        ("1 node(s) didn't match the requested node name", "Take out nodeName, or say local"),
        ("1 node(s) didn't match pod affinity rules", "It starts when the pods are there"),
        ("1 node(s) didn't match pod topology spread constraints", "There is one node, so no other"),
        ("1 node(s) didn't have free ports for the requested pod ports", "It starts when the pod that has its"),
        ('persistentvolumeclaim "data" not found', "Add that PersistentVolumeClaim"),
        ("something else", ""),
    ],
)
def test_a_pod_that_waits_comes_with_advice(message: str, advice: str) -> None:
    assert hint(message, {"cpu": "2", "memory": "2097152Ki"}).startswith(advice)


def test_of_a_message_what_is_said_of_preemption_is_left_out() -> None:
    told = "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 Not helpful."
    assert brief(f"{told} The PodGroup a/b needs 3.") == (
        "0/1 nodes are available: 1 Insufficient cpu. The PodGroup a/b needs 3."
    )


# ── on a terminal ────────────────────────────────────────────────────────────────────────────────────────────────────

MANIFEST = """\
apiVersion: kubeflow.org/v1
kind: PyTorchJob
metadata: {name: mine}
spec:
  pytorchReplicaSpecs:
    Master:
      replicas: 1
      restartPolicy: Never
      template:
        spec:
          terminationGracePeriodSeconds: 1
          volumes: [{name: here, hostPath: {path: FOLDER}}]
          containers:
            - name: pytorch
              image: python
              command: [python, -u, train.py]
              resources: {requests: {cpu: CPU}}
              volumeMounts: [{name: here, mountPath: FOLDER}] # what comes into it later is seen
"""


def a_run(folder: Path, script: str, cpu: str = "100m", **size: int) -> Terminal:
    (folder / "train.py").write_text(script)
    (folder / "job.yaml").write_text(MANIFEST.replace("CPU", cpu).replace("FOLDER", str(folder)))
    (folder / "tmp").mkdir()
    env = {**os.environ, "TMPDIR": str(folder / "tmp")}
    return Terminal([KFCORE, "local", "run", str(folder / "job.yaml")], env=env, **size)


def test_lines_scroll_above_the_board_which_is_gone_at_the_end(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    script = (
        "import os, time\nfor i in range(40):\n    print('step', i)\n"
        f"    while i == 20 and not os.path.exists('{seen}'): time.sleep(0.01)"
    )
    terminal = a_run(tmp_path, script)
    terminal.until(lambda text: "LAST LINE" in text and "master-0" in text)
    seen.touch()
    assert terminal.wait() == 0
    lines = shown(terminal.written)
    steps = [line.rpartition("│ ")[2] for line in lines if "│ step" in line]
    assert steps == [f"step {number}" for number in range(40)]
    assert not any("LAST LINE" in line or "───" in line for line in lines)
    assert any(line.startswith("PyTorchJob mine: Succeeded") for line in lines)


def test_an_interrupt_leaves_a_clean_terminal(tmp_path: Path) -> None:
    terminal = a_run(tmp_path, "import time\nprint('begun')\ntime.sleep(600)")
    terminal.until(lambda text: "begun" in text and "LAST LINE" in text)
    terminal.type("\x03")
    assert terminal.wait() == 130
    lines = shown(terminal.written)
    assert "SIGINT: stopping; once more to end at once" in lines
    assert not any("LAST LINE" in line for line in lines)


def test_a_pod_for_which_there_is_no_room_is_told_with_what_to_do(tmp_path: Path) -> None:
    terminal = a_run(tmp_path, "", cpu="9999", columns=200)
    terminal.until(lambda text: "Waiting" in text and "resources.requests" in text)
    terminal.type("\x03")
    assert terminal.wait() == 130
    [line] = [line for line in shown(terminal.written) if "Waiting" in line]
    assert "1 Insufficient cpu" in line
    assert "ask for less in the container's resources.requests" in line


def test_a_terminal_without_room_gets_plain_lines(tmp_path: Path) -> None:
    terminal = a_run(tmp_path, "print('hello')", columns=30, lines=5)
    assert terminal.wait() == 0
    assert "\x1b[J" not in terminal.written
    assert "hello" in terminal.written
