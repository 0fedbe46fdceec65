"""The scenarios recorded from the upstream notebook controller agree."""

from __future__ import annotations

import pytest
from golden_notebooks import play, scenarios


@pytest.mark.parametrize("name", scenarios())
async def test_a_recorded_scenario_agrees(name: str) -> None:
    assert await play(name) == []
