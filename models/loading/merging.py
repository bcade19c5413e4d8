"""Merging an adapter into its base model: one ordinary model comes out."""

from pathlib import Path

from models.loading import adapters
from models.loading.loader import describe, load
from models.loading.refs import ModelLoadError, ModelRef


def merge(ref: ModelRef, target: Path) -> None:
    """Write the model with its adapter merged in to the folder `target`, made if need be, for plain transformers.

    Works on the CPU, in the dtype that the base is stored in, and takes the memory of the base once. Raises
    ModelLoadError, also for a base whose weights are quantized, and OSError when the files can't be written.
    """
    if ref.adapter is None:
        raise ValueError(f"{ref.location}: there is no adapter to merge")
    if describe(ref).quantized:
        raise ModelLoadError(
            f"{ref.location}: quantized weights can't take an adapter in; serve the adapter as it is, or fine-tune and "
            "merge the model that they were quantized from"
        )
    model, tokenizer = load(ref.base, device="cpu", dtype="auto")
    merged = adapters.wrap(model, Path(ref.adapter)).merge_and_unload(safe_merge=True)
    merged.save_pretrained(target)
    tokenizer.save_pretrained(target)
