"""The API imports neither torch nor any other library that loads slowly."""

import json
import subprocess
import sys

HEAVY = {"torch", "transformers", "peft", "gptqmodel", "datasets", "optimum", "pandas", "numpy"}

IMPORTS = """
import json, sys
import api.app
api.app.create_app()
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
"""


def test_the_api_imports_no_heavy_library() -> None:
    run = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True)
    modules = json.loads(run.stdout)
    assert HEAVY.isdisjoint(modules)
