"""LoRA adapters on the starter model, as PEFT itself makes and runs them."""

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model

from models.loading.loader import load
from models.loading.refs import ModelRef, Source

STARTER = ModelRef(Source.BUNDLED, "starter")


def make_adapter(folder: Path, seed: int = 0, **config: Any) -> str:
    """Write an adapter that changes what the model says: its B matrices are random, where training starts from 0."""
    model: Any = load(STARTER, device="cpu", dtype=torch.float32)[0]
    torch.manual_seed(seed)
    options: dict[str, Any] = {"r": 4, "lora_alpha": 12, "target_modules": "all-linear", "init_lora_weights": False}
    lora = LoraConfig(**options | config)
    get_peft_model(model, lora).save_pretrained(str(folder))
    return str(folder)


def plain_peft(folder: str, device: str = "cpu") -> Any:
    """The starter model in float32 under the adapter, with nothing of ours between."""
    model: Any = load(STARTER, device=device, dtype=torch.float32)[0]
    return PeftModel.from_pretrained(model, folder).eval()


def generated(model: Any, prompt: str, max_new_tokens: int) -> str:
    """What transformers' own greedy `generate` completes the prompt with."""
    _, tokenizer = load(STARTER, device="cpu")
    inputs: Any = tokenizer(prompt, return_tensors="pt").to(model.device)
    with torch.inference_mode():
        output = model.generate(**inputs, do_sample=False, max_new_tokens=max_new_tokens)
    return str(tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
