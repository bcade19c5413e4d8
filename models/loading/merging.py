"""Merges an adapter into its base model. The result is an ordinary model."""

from pathlib import Path

from models.loading import adapters
from models.loading.loader import describe, load
from models.loading.refs import ModelLoadError, ModelRef


def merge(ref: ModelRef, target: Path) -> None:
    """Merge the adapter of `ref` into its base model, and write the model files to the folder `target`.

    Works on the CPU in the dtype of the base model's files, and needs memory for one copy of the model. Creates the
    folder if it does not exist. Raises ModelLoadError, also for a base model with quantized weights; ValueError if
    `ref` has no adapter; OSError if the files can't be written.
    """
    if ref.adapter is None:
        raise ValueError(f"{ref.location}: there is no adapter to merge")
    if describe(ref).quantized:
        raise ModelLoadError(
            f"{ref.location}: an adapter can't be merged into quantized weights; serve the adapter without merging, or "
            "fine-tune and merge the model that they were quantized from"
        )
    model, tokenizer = load(ref.base, device="cpu", dtype="auto")
    merged = adapters.wrap(model, Path(ref.adapter)).merge_and_unload(safe_merge=True)
    merged.save_pretrained(target)
    tokenizer.save_pretrained(target)
