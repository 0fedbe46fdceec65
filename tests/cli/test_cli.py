"""The `kfcore` command: what it lists, prints and refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import yaml

KFCORE = str(Path(sys.executable).with_name("kfcore"))


def kfcore(*arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """`path`: a directory of further distributions."""
    environment = {"PATH": "/usr/bin:/bin", **({"PYTHONPATH": str(path)} if path else {})}
    return subprocess.run([KFCORE, *arguments], capture_output=True, text=True, env=environment, timeout=240)


def install(directory: Path, name: str, value: str) -> None:
    """A distribution that registers one plugin."""
    info = directory / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[kfcore.plugins]\n{name} = {value}\n")


def test_help_names_every_command() -> None:
    printed = kfcore("--help").stdout
    assert all(command in printed for command in ("local", "operator", "plugins", "crds", "version"))


def test_help_imports_nothing_that_takes_long() -> None:
    script = "import sys, kfcore.cli; print([m for m in sys.argv[1:] if m in sys.modules])"
    heavy = ["kubernetes_asyncio", "aiohttp", "pydantic", "msgspec", "structlog", "rich", "yaml"]
    ended = subprocess.run([sys.executable, "-c", script, *heavy], capture_output=True, text=True)
    assert ended.stdout == "[]\n", ended.stderr


INTERRUPTED_WHERE_PYTHON_IGNORES_IT = """
import signal, sys, types, weakref

class Thing: ...

def command():
    thing = Thing()
    watch = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGINT))  # as imports have them
    del thing
    print("went on")

sys.modules["kfcore.cli"] = types.SimpleNamespace(main=command)
from kfcore.__main__ import main
main()
"""


def test_an_interrupt_is_not_lost_in_the_middle_of_an_import() -> None:
    program = [sys.executable, "-c", INTERRUPTED_WHERE_PYTHON_IGNORES_IT]
    ended = subprocess.run(program, capture_output=True, text=True, timeout=240)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


def test_version_is_that_of_the_distribution() -> None:
    assert kfcore("version").stdout.strip() == "0.1.0"


def test_plugins_are_listed_with_their_kinds() -> None:
    ended = kfcore("plugins")
    assert ended.returncode == 0, ended.stderr
    assert "PyTorchJob (kubeflow.org/v1)" in ended.stdout


def test_a_plugin_that_cannot_be_imported_is_named_and_takes_no_other_down(tmp_path: Path) -> None:
    install(tmp_path, "broken", "no_such_module:Controller")
    ended = kfcore("plugins", path=tmp_path)
    assert ended.returncode == 1, ended.stderr
    assert "PyTorchJob" in ended.stdout
    assert "broken" in ended.stderr
    assert "No module named 'no_such_module'" in ended.stderr


def test_crds_are_printed_as_yaml_documents_without_aliases() -> None:
    printed = kfcore("crds").stdout
    names = [document["metadata"]["name"] for document in yaml.safe_load_all(printed)]
    assert "pytorchjobs.kubeflow.org" in names
    assert "&id" not in printed


def test_an_operator_without_a_cluster_says_where_it_looked(tmp_path: Path) -> None:
    ended = kfcore("operator", "--kubeconfig", str(tmp_path / "missing"))
    assert ended.returncode == 2, ended.stderr
    assert str(tmp_path / "missing") in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_operator_for_an_unknown_kind_or_a_bad_address_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "kubeconfig"
    config.write_text(
        "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: 'http://127.0.0.1:9'}}]\n"
        "contexts: [{name: c, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {token: t}}]\n"
        "current-context: c\n"
    )
    unknown = kfcore("operator", "--kubeconfig", str(config), "--kind", "SparkJob")
    assert unknown.returncode == 2, unknown.stderr
    assert "no plugin serves the kind SparkJob: expected one of " in unknown.stderr
    address = kfcore("operator", "--kubeconfig", str(config), "--health-address", "nowhere")
    assert address.returncode == 2, address.stderr
    assert "expected HOST:PORT" in address.stderr


def test_a_part_that_cannot_be_left_out_is_refused() -> None:
    ended = kfcore("local", "up", "--without", "kublet")
    assert ended.returncode == 2, ended.stderr
    assert "kublet" in ended.stderr
