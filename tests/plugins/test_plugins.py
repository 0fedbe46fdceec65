"""Plugins are found where they are installed, and a broken one is named and harms nobody."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kfcore.plugins import OperatorOptions, PluginSet, load_plugins

ECHO = Path(__file__).parents[2] / "examples" / "operators" / "echo"
LIST = """
from kfcore.plugins import load_plugins
plugins = load_plugins()
for name, controller in plugins.controllers:
    print(name, controller.kind.resource.qualified_plural)
for name, error in plugins.failures:
    print("failed", name, type(error).__name__, error)
"""


def listed(site: Path) -> list[str]:
    """What a process lists that finds the distributions in `site`, too."""
    environment = {**os.environ, "PYTHONPATH": str(site)}
    process = subprocess.run([sys.executable, "-c", LIST], env=environment, capture_output=True, text=True, timeout=240)
    assert process.returncode == 0, process.stderr
    return process.stdout.splitlines()


def test_the_pytorch_plugin_is_registered() -> None:
    assert ("pytorch", "PyTorchJob") in [(name, cls.kind.resource.kind) for name, cls in load_plugins().controllers]


def test_the_example_operator_is_found_once_it_is_installed(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "echo_operator.py"):
        (source / name).write_bytes((ECHO / name).read_bytes())
    site = tmp_path / "site"
    build = ["--no-build-isolation", "--disable-pip-version-check", "--target", str(site)]
    installed = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", *build, str(source)],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert installed.returncode == 0, installed.stderr
    assert "echo echojobs.example.com" in listed(site)


def test_a_plugin_that_cannot_be_imported_is_named_and_takes_no_other_down(tmp_path: Path) -> None:
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[kfcore.plugins]\nbroken = no_such_module:Controller\nodd = json:loads\n")
    lines = listed(tmp_path)
    assert "pytorch pytorchjobs.kubeflow.org" in lines
    assert "failed broken ModuleNotFoundError No module named 'no_such_module'" in lines
    assert any(line.startswith("failed odd TypeError json:loads is no controller class") for line in lines)


def test_enabling_a_kind_that_nobody_serves_is_refused_by_name() -> None:
    plugins = PluginSet(controllers=load_plugins().controllers)
    with pytest.raises(ValueError, match=r"no plugin serves the kind NoSuchJob: expected one of .*PyTorchJob"):
        plugins.setup(None, OperatorOptions(kinds=("NoSuchJob",)))  # type: ignore[arg-type]
