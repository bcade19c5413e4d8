"""A model of one layer, for tests in which what the model writes does not matter."""

import json
import shutil
from pathlib import Path

import numpy as np
from safetensors import deserialize
from safetensors.numpy import save_file

import models.starter


def make_small(folder: Path) -> None:
    """Write the starter's first layer as a model into a new folder, without torch."""
    starter = models.starter.FOLDER
    folder.mkdir(parents=True)
    for file in starter.glob("*.json"):
        shutil.copy(file, folder)
    config = json.loads((starter / "config.json").read_text()) | {"num_hidden_layers": 1, "dtype": "float32"}
    (folder / "config.json").write_text(json.dumps(config))
    # NumPy has no bfloat16, which is the upper half of a float32
    tensors = {
        name: (np.frombuffer(tensor["data"], np.uint16).astype(np.uint32) << 16)
        .view(np.float32)
        .reshape(tensor["shape"])
        for name, tensor in deserialize((starter / "model.safetensors").read_bytes())
        if "layers." not in name or "layers.0." in name
    }
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
