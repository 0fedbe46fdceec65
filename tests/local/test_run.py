"""`kfcore local run`, as a user runs it: the command as a process, its output, its exit code, and what it leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from patience import PATIENCE, wait_until

KFCORE = str(Path(sys.executable).with_name("kfcore"))

JOB = """\
apiVersion: kubeflow.org/v1
kind: PyTorchJob
metadata: {{name: {name}}}
spec:
  pytorchReplicaSpecs:
    Master:
      replicas: 1
      restartPolicy: {policy}
      template:
        spec:
          terminationGracePeriodSeconds: 2
          containers:
            - name: pytorch
              image: python:3.11
              command: {command}
"""

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def a_job(path: Path, script: str, *, name: str = "mine", policy: str = "Never", command: str | None = None) -> Path:
    """A manifest whose one replica runs `script`, which is written beside it."""
    path.with_suffix(".py").write_text(script)
    path.write_text(JOB.format(name=name, policy=policy, command=command or f"[python, {path.stem}.py]"))
    return path


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """State goes to a directory of the test, so that it can look whether anything is left there."""
    (tmp_path / "tmp").mkdir()
    return {**os.environ, "TMPDIR": str(tmp_path / "tmp")}


@pytest.fixture
def run(tmp_path: Path, environment: dict[str, str]) -> Iterator[Run]:
    def call(*files: Path | str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        command = [KFCORE, "local", "run", *map(str, files)]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, env=environment, timeout=PATIENCE)

    yield call
    assert list((tmp_path / "tmp").iterdir()) == [], "a run leaves no file"


def processes_of(folder: Path) -> set[int]:
    """Those whose command line names something in the folder: the replicas, and what kfcore runs them with."""
    listed = subprocess.run(["ps", "-ewwo", "pid=,args="], capture_output=True, text=True, check=True).stdout
    return {int(line.split()[0]) for line in listed.splitlines() if str(folder) in line}


def test_a_job_that_succeeds_ends_with_0_its_lines_and_a_summary(run: Run, tmp_path: Path) -> None:
    ended = run(a_job(tmp_path / "job.yaml", "import os\nprint('rank', os.environ['RANK'])\nprint('accuracy=0.97')"))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    lines = ended.stdout.splitlines()
    assert any(line.startswith("mine  Created  ") for line in lines)
    assert "master-0 │ rank 0" in lines
    assert any(line.startswith("mine  Succeeded  ") for line in lines)
    assert lines[-1].startswith("PyTorchJob mine: Succeeded in ")
    assert lines[-1].endswith("s, accuracy=0.97")
    assert "\x1b" not in ended.stdout
    assert ended.stderr == ""


def test_every_line_of_a_replica_is_shown_once_and_in_order(run: Run, tmp_path: Path) -> None:
    ended = run(a_job(tmp_path / "job.yaml", "for i in range(3000): print(i)\nprint('the end', end='')"))
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr
    shown = [line.removeprefix("master-0 │ ") for line in ended.stdout.splitlines() if line.startswith("master-0")]
    assert shown == [*map(str, range(3000)), "the end"]


def test_a_job_that_fails_ends_with_1_and_says_which_replica_its_exit_code_and_last_lines(
    run: Run, tmp_path: Path
) -> None:
    script = "import sys\nfor i in range(20): print('line', i)\nsys.exit('no such data')"
    ended = run(a_job(tmp_path / "job.yaml", script))
    assert ended.returncode == 1, ended.stdout + ended.stderr
    summary = ended.stdout.partition("\n\n")[2].splitlines()
    assert summary[0] == "master-0 exited with code 1"
    assert summary[2:12] == [*(f"  line {i}" for i in range(11, 20)), "  no such data"]
    assert summary[-1].startswith("PyTorchJob mine: Failed in ")


def test_a_command_that_does_not_exist_fails_the_job_with_the_reason(run: Run, tmp_path: Path) -> None:
    ended = run(a_job(tmp_path / "job.yaml", "", command="[no-such-program]"))
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "no-such-program" in ended.stdout.partition("\n\n")[2]


def test_a_replica_that_fails_once_is_restarted_and_counted(run: Run, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    script = (
        f"import os, sys\nif not os.listdir('{kept}'):\n    sys.exit(os.mkdir('{kept}/mark') or 1)\nprint('second try')"
    )
    path = a_job(tmp_path / "job.yaml", script, policy="OnFailure")
    mounts = f"              volumeMounts: [{{name: kept, mountPath: {kept}}}]\n"
    volumes = f"          volumes: [{{name: kept, hostPath: {{path: {kept}}}}}]\n"
    path.write_text(path.read_text() + mounts + volumes)
    ended = run(path)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "master-0 │ second try" in ended.stdout
    assert ended.stdout.splitlines()[-1].endswith(", 1 restart")


def test_two_jobs_run_side_by_side_under_their_names(run: Run, tmp_path: Path) -> None:
    ended = run(
        a_job(tmp_path / "a.yaml", "print('from a')", name="first"),
        a_job(tmp_path / "b.yaml", "import sys; sys.exit(1)", name="second"),
    )
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "first/master-0  │ from a\n" in ended.stdout
    assert "PyTorchJob first: Succeeded" in ended.stdout
    assert "PyTorchJob second: Failed" in ended.stdout


def test_a_manifest_may_come_from_standard_input_with_objects_that_the_job_needs(run: Run) -> None:
    config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: team}\ndata: {RATE: '0.5'}\n---\n"
    job = JOB.format(
        name="mine, namespace: team", policy="Never", command="[python, -c, 'import os; print(os.environ)']"
    )
    job += "              envFrom: [{configMapRef: {name: settings}}]\n"
    ended = run("-", stdin=config + job)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "'RATE': '0.5'" in ended.stdout


MASTER = "spec.pytorchReplicaSpecs.Master"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("replicas: 1 → replicas: one", f"job.yaml:7: document 1: {MASTER}.replicas: expected an integer"),
        ("replicas: 1 → replicas: '1'", f"{MASTER}.replicas: expected an integer, found \"1\""),
        ("Master: → Boss:", "job.yaml:6: document 1: spec.pytorchReplicaSpecs.Boss: unknown replica type"),
        ("Never → Sometimes", "restartPolicy: expected one of Always, OnFailure, Never, ExitCode, found \"Sometimes\""),
        ("PyTorchJob → PyTorchJbo", "did you mean PyTorchJob?"),
        ("kubeflow.org/v1 → kubeflow.org/v2", "apiVersion: expected kubeflow.org/v1 for a PyTorchJob"),
        ("kubeflow.org/v1 → example.com/v1", "apiVersion: expected kubeflow.org/v1 for a PyTorchJob"),
        ("replicas: 1 → replica: 1", f"{MASTER}.replica: is not a known field; did you mean replicas?"),
        ("spec: → specs:", "spec: required, but missing"),
        ("    Master: →     - Master:", "spec.pytorchReplicaSpecs: expected a mapping, found a list"),
        ("name: pytorch → name: 3", f"{MASTER}.template.spec.containers[0].name: expected text, found 3"),
        ("command: → comand:", "template.spec.containers[0].comand: is not a known field; did you mean command?"),
        ("kind: → \tkind:", "is not valid YAML"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_before_anything_runs(run: Run, tmp_path: Path, change: str, problem: str) -> None:
    path = a_job(tmp_path / "job.yaml", "print('ran')")
    path.write_text(path.read_text().replace(*change.split(" → "), 1))
    ended = run(path)
    assert (ended.returncode, ended.stdout) == (2, ""), ended.stderr
    assert problem in ended.stderr


def test_a_file_without_a_job_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\n")
    ended = run(tmp_path / "config.yaml")
    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert "holds no job to run (" in ended.stderr


SLEEPER = "import time\nprint('asleep', flush=True)\ntime.sleep(600)"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_however_it_is_ended_no_process_is_left(
    tmp_path: Path, environment: dict[str, str], how: signal.Signals
) -> None:
    path = a_job(tmp_path / "job.yaml", SLEEPER, command=f"[python, {tmp_path}/job.py]")
    command = [KFCORE, "local", "run", str(path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert any("asleep" in line for line in process.stdout)
        assert processes_of(tmp_path)
        process.send_signal(how)
        process.communicate(timeout=PATIENCE)
    wait_until(lambda: not processes_of(tmp_path))
    assert process.returncode == (-signal.SIGKILL if how == signal.SIGKILL else 130)


def test_a_second_interrupt_does_not_wait_for_the_grace_period(tmp_path: Path, environment: dict[str, str]) -> None:
    stubborn = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SLEEPER
    path = a_job(tmp_path / "job.yaml", stubborn, command=f"[python, {tmp_path}/job.py]")
    path.write_text(path.read_text().replace("Seconds: 2", "Seconds: 300"))
    command = [KFCORE, "local", "run", str(path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert any("asleep" in line for line in process.stdout)
        assert processes_of(tmp_path)
        process.send_signal(signal.SIGINT)
        next(line for line in process.stderr if "once more" in line)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)
    wait_until(lambda: not processes_of(tmp_path))
    assert process.returncode == 130


def test_a_reader_that_goes_away_ends_the_job_quietly(tmp_path: Path, environment: dict[str, str]) -> None:
    path = a_job(tmp_path / "job.yaml", "while True: print('x' * 1000)")
    command = f"'{KFCORE}' local run '{path}' | head -n 3"
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=environment, timeout=PATIENCE)
    assert (len(ended.stdout.splitlines()), ended.stderr) == (3, "")
