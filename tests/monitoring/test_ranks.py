import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import dimscope as ds

SCRIPT = Path(__file__).with_name("ranks.py")


@pytest.mark.slow
def test_only_rank_0_measures_and_the_others_count(tmp_path):
    path = os.pathsep.join([str(Path(ds.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    processes = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(tmp_path), str(rank)],
            env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    for process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert "step 4: 3 measurements" in first["text"]
    assert first["layers"][0] == "id/00_input"
    assert "module" not in "".join(first["layers"])
    assert "only rank 0 measures" in second["text"]
    assert second["layers"] == second["state"] == []
    assert first["scheduled"] == second["scheduled"] == [False, True, False, True]
    assert first["names"] == second["names"] == first["layers"]
    assert first["resumed"] == second["resumed"] == 4
    assert "divided among ranks" in first["refusal"]
    assert first["refusal"] == second["refusal"]
    assert first["weight"] == second["weight"]
