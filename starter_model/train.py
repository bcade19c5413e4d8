"""Train the starter model on generated rows: `python -m starter_model.train OUT --seconds 480`.

Worker processes generate the rows during training. The model sees a row twice only if the workers are too slow.
"""

import argparse
import math
import multiprocessing
import os
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from random import Random

import numpy as np
import torch
from tokenizers import Tokenizer
from torch.nn.functional import cross_entropy, linear, rms_norm, scaled_dot_product_attention, silu
from transformers import AutoTokenizer, GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from models.prompts.templates import build_prompt
from models.starter import FOLDER
from starter_model.rows import training_stream
from starter_model.tokenizer import EOS

LONGEST = 2048
WIDTHS = (0, 128, 192, 256, 320, 384, 448, 512, 640, 768, 1024, 1280, 1536, LONGEST)
BATCH_TOKENS = 65_536
SHARD_ROWS = 24_576
SHARDS_KEPT = 200
PEAK_RATE, WARM_UP, DECAY = 2e-3, 0.02, 0.1
"""Defaults for training from scratch. To continue the training of a model, use a tenth of the rate."""
_IGNORED = -100


@dataclass(frozen=True)
class Shard:
    """Concatenated examples: their tokens, and the length of each example (`lengths`) and of its prompt (`prompts`)."""

    tokens: np.ndarray
    lengths: np.ndarray
    prompts: np.ndarray


def configuration(tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    """Return the starter model's architecture. Every width is a multiple of 64, so that GPTQ groups of 64 fit."""
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=8,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=64,
        max_position_embeddings=LONGEST,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def encoded(tokenizer: Tokenizer, seed: int, count: int) -> Shard:
    """Return the first `count` rows of the training stream as tokens, without the few rows longer than the context."""
    rows = list(islice(training_stream(seed), count))
    prompts = [
        encoding.ids for encoding in tokenizer.encode_batch([build_prompt(row.instruction, row.input) for row in rows])
    ]
    pages = [encoding.ids for encoding in tokenizer.encode_batch([row.output for row in rows])]
    end = tokenizer.token_to_id(EOS)
    pairs = [(prompt, page) for prompt, page in zip(prompts, pages, strict=True) if len(prompt) + len(page) < LONGEST]
    return Shard(
        np.concatenate([np.array([*prompt, *page, end], dtype=np.uint16) for prompt, page in pairs]),
        np.array([len(prompt) + len(page) + 1 for prompt, page in pairs]),
        np.array([len(prompt) for prompt, _ in pairs]),
    )


def batches(shard: Shard, pad: int, seed: int, size: int, device: str) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield the tokens and labels of batches, each of shape (rows, width) with about `size` tokens, in random order.

    A batch has examples of similar length. Padding is on the right, where causal attention never reads it, so no mask
    is needed. Prompts have no labels. A batch that is not full ends in rows of padding, so that there are few shapes
    and the GPU's memory is not fragmented.
    """
    ends = np.cumsum(shard.lengths)
    groups: list[tuple[int, np.ndarray]] = []
    for narrower, width in pairwise(WIDTHS):
        fitting = np.flatnonzero((shard.lengths > narrower) & (shard.lengths <= width))
        rows = max(1, size // width)
        groups += [(width, fitting[first : first + rows]) for first in range(0, len(fitting), rows)]
    flat = torch.from_numpy(shard.tokens.astype(np.int32)).to(device)
    for place in np.random.default_rng(seed).permutation(len(groups)):
        width, members = groups[place]
        table = np.zeros((3, max(1, size // width), 1), dtype=np.int64)
        lengths = shard.lengths[members]
        table[:, : len(members), 0] = ends[members] - lengths, lengths, shard.prompts[members]
        starts, lengths, prompts = torch.from_numpy(table).to(device)
        spots = torch.arange(width, device=device)
        tokens = flat[(starts + spots).clamp(max=len(flat) - 1)].long()
        labelled = (spots >= prompts - 1) & (spots < lengths - 1)
        labels = torch.roll(tokens, -1, dims=1).masked_fill(~labelled, _IGNORED)
        yield tokens.masked_fill(spots >= lengths, pad), labels


def forward(model: LlamaForCausalLM, tokens: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Return the logits of `model` for right-padded tokens, computed in `dtype` with fewer and larger operations."""
    rows, width = tokens.shape
    size, eps = model.config.hidden_size, model.config.rms_norm_eps
    hidden = model.model.embed_tokens(tokens).to(dtype)
    cosine, sine = model.model.rotary_emb(hidden, torch.arange(width, device=tokens.device).unsqueeze(0))
    cosine, sine = cosine[:, :, None, None], sine[:, :, None, None]

    def normed(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return rms_norm(x, (size,), weight.to(dtype), eps)

    for layer in model.model.layers:
        attention, mlp = layer.self_attn, layer.mlp
        weights = torch.cat([attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight]).to(dtype)
        mixed = linear(normed(hidden, layer.input_layernorm.weight), weights).view(
            rows, width, 3, -1, attention.head_dim
        )
        turned, value = mixed[:, :, :2], mixed[:, :, 2]
        left, right = turned.chunk(2, dim=-1)
        turned = turned * cosine + torch.cat([-right, left], dim=-1) * sine
        query, key = turned.transpose(1, 3).unbind(2)
        seen = scaled_dot_product_attention(query, key, value.transpose(1, 2), is_causal=True)
        hidden = hidden + linear(seen.transpose(1, 2).flatten(2), attention.o_proj.weight.to(dtype))
        weights = torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight]).to(dtype)
        gate, up = linear(normed(hidden, layer.post_attention_layernorm.weight), weights).chunk(2, dim=-1)
        hidden = hidden + linear(silu(gate) * up, mlp.down_proj.weight.to(dtype))
    return linear(normed(hidden, model.model.norm.weight), model.lm_head.weight.to(dtype))


