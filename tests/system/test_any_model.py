"""Models of other architectures from end to end, as on a fresh machine: over HTTP, against `pagewright up`.

Each is tiny and random. What it writes has no meaning, but transformers and PEFT must write the same.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.archives import unpack
from tests.models import architectures
from tests.server import answer, finished, running_up

pytestmark = pytest.mark.long

CHATML = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou write HTML.<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEMPLATES = {"falcon": None, "opt": None, "mistral": None, "qwen2": CHATML, "gemma2": None}
PROMPT = "Write p."
TOKENS = 24

CHATS = [
    {
        "messages": [
            {"role": "user", "content": f"Write {number}."},
            {"role": "assistant", "content": f"<p>{number}</p>"},
            {"role": "user", "content": "Strike it."},
            {"role": "assistant", "content": f"<p><s>{number}</s></p>"},
        ]
    }
    for number in range(12)
]
TRAINING = {
    "max_steps": 12,
    "learning_rate": 2e-2,
    "warmup_steps": 0,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 1,
    "max_seq_length": 200,
    "save_steps": None,
}
QUANTIZATION = {"bits": 8, "group_size": 32, "samples": 9, "max_length": 128}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("any") / "data"


@pytest.fixture(scope="module")
def client(data_dir: Path) -> Iterator[httpx.Client]:
    with running_up(data_dir) as (_, client):
        rows = "\n".join(map(json.dumps, CHATS)).encode()
        upload = client.post(
            "/v1/datasets", data={"name": "chats", "test_fraction": "0.25"}, files={"file": ("chats.jsonl", rows)}
        )
        answer(upload, 201)
        yield client


def write_model(name: str, folder: Path) -> None:
    """Write a tiny random model, with a chat template if the architecture's instruct models are tried with one."""
    model, tokenizer = architectures.make(name)
    if TEMPLATES[name]:
        tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
        tokenizer.chat_template = TEMPLATES[name]
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def submit(client: httpx.Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Submit a job, and return it when it has succeeded."""
    return finished(client, f"{path}/{answer(client.post(path, json=body), 202)['id']}")


def generate(client: httpx.Client, model: str) -> dict[str, Any]:
    body = {"model": model, "prompt": PROMPT, "max_new_tokens": TOKENS}
    return submit(client, "/v1/generations", body)


def download(client: httpx.Client, model_id: str, folder: Path) -> Path:
    return unpack(client.get(f"/v1/models/{model_id}/download").content, folder)


def prompt_ids(folder: Path) -> list[int]:
    """The prompt as other programs make it from the files of a model."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if tokenizer.chat_template is None:
        return list(tokenizer(f"### Instruction:\n{PROMPT}\n\n### Response:\n")["input_ids"])
    chat = [{"role": "user", "content": PROMPT}]
    return list(tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False))


def expected(base: Path, adapter: Path | None = None) -> str:
    """What plain transformers and PEFT generate."""
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="eager").eval()
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter).eval()
    ids = prompt_ids(adapter or base)
    with torch.inference_mode():
        tokens = model.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=TOKENS, eos_token_id=None)
    return str(AutoTokenizer.from_pretrained(base).decode(tokens[0, len(ids) :], skip_special_tokens=True))


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_model_generates_learns_from_chats_and_is_quantized_and_evaluated(
    client: httpx.Client, data_dir: Path, tmp_path: Path, name: str
) -> None:
    folder = data_dir / "models" / name
    write_model(name, folder)
    answer(client.post("/v1/models", json={"name": name, "source": "local", "location": name}), 201)

    job = generate(client, name)
    assert (job["completion"], job["prompt_tokens"]) == (expected(folder), len(prompt_ids(folder)))

    request: dict[str, Any] = {"model": name, "dataset": "chats", "name": f"{name}-chats", "training": TRAINING}
    job = submit(client, "/v1/fine-tunes", request | {"lora": {"dropout": 0.0}})
    losses = [step["loss"] for step in client.get(f"/v1/fine-tunes/{job['id']}/steps").json()["items"]]
    assert losses[-1] < losses[0]
    adapter = download(client, job["result_model_id"], tmp_path)
    assert prompt_ids(adapter) == prompt_ids(folder)
    assert generate(client, f"{name}-chats")["completion"] == expected(folder, adapter) != expected(folder)

    body: dict[str, Any] = {
        "model": name,
        "dataset": "chats",
        "name": f"{name}-gptq",
        "options": QUANTIZATION,
        "report_rows": 2,
    }
    job = submit(client, "/v1/quantizations", body)
    report = {variant["variant"]: variant for variant in job["report"]}
    assert report["gptq"]["perplexity"] == pytest.approx(report["original"]["perplexity"], rel=0.1)

    for model in (name, f"{name}-chats", f"{name}-gptq"):
        job = submit(client, "/v1/evaluations", {"model": model, "dataset": "chats", "max_new_tokens": TOKENS})
        items = client.get(f"/v1/evaluations/{job['id']}/predictions").json()["items"]
        assert [len(item["context"]) for item in items] == [2] * len(items) == [2] * 3
        assert all("<s>" in item["reference"] for item in items)
    board = client.get("/v1/leaderboard", params={"dataset": "chats"}).json()["items"]
    shown = {item["model"]: item["template"] for item in board}
    assert (
        shown[name]
        == shown[f"{name}-chats"]
        == shown[f"{name}-gptq"]
        == ("chat" if TEMPLATES[name] else "pagewright-1")
    )
