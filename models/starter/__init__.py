"""The small model that ships with the project. `starter_model/` at the top of the repository has how it was made."""

from pathlib import Path

FOLDER = Path(__file__).parent
HELD_OUT = FOLDER / "held_out.jsonl"
"""500 rows of instruction, input and output that the model was not trained on, one JSON object a line."""
