"""Train the starter model on the triples: `python -m starter_model.train OUT --seconds 480`.

Other processes draw the triples while the model trains. It sees one a second time only where they fall behind.
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

from models.prompts.template import build_prompt
from models.starter import FOLDER
from starter_model.tokenizer import EOS
from starter_model.triples import training_stream

LONGEST = 2048
WIDTHS = (0, 128, 192, 256, 320, 384, 448, 512, 640, 768, 1024, 1280, 1536, LONGEST)
BATCH_TOKENS = 65_536
SHARD_TRIPLES = 24_576
SHARDS_KEPT = 200
PEAK_RATE, WARM_UP, DECAY = 2e-3, 0.02, 0.1
"""Of a model that begins from nothing; one that goes on learning wants a tenth of the rate."""
_IGNORED = -100


@dataclass(frozen=True)
class Shard:
    """Examples end to end: their tokens, and the length of each with and without its page."""

    tokens: np.ndarray
    lengths: np.ndarray
    prompts: np.ndarray


def configuration(tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    """The starter model's architecture: every width is a multiple of 64, as GPTQ's groups want it."""
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


def encoded(tokenizer: Tokenizer, seed: int, triples: int) -> Shard:
    """That many training triples of the stream of that seed as tokens, without the few that are too long."""
    drawn = list(islice(training_stream(seed), triples))
    prompts = [one.ids for one in tokenizer.encode_batch([build_prompt(one.instruction, one.input) for one in drawn])]
    pages = [one.ids for one in tokenizer.encode_batch([one.output for one in drawn])]
    end = tokenizer.token_to_id(EOS)
    pairs = [(prompt, page) for prompt, page in zip(prompts, pages, strict=True) if len(prompt) + len(page) < LONGEST]
    return Shard(
        np.concatenate([np.array([*prompt, *page, end], dtype=np.uint16) for prompt, page in pairs]),
        np.array([len(prompt) + len(page) + 1 for prompt, page in pairs]),
        np.array([len(prompt) for prompt, _ in pairs]),
    )


def batches(shard: Shard, pad: int, seed: int, size: int, device: str) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Tokens and labels of batches of examples of like length, `size` tokens each, in random order.

    Padding stands on the right and causal attention never sees it, so no mask is needed. Prompts are not labelled.
    A batch that is not full ends in rows of padding: with few shapes the GPU's memory is soon laid out for good.
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
    """The logits that `model` gives right-padded tokens, computed in `dtype` with fewer and larger operations."""
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
    """The mean cross-entropy of the pages' tokens."""
    return cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=_IGNORED)


def rate(progress: float, peak: float = PEAK_RATE) -> float:
    """The learning rate at a share of the training: a short rise, then a cosine down to nothing."""
    if progress < WARM_UP:
        return peak * progress / WARM_UP
    return peak * 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - WARM_UP) / (1 - WARM_UP))))


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the model, rounded to bfloat16, and its tokenizer: whole or not at all, file by file."""
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
    return encoded(Tokenizer.from_file(str(FOLDER / "tokenizer.json")), seed, SHARD_TRIPLES)


def shards(seed: int, workers: int) -> Generator[Shard, None, None]:
    """Shards without end, drawn by other processes. While none is ready an earlier one comes again."""
    # Forked before CUDA starts: a spawned process would import everything again, and that takes longer than a shard.
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        numbers = iter(range(seed * 1_000_000, (seed + 1) * 1_000_000))
        # Bounded look-ahead: results that nobody has asked for yet pile up in memory.
        ahead = [pool.apply_async(_shard, (number,)) for number in islice(numbers, 2 * workers)]
        kept: list[Shard] = []
        r = Random(seed)
        while True:
            ready = next((one for one in ahead if one.ready()), None)
            if ready is None and len(kept) >= workers:
                yield r.choice(kept)
                continue
            ready = ready or ahead[0]
            ahead.remove(ready)
            ahead.append(pool.apply_async(_shard, (next(numbers),)))
            kept = [*kept[-SHARDS_KEPT:], ready.get()]
            yield kept[-1]


def train(
    folder: Path, seconds: float, seed: int, workers: int, size: int, begin: Path | None = None, peak: float = PEAK_RATE
) -> None:
    """Train for so many seconds, on a GPU if there is one, and save into the folder as it goes and at the end.

    `begin` is the folder of a model that goes on learning; without it a new one begins.
    """
    source = shards(seed, workers)
    shard = next(source)
    torch.manual_seed(seed)
    # cuDNN's attention plans every shape anew, which takes longer than the step.
    torch.backends.cuda.enable_cudnn_sdp(False)
    device, dtype = ("cuda", torch.bfloat16) if torch.cuda.is_available() else ("cpu", torch.float32)
    tokenizer: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(FOLDER)  # type: ignore[assignment]
    model = LlamaForCausalLM(configuration(tokenizer))
    if begin is not None:
        model = LlamaForCausalLM.from_pretrained(begin, dtype=torch.float32)
    model.to(torch.device(device))  # type: ignore[arg-type]
    small = [one for one in model.parameters() if one.ndim < 2]
    large = [one for one in model.parameters() if one.ndim >= 2]
    groups = [{"params": large, "weight_decay": DECAY}, {"params": small, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.95), fused=device == "cuda")
    steps, drawn, rows, seen = 0, 0, 0, 0
    start = saved = told = time.monotonic()
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
            if now - told > 10:
                told = now
                print(
                    f"{now - start:.0f} s, loss {loss.item():.4f}, {steps} steps, {rows} triples, {seen} tokens",
                    flush=True,
                )
            if now - saved > 120:
                saved = now
                save(model, tokenizer, folder)
        drawn += 1
        shard = next(source)
    source.close()
    print(
        f"{time.monotonic() - start:.0f} s, {steps} steps, {rows} triples in {drawn} shards, {seen} tokens", flush=True
    )
    save(model, tokenizer, folder)


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the model goes")
    parser.add_argument("--seconds", type=float, default=480, help="how long to train")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--workers", type=int, default=max(1, (os.cpu_count() or 2) - 2), help="processes that draw triples"
    )
    parser.add_argument("--begin", type=Path, help="a folder with a model that goes on learning")
    parser.add_argument("--rate", type=float, default=PEAK_RATE, help="the peak learning rate")
    parser.add_argument("--size", type=int, default=BATCH_TOKENS, help="tokens of a batch")
    given = parser.parse_args()
    train(given.folder, given.seconds, given.seed, given.workers, given.size, given.begin, given.rate)


if __name__ == "__main__":
    main()
