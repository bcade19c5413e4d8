"""Tiny random models of every causal architecture that the installed transformers knows.

`make("falcon")` returns a model and a tokenizer that fit each other, always the same for the same name. `NAMES` lists
transformers' own mapping and variants of it that compute differently (a window, scaled positions, alibi). An
architecture that can't be made tiny, or that no text alone can run, is in `NOT_MADE` with the reason.

The weights are larger than those of an untrained model, so that greedy text varies, and differs if the attention is
wrong. See `tests/models/test_architectures.py`.
"""

import math
from typing import Any

import torch
from tokenizers import Tokenizer, decoders
from tokenizers.models import BPE
from tokenizers.processors import TemplateProcessing
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, GenerationConfig, PreTrainedTokenizerFast
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

VOCABULARY = 256
CONTEXT = 256
WINDOW = 8
PAD, BOS, EOS, UNKNOWN = range(4)

HIDDEN, HEADS, KV_HEADS, HEAD_DIM, EXPERTS = 64, 4, 2, 16, 4

SIZES: dict[str, Any] = {
    **dict.fromkeys(("vocab_size", "decoder_vocab_size", "vocab_size_per_layer_input", "unpadded_vocab_size"), 256),
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "emb_dim", "embedding_size", "word_embed_proj_dim"), HIDDEN),
    **dict.fromkeys(("attention_hidden_size", "embedding_dim", "lru_width", "backbone_hidden_size"), HIDDEN),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers", "num_blocks"), 2),
    **dict.fromkeys(("encoder_layers", "num_encoder_layers", "num_decoder_layers", "depth"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads", "decoder_attention_heads"), HEADS),
    **dict.fromkeys(("encoder_attention_heads", "num_encoder_attention_heads", "num_decoder_attention_heads"), HEADS),
    **dict.fromkeys(("swa_num_attention_heads", "num_kv_heads_full"), HEADS),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads", "kv_n_heads", "swa_num_key_value_heads"), KV_HEADS),
    **dict.fromkeys(("head_dim", "dim_head", "d_head", "kv_channels", "swa_head_dim", "attention_head_size"), HEAD_DIM),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "decoder_ffn_dim", "encoder_ffn_dim", "dim_ff", "d_inner"), 96),
    **dict.fromkeys(("feed_forward_size", "dff", "ffn_hidden_size", "intermediate_size_mlp"), 96),
    **dict.fromkeys(("dense_intermediate_size", "shared_intermediate_size"), 96),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size", "expert_ffn_hidden_size"), 32),
    **dict.fromkeys(("moe_shared_expert_intermediate_size", "shared_experts_intermediate_size"), 32),
    **dict.fromkeys(("num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts"), EXPERTS),
    **dict.fromkeys(("num_experts_per_tok", "num_experts_per_token", "moe_k", "moe_topk", "moe_top_k"), 2),
    **dict.fromkeys(("n_group", "topk_group", "num_expert_group"), 1),
    **dict.fromkeys(("first_k_dense_replace",), 1),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "context_length"), CONTEXT),
    **dict.fromkeys(("model_max_length",), CONTEXT),
    **dict.fromkeys(("sliding_window", "window_size", "attention_window_size", "sliding_window_size"), WINDOW),
    **dict.fromkeys(("local_attention", "local_attention_window_len", "keep_window_size"), WINDOW),
    "attention_chunk_size": WINDOW,
    "rotary_dim": 8,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 16,
    "qk_head_dim": 24,
    "v_head_dim": 16,
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "index_head_dim": 16,
    "index_n_heads": 2,
    "index_topk": 64,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "mamba_d_state": 8,
    "mamba_d_head": 16,
    "mamba_n_heads": 8,
    "mamba_num_heads": 8,
    "mamba_head_dim": 16,
    "n_mamba_heads": 2,
    "mamba_dt_rank": 8,
    "mamba_chunk_size": 16,
    "chunk_size": 16,
    "state_size": 8,
    "ssm_state_size": 8,
    "time_step_rank": 8,
    "block_size": 16,
    "hidden_size_per_layer_input": 16,
    "laurel_rank": 8,
    "adapter_rank": 8,
}
"""Fields of configurations by their names, and what they are set to where they have a number."""

PATTERNS = ("layer_types", "layers_block_type", "mlp_layer_types", "block_types")
"""Lists with the type of each layer: one layer of each type is kept."""

SPECIAL = {"pad_token_id": PAD, "bos_token_id": BOS, "eos_token_id": EOS}

