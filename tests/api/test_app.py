"""The front end starts fast and alone: no torch, no model code."""

import json
import subprocess
import sys

HEAVY = {"torch", "transformers", "peft", "gptqmodel", "datasets", "optimum", "models", "pandas", "numpy"}

IMPORTS = """
import json, sys, time
start = time.perf_counter()
import api.app
api.app.create_app()
print(json.dumps([time.perf_counter() - start, sorted({name.split(".")[0] for name in sys.modules})]))
"""


def test_the_front_end_loads_no_model_code_and_starts_in_a_moment() -> None:
    run = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True, timeout=60)
    seconds, modules = json.loads(run.stdout)
    print(f"{seconds:.2f} s")
    assert HEAVY.isdisjoint(modules)
    assert seconds < 6
