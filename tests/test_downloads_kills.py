"""The server killed at random while it downloads: it goes on, and no file is ever wrong."""

from __future__ import annotations

import pytest

from bench.downloads import kill


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_kill_9_loses_nothing():
    told = kill("", 4_000_000, times=3, seconds=3.0)
    assert told["phase"] == "done" and told["whole"]
    assert (told["wrong"], told["lost"], told["orphans"]) == ([], 0, 0)
    assert told["under_way"] == told["kills"] == 3