_QWEN4_INDEXER = {
    "indexer_n_heads": 2,
    "indexer_kv_heads": 1,
    "indexer_head_dim": HEAD_DIM,
    "indexer_budget": 64,
    "indexer_compress_ratio": 4,
}

OVERRIDES: dict[str, dict[str, Any]] = {
    "bamba": {"attn_layer_indices": [1], "mamba_n_heads": 8},
    "cohere_compass_text": {
        "layer_types": ["sliding_attention", "full_attention"],
        "num_hidden_layers": 2,
        "rope_parameters": {
            kind: {"rope_type": "default", "rope_theta": 10000.0} for kind in ("sliding_attention", "full_attention")
        },
    },
    "dbrx": {"attn_config": {"kv_n_heads": 2, "rope_theta": 10000.0, "clip_qkv": 8.0}},
    "deepseek_v2": {"num_experts_per_tok": 2},
    "dots1": {
        "num_experts_per_tok": 2,
        "n_routed_experts": EXPERTS,
        "n_shared_experts": 1,
        "moe_intermediate_size": 32,
    },
    "dots3_note_text": {"num_key_value_heads": HEADS},
    "falcon_h1": {"mamba_d_ssm": 128},
    "gemma2": {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 5.0},  # so low that they matter
    "gemma3n_text": {"num_kv_shared_layers": 0},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "granitemoehybrid": {
        "layer_types": ["linear_attention", "full_attention"],
        "layers_block_type": ["linear_attention", "full_attention"],
        "num_hidden_layers": 2,
    },
    "hunyuan_v1_dense": {"head_dim": HEAD_DIM},
    "hunyuan_v1_moe": {"head_dim": HEAD_DIM},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "mamba2": {"num_heads": 8, "head_dim": 16},
    "ministral": {"head_dim": HEAD_DIM},
    "nemotron": {"head_dim": HEAD_DIM, "num_key_value_heads": KV_HEADS},
    "qwen4_exp_text": _QWEN4_INDEXER,
    "qwen4_exp": _QWEN4_INDEXER,
    "recurrent_gemma": {"num_hidden_layers": 3},
    "reformer": {"axial_pos_embds": False, "attn_layers": ["local", "lsh"], "num_hidden_layers": 2},
    "roc_bert": {"pronunciation_vocab_size": 8, "shape_vocab_size": 8},
    "xlstm": {"qk_dim_factor": 1.0},
    "xmod": {"languages": ["en_XX"], "default_language": "en_XX"},
    "zamba": {"attention_hidden_size": 2 * HIDDEN, "attention_head_dim": 2 * HIDDEN // HEADS},
    "zamba2": {"attention_hidden_size": 2 * HIDDEN, "attention_head_dim": 2 * HIDDEN // HEADS},
    "zaya": {"num_experts_per_tok": 1},
}
"""What else an architecture needs to be small and whole."""

_YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 64}
_LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "original_max_position_embeddings": 32,
    "short_factor": [1.0] * (HEAD_DIM // 2),
    "long_factor": [1.0 + place for place in range(HEAD_DIM // 2)],
}

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "falcon-alibi": ("falcon", {"alibi": True}),
    "falcon-new": ("falcon", {"new_decoder_architecture": True, "num_ln_in_parallel_attn": 2}),
    "gpt_bigcode-multi-head": ("gpt_bigcode", {"multi_query": False}),
    "llama-dynamic": ("llama", {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}}),
    "llama-linear": ("llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}}),
    "llama-tied": ("llama", {"tie_word_embeddings": True}),
    "llama-yarn": ("llama", {"rope_parameters": _YARN}),
    "mistral-full": ("mistral", {"sliding_window": None}),
    "phi3-longrope": (
        "phi3",
        {"rope_parameters": _LONGROPE, "original_max_position_embeddings": 32, "sliding_window": None},
    ),
    "phi3-window": ("phi3", {"sliding_window": WINDOW}),
    "qwen2-window": ("qwen2", {"use_sliding_window": True, "max_window_layers": 1, "layer_types": None}),
    "starcoder2-window": ("starcoder2", {"sliding_window": WINDOW}),
}
"""Configurations that compute differently from the architecture's own: by name, the architecture and its fields."""

COMMON = (
    "llama", "qwen2", "qwen3", "phi3", "gpt2", "opt", "gpt_neox", "falcon", "bloom", "mistral", "gemma2", "gemma3_text",
    "mixtral", "phi3-longrope", "mamba",
)  # fmt: skip
"""What people bring, and one of each kind: the normal tests build these."""

_IMAGES_OR_AUDIO = "it generates from images or audio, which Pagewright does not take"
NOT_MADE: dict[str, str] = {
    "dots3_note": "its encoders of images and sound fix each other's sizes; its language model is dots3_note_text",
    "blt": "it reads bytes in patches, and transformers' own `generate` does not run it",
    "gemma4_assistant": "it drafts for another model and runs on that model's cache",
    "gemma4_unified_assistant": "it drafts for another model and runs on that model's cache",
    "gemma3n": "its image encoder needs the package timm",
    "musicgen": _IMAGES_OR_AUDIO,
    "musicgen_melody": _IMAGES_OR_AUDIO,
}
"""Architectures of transformers' mapping that no tiny model is made of, and why."""


def tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer of 256 tokens: four special ones, ASCII, and letters. Each token is one character."""
    characters = ["\n", *map(chr, range(32, 127)), *map(chr, range(0xC0, 0x160))][: VOCABULARY - 4]
    words = ["<pad>", "<s>", "</s>", "<unk>", *characters]
    backend = Tokenizer(BPE({word: id for id, word in enumerate(words)}, [], unk_token="<unk>"))
    backend.decoder = decoders.Fuse()
    backend.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", BOS)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def shrunk(config: Any) -> dict[str, Any]:
    """Return the arguments that make a small configuration of the same class."""
    changes: dict[str, Any] = {}
    fields = config.to_dict()
    for name, value in fields.items():
        if name in SIZES and isinstance(value, int | list) and not isinstance(value, bool):
            changes[name] = SIZES[name]
        elif name in SPECIAL:
            changes[name] = SPECIAL[name]
        elif name.endswith("_token_id") and isinstance(value, int):
            changes[name] = VOCABULARY - 1
    for name in PATTERNS:
        types = getattr(config, name, None)
        attribute = getattr(config, "attribute_map", {}).get(name, name)
        if types and not isinstance(getattr(type(config), attribute, None), property):
            changes[name] = list(dict.fromkeys(types))
    length = max([2, *(len(changes[name]) for name in PATTERNS if name in changes)])
    for name in PATTERNS:
        if name in changes:
            types = changes[name]
            changes[name] = (types * length)[:length] if len(types) == 1 else types + types[-1:] * (length - len(types))
            changes["num_hidden_layers"] = length
    for name in getattr(config, "sub_configs", {}):
        part = getattr(config, name, None)
        if part is not None and not isinstance(part, dict):
            changes[name] = shrunk(part)
    if "kv_lora_rank" in fields:  # multi-head latent attention
        changes["num_key_value_heads"] = HEADS
        if "head_dim" in changes:
            changes["head_dim"] = changes["qk_rope_head_dim"]  # the rotary part of a head
    if "tie_word_embeddings" in fields:
        changes["tie_word_embeddings"] = False  # tied, a random model repeats its last token
    if "is_decoder" in fields:
        changes["is_decoder"] = True
    if "use_cache" in fields:
        changes["use_cache"] = True
    return changes | OVERRIDES.get(config.model_type, {})


def make_config(name: str) -> Any:
    """Return the tiny configuration of an architecture or a variant."""
    model_type, variant = VARIANTS.get(name, (name, {}))
    config_class = CONFIG_MAPPING[model_type]
    changes = shrunk(config_class()) | variant
    return config_class(**changes)


def make(name: str, seed: int = 0) -> tuple[Any, PreTrainedTokenizerFast]:
    """Return a random model in evaluation mode, in float32, and its tokenizer."""
    config = make_config(name)
    torch.manual_seed(seed)
    model: Any = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    enlarge(model)
    model.generation_config = GenerationConfig(pad_token_id=PAD, bos_token_id=BOS, eos_token_id=EOS)
    return model.eval(), tokenizer()


@torch.no_grad()
def enlarge(model: Any) -> None:
    """Scale the weight matrices to a standard deviation of 1 / sqrt(inputs), as after training."""
    for name, parameter in model.named_parameters():
        spread = float(parameter.std()) if parameter.numel() > 1 else 0.0
        if parameter.ndim < 2 or not 0.001 < spread < 0.1:
            continue
        fan_in = parameter.shape[-1] if parameter.ndim == 2 else min(parameter.shape[1:])
        parameter.mul_((0.2 if "embeddings" in name or "embed_tokens" in name else 2.0 / math.sqrt(fan_in)) / spread)

    head = model.get_output_embeddings()
    if head is not None and not getattr(model.config, "tie_word_embeddings", False):
        head.weight[: UNKNOWN + 1] = 0  # special tokens don't show in texts, and an early end would hide what follows


NAMES = [*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, *VARIANTS]
