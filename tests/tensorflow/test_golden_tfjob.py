"""The TFJob scenarios recorded from the reference operator agree, but for the differences listed here."""

from __future__ import annotations

import pytest
from golden_scenarios import Differences, play, scenarios

from kfcore_tf import TFJobController

DIFFERENCES: Differences = {}


@pytest.mark.parametrize("name", scenarios("TFJob"))
async def test_a_recorded_scenario_agrees(name: str) -> None:
    await play(name, TFJobController, DIFFERENCES)
