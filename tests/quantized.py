"""The starter model's first layers, quantized by GPTQ, in the two layouts that there are."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GPTQConfig

import models.starter
from models.loading.loader import load
from models.loading.refs import ModelRef, Source

STARTER = ModelRef(Source.BUNDLED, "starter")
HELD_OUT = models.starter.HELD_OUT
BITS, GROUP_SIZE = 4, 32


def make_gptq(folder: Path, layers: int = 1, **options: Any) -> ModelRef:
    """Quantize to 4 bits, in today's layout; `options` are GPTQConfig's. Takes ten seconds for a layer."""
    full, quantized = folder / "full", folder / "gptq"
    model: Any
    model, tokenizer = load(STARTER, "cpu")
    model.config.num_hidden_layers = layers
    model.model.layers = model.model.layers[:layers]
    model.save_pretrained(full)
    tokenizer.save_pretrained(full)
    texts = [json.loads(line)["output"] for line in HELD_OUT.read_text().splitlines()[::20]]
    config = GPTQConfig(
        bits=BITS, group_size=GROUP_SIZE, dataset=texts, tokenizer=tokenizer, backend="auto_trainable", **options
    )
    model = AutoModelForCausalLM.from_pretrained(full, quantization_config=config, dtype=torch.float32)
    model.save_pretrained(quantized)
    tokenizer.save_pretrained(quantized)
    return ModelRef(Source.LOCAL, str(quantized))


def in_autogptq_layout(ref: ModelRef, folder: Path, name: str = "gptq_model-4bit-32g") -> ModelRef:
    """The same model as AutoGPTQ would have written it."""
    shutil.copytree(ref.location, folder)
    config = json.loads((folder / "config.json").read_text())
    quantization = config.pop("quantization_config")
    (folder / "config.json").write_text(json.dumps(config))
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    if quantization["checkpoint_format"] == "gptq_v2":  # the first format has zero points that are less by one
        for key, tensor in tensors.items():
            if key.endswith("qzeros"):
                tensor -= 0x11111111
    save_file(tensors, folder / f"{name}.safetensors", {"format": "pt"})
    content = {
        "bits": BITS,
        "group_size": GROUP_SIZE,
        "damp_percent": 0.01,
        "desc_act": quantization["desc_act"],
        "static_groups": False,
        "sym": True,
        "true_sequential": True,
        "model_name_or_path": None,
        "model_file_base_name": name,
    }
    (folder / "quantize_config.json").write_text(json.dumps(content))
    return ModelRef(Source.LOCAL, str(folder))
