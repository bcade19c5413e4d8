"""Merges an adapter into its base model. The result is an ordinary model."""

from pathlib import Path

from models.loading import adapters
from models.loading.loader import describe, load
from models.loading.properties import first_end
from models.loading.refs import ModelLoadError, ModelRef
from models.prompts.chat import Prompter
from models.prompts.templates import PromptOptions


def merge(ref: ModelRef, target: Path, prompt: PromptOptions | None = None) -> None:
    """Merge the adapter of `ref` into its base model, and write the model files to the folder `target`.

    With `prompt`, the tokenizer gets the chat template that renders the prompts of these options.

    Works on the CPU in the dtype of the base model's files, and needs memory for one copy of the model. Creates the
    folder if it does not exist. Raises ModelLoadError, also for a base model with quantized weights; ValueError if
    `ref` has no adapter; OSError if the files can't be written.
    """
    if ref.adapter is None:
        raise ValueError(f"{ref.label}: there is no adapter to merge")
    if describe(ref).quantized:
        raise ModelLoadError(
            f"{ref.label}: an adapter can't be merged into quantized weights; use the adapter without merging, or "
            "fine-tune and merge the model that they were quantized from"
        )
    model, tokenizer = load(ref.base, device="cpu", dtype="auto")
    merged = adapters.wrap(model, Path(ref.adapter)).merge_and_unload(safe_merge=True)
    merged.save_pretrained(target)
    if prompt is not None:
        tokenizer.chat_template = Prompter(tokenizer, prompt, first_end(model, tokenizer)).exported()
    tokenizer.save_pretrained(target)
