"""What holds for every test of this project."""

import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A change is judged by the same examples in every run, and not by how fast this machine is. `pytest
# --hypothesis-profile=random` draws new ones.
settings.register_profile("random", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.register_profile("same", settings.get_profile("random"), derandomize=True)
settings.load_profile("same")

# Who starts the tests in the background has interrupts ignored, and so would have the processes that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_HERE = Path(__file__).parent
_WITH_PROCESSES = {"cli", "examples", "local", "sdk", "tensorflow", "training"}
_WITH_KUBECTL = "test_kubectl", "test_jupyter"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A test of real processes is played a second time when it fails: what it tests is at the mercy of the machine.
    It is a bug all the same, and `make test` shows its traceback. In-process tests own all that they depend on. What
    hung once would hang again, with nothing left to end it.
    """
    if config.pluginmanager.hasplugin("rerunfailures"):
        for item in items:
            folder = item.path.relative_to(_HERE).parts[0]
            if folder in _WITH_PROCESSES or item.path.name.startswith(_WITH_KUBECTL):
                item.add_marker(pytest.mark.flaky(reruns=1, rerun_except=r"Timeout \(>"))
