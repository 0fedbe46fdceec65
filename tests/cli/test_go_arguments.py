"""The arguments of the Go operators' Deployments mean what they meant, or say that they mean nothing."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kfcore.operator_arguments import WITHOUT_EFFECT, translate

KFCORE = str(Path(sys.executable).with_name("kfcore"))


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("-metrics-addr=:8080", "--metrics-bind-address :8080"),
        ("--probe-addr :8081", "--health-probe-bind-address :8081"),
        ("--enable-leader-election", "--leader-elect"),
        ("--leader-elect=true -leader-elect=F", "--leader-elect --no-leader-elect"),
        ("--no-leader-elect", "--no-leader-elect"),
        ("--qps=5 --burst 10", "--kube-api-qps 5 --kube-api-burst 10"),
        ("-threadiness=4", "--controller-threads 4"),
        ("--monitoring-port=8443", "--metrics-bind-address :8443"),
        ("--monitoring-port 0", "--metrics-bind-address 0"),
        ("--json-log-format=false", "--log-format console"),
        ("--json-log-format", "--log-format json"),
        ("--zap-log-level=3", "--log-level debug"),
        ("--zap-log-level 0", "--log-level info"),
        ("--zap-log-level=WARN", "--log-level warning"),
        ("--zap-log-level=panic", "--log-level error"),
        ("--zap-devel", "--log-level debug --log-format console"),
        ("--zap-devel --zap-encoder=json", "--log-level debug --zap-encoder json"),
        ("--zap-devel=true --zap-log-level=error", "--log-format console --log-level error"),
        ("--zap-devel=false", ""),
        ("--zap-time-encoding=rfc3339", ""),
        ("--enable-gang-scheduling", "--gang-scheduler-name volcano"),
        ("--enable-gang-scheduling --gang-scheduler-name=mine", "--gang-scheduler-name mine"),
        ("--enable-gang-scheduling=false --gang-scheduler-name volcano", ""),
        ("--gang-scheduler-name volcano", "--gang-scheduler-name volcano"),
        ("--enable-scheme=TFJob --enable-scheme=pytorchjob", "--enable-scheme TFJob --enable-scheme pytorchjob"),
        ("--namespace kubeflow --kube-api-qps -1", "--namespace kubeflow --kube-api-qps -1"),
        ("-h", "-h"),
    ],
)
def test_an_argument_that_has_a_meaning_keeps_it(theirs: str, ours: str) -> None:
    assert translate(theirs.split()) == (ours.split(), [])


@pytest.mark.parametrize("name", [*WITHOUT_EFFECT, "zap-time-encoding"])
def test_an_argument_that_has_none_is_named_in_a_note(name: str) -> None:
    for arguments in ([f"--{name}=value"], [f"-{name}", "value"]):
        ours, [(flag, why)] = translate(arguments)
        assert (ours, flag) == ([], f"--{name}")
        assert why


@pytest.mark.parametrize(
    ("encoder", "as_logged"),
    [("json", '"flag": "--webhook-server-port"'), ("console", "flag=--webhook-server-port")],
)
def test_the_log_says_what_has_no_effect_and_why(tmp_path: Path, encoder: str, as_logged: str) -> None:
    flags = ["--kubeconfig", str(tmp_path / "none"), "--webhook-server-port=9443", f"-zap-encoder={encoder}"]
    ended = subprocess.run(
        [KFCORE, "operator", *flags],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "TERM": "dumb"},
    )
    assert as_logged in ended.stderr
    assert "there is no webhook" in ended.stderr


def test_help_names_them() -> None:
    printed = subprocess.run([KFCORE, "operator", "--help"], capture_output=True, text=True, timeout=240).stdout
    for name in WITHOUT_EFFECT:
        assert f"--{name}" in printed


def test_the_page_about_the_operator_names_flags_that_there_are() -> None:
    page = (Path(__file__).parents[2] / "docs" / "operator.md").read_text()
    printed = subprocess.run([KFCORE, "operator", "--help"], capture_output=True, text=True, timeout=240).stdout
    named = set(re.findall(r"(--[a-z-]{3,})", page)) - {"--help", "--server-side", "--flag", "--switch"}
    assert {flag for flag in named if flag not in printed} == {"--master", "--version"}
