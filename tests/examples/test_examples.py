"""Every example runs, and does what its description says."""

from __future__ import annotations

import asyncio
import inspect
import re
import subprocess
import sys
from contextlib import aclosing
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from kfcore.client.cluster import ClusterClient
from kfcore.testing import FakeClient, FakeClock
from kfcore_pytorch import PyTorchJob

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "pytorch"
KFCORE = str(Path(sys.executable).with_name("kfcore"))


def run(example: str, timeout: float) -> subprocess.CompletedProcess[str]:
    """From another directory, so that only the manifest's place can lead to its files."""
    command = [KFCORE, "local", "run", str(EXAMPLES / example)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, cwd="/")


@pytest.mark.slow
def test_one_master_and_two_workers_train_a_network_to_95_percent() -> None:
    pytest.importorskip("torch", reason="the digits job needs torch: pip install '.[demo]'")
    ended = run("digits-ddp.yaml", timeout=480)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    lines = ended.stdout.splitlines()
    for rank, replica in enumerate(("master-0", "worker-0", "worker-1")):
        assert f"{replica} │ rank {rank} of 3 trains on 480 of 1438 images" in lines
    accuracy = re.search(r"accuracy=([\d.]+)", lines[-1])
    assert accuracy is not None
    assert float(accuracy[1]) >= 0.95
    assert "Succeeded" in lines[-1]


@pytest.mark.slow
async def test_the_digits_job_also_trains_when_it_is_applied_to_a_running_cluster(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the digits job needs torch: pip install '.[demo]'")
    kubeconfig = tmp_path / "kubeconfig"
    up = await asyncio.create_subprocess_exec(
        KFCORE, "local", "up", "--kubeconfig", str(kubeconfig), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert up.stdout is not None
        while b"kubectl" not in await up.stdout.readline():
            assert up.returncode is None
        client = await ClusterClient.connect(kubeconfig=kubeconfig)
        async with asyncio.timeout(480):
            await client.create(PyTorchJob, yaml.safe_load((EXAMPLES / "digits-ddp.yaml").read_text()))
            async with aclosing(client.watch(PyTorchJob, "default", send_initial_events=True)) as changes:
                async for change in changes:
                    status = getattr(change.object, "status", None)
                    if status is not None and (status.is_true("Succeeded") or status.is_true("Failed")):
                        assert status.is_true("Succeeded")
                        break
        await client.close()
    finally:
        up.terminate()
        await up.wait()


def test_the_single_process_job_fits_its_line() -> None:
    ended = run("single.yaml", timeout=240)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "slope=2.9" in ended.stdout.splitlines()[-1]


def test_the_failing_job_names_its_failed_replica() -> None:
    ended = run("failing.yaml", timeout=240)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    summary = ended.stdout.partition("\n\n")[2]
    assert summary.startswith("worker-1 exited with code 3\n")
    assert "cannot open part 2 of the data" in summary


@pytest.mark.parametrize(("page", "count"), [("writing-an-operator.md", 5), ("testing.md", 3)])
async def test_the_tests_of_the_documentation_pass(
    page: str, count: int, monkeypatch: pytest.MonkeyPatch, fake_client: FakeClient, fake_clock: FakeClock
) -> None:
    module = ModuleType("documentation")
    monkeypatch.setitem(sys.modules, "documentation", module)  # where pydantic looks its annotations up
    for name in dict.fromkeys(["writing-an-operator.md", page]):  # the others go on with its operators
        before = dict(vars(module))
        for block in re.findall(r"```python\n(.*?)```", (ROOT / "docs" / name).read_text(), re.DOTALL):
            exec(compile(block, name, "exec"), vars(module))
    if make_trouble := vars(module).get("make_trouble"):
        make_trouble(FakeClient())
    fixtures = {"fake_client": fake_client, "fake_clock": fake_clock}
    tests = [value for name, value in vars(module).items() if name.startswith("test_") and name not in before]
    assert len(tests) == count
    for test in tests:
        assert inspect.iscoroutinefunction(test)
        await test(**{name: fixtures[name] for name in inspect.signature(test).parameters})


def test_the_readme_shows_the_operator_of_the_documentation() -> None:
    first = re.compile(r"```python\n(.*?)```", re.DOTALL)
    texts = [(ROOT / name).read_text() for name in ("README.md", "docs/writing-an-operator.md")]
    shown, documented = (found[1] for text in texts if (found := first.search(text)))
    assert shown == documented
