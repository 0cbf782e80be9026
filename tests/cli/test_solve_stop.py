"""An interrupt while `balproof solve` works: the state so far, as an answer."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest


@pytest.mark.slow
def test_an_interrupt_gives_the_state_so_far(tmp_path: Path) -> None:
    n = 1000  # a ring: unit by unit, the longest wave takes some n² sweeps
    ring = np.roll(np.eye(n), 1, axis=1) * np.exp(np.random.default_rng(0).normal(0, 3, (n, 1)))
    model, after = tmp_path / "ring.npy", tmp_path / "after.npy"
    np.save(model, ring + np.roll(np.eye(n), -1, axis=1))
    command = [str(Path(sys.executable).with_name("balproof")), "solve", str(model), "--method", "stochastic"]
    process = subprocess.Popen(
        [*command, "-o", str(after), "--json", "-"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    time.sleep(8)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    said, errors = process.communicate(timeout=60)
    answer = json.loads(said)
    assert (process.returncode, errors) == (1, "")
    assert answer["stopped"] and answer["status"] == "unconverged"
    assert answer["cost_after"] < answer["cost_before"]
    old, new = np.load(model), np.load(after)
    np.testing.assert_allclose(new * new.T, old * old.T, rtol=1e-9)  # every cycle of two keeps its product
