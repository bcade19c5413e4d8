"""Properties of a model that its configuration states."""

from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


def context_length(config: PreTrainedConfig) -> int:
    """Return the largest number of tokens, prompt text and completion together, that the model has positions for."""
    return int(config.get_text_config().max_position_embeddings)


def eos_token_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the ids of the tokens that end a completion.

    They are those of the model's generation configuration; if it has none, the tokenizer's. The list can be empty.
    """
    ids = model.generation_config.eos_token_id if model.generation_config else None
    if ids is None:
        ids = tokenizer.eos_token_id
    if ids is None:
        return []
    return list(ids) if isinstance(ids, list | tuple) else [int(ids)]
