"""Properties of a model that its configuration states."""

from itertools import chain

from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


def context_length(config: PreTrainedConfig) -> int:
    """Return the largest number of tokens, prompt text and completion together, that the model has positions for."""
    return int(config.get_text_config().max_position_embeddings)


def eos_token_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the ids of the tokens that end a completion, in this order: those that the model's generation
    configuration names, its configuration, and its tokenizer. The list can be empty.

    Some models name another in each: the end of a turn, and the end of a text.
    """
    places = (model.generation_config, model.config, model.config.get_text_config(), tokenizer)
    named = [getattr(place, "eos_token_id", None) for place in places]
    ids = chain.from_iterable(each if isinstance(each, list | tuple) else [each] for each in named)
    return list(dict.fromkeys(int(id) for id in ids if id is not None and id >= 0))