def loss_of(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the mean cross-entropy of the labelled tokens, in nats."""
    return cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=_IGNORED)


def rate(progress: float, peak: float = PEAK_RATE) -> float:
    """Return the learning rate at a fraction of the training, 0 to 1: linear warm-up, then cosine decay to 0."""
    if progress < WARM_UP:
        return peak * progress / WARM_UP
    return peak * 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - WARM_UP) / (1 - WARM_UP))))


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the model in bfloat16 and its tokenizer into `folder`. Each file is replaced atomically."""
    scratch = folder.with_name(f".{folder.name}")
    rounded = LlamaForCausalLM(model.config)
    rounded.bfloat16()
    rounded.load_state_dict(model.state_dict())
    rounded.generation_config = GenerationConfig(
        do_sample=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    rounded.save_pretrained(scratch)
    tokenizer.save_pretrained(scratch)
    folder.mkdir(parents=True, exist_ok=True)
    for file in scratch.iterdir():
        file.chmod(0o644)
        os.replace(file, folder / file.name)
    scratch.rmdir()


def _shard(seed: int) -> Shard:
    return encoded(Tokenizer.from_file(str(FOLDER / "tokenizer.json")), seed, SHARD_ROWS)


def shards(seed: int, workers: int) -> Generator[Shard, None, None]:
    """Yield shards forever, generated by `workers` processes. While no new shard is ready, repeat an earlier one."""
    # Fork, before CUDA starts: a spawned process would import everything again, which takes longer than a shard.
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        numbers = iter(range(seed * 1_000_000, (seed + 1) * 1_000_000))
        # Limit the look-ahead, because results that are not used yet stay in memory.
        ahead = [pool.apply_async(_shard, (number,)) for number in islice(numbers, 2 * workers)]
        kept: list[Shard] = []
        r = Random(seed)
        while True:
            ready = next((result for result in ahead if result.ready()), None)
            if ready is None and len(kept) >= workers:
                yield r.choice(kept)
                continue
            ready = ready or ahead[0]
            ahead.remove(ready)
            ahead.append(pool.apply_async(_shard, (next(numbers),)))
            kept = [*kept[-SHARDS_KEPT:], ready.get()]
            yield kept[-1]


def train(
    folder: Path,
    seconds: float,
    seed: int,
    workers: int,
    size: int,
    start_from: Path | None = None,
    peak: float = PEAK_RATE,
) -> None:
    """Train for `seconds`, on a GPU if there is one, and save into `folder` every two minutes and at the end.

    `start_from` is the folder of a model to continue from. None trains from scratch.
    """
    source = shards(seed, workers)
    shard = next(source)
    torch.manual_seed(seed)
    # cuDNN's attention makes a new plan for every shape, which takes longer than a training step.
    torch.backends.cuda.enable_cudnn_sdp(False)
    device, dtype = ("cuda", torch.bfloat16) if torch.cuda.is_available() else ("cpu", torch.float32)
    tokenizer: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(FOLDER)  # type: ignore[assignment]
    model = LlamaForCausalLM(configuration(tokenizer))
    if start_from is not None:
        model = LlamaForCausalLM.from_pretrained(start_from, dtype=torch.float32)
    model.to(torch.device(device))  # type: ignore[arg-type]
    small = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    large = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    groups = [{"params": large, "weight_decay": DECAY}, {"params": small, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.95), fused=device == "cuda")
    steps, drawn, rows, seen = 0, 0, 0, 0
    start = saved = logged = time.monotonic()
    while time.monotonic() - start < seconds:
        for tokens, labels in batches(shard, tokenizer.pad_token_id, steps, size, device):
            now = time.monotonic()
            if now - start > seconds:
                break
            for group in optimizer.param_groups:
                group["lr"] = rate((now - start) / seconds, peak)
            loss = loss_of(forward(model, tokens, dtype), labels)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            steps, rows, seen = steps + 1, rows + int((labels != _IGNORED).any(1).sum()), seen + tokens.numel()
            if now - logged > 10:
                logged = now
                print(
                    f"{now - start:.0f} s, loss {loss.item():.4f}, {steps} steps, {rows} rows, {seen} tokens",
                    flush=True,
                )
            if now - saved > 120:
                saved = now
                save(model, tokenizer, folder)
        drawn += 1
        shard = next(source)
    source.close()
    print(f"{time.monotonic() - start:.0f} s, {steps} steps, {rows} rows in {drawn} shards, {seen} tokens", flush=True)
    save(model, tokenizer, folder)


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="the folder that the model is written to")
    parser.add_argument("--seconds", type=float, default=480, help="duration of the training")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--workers", type=int, default=max(1, (os.cpu_count() or 2) - 2), help="processes that generate rows"
    )
    parser.add_argument("--start-from", type=Path, help="the folder of a model to continue from")
    parser.add_argument("--rate", type=float, default=PEAK_RATE, help="the peak learning rate")
    parser.add_argument("--size", type=int, default=BATCH_TOKENS, help="tokens per batch")
    arguments = parser.parse_args()
    train(
        arguments.folder,
        arguments.seconds,
        arguments.seed,
        arguments.workers,
        arguments.size,
        arguments.start_from,
        arguments.rate,
    )


if __name__ == "__main__":
    main()
