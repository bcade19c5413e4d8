"""The model card of a result model: `README.md`, in the form that the Hugging Face hub reads."""

from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData
from jinja2 import Environment, PackageLoader, StrictUndefined
from sqlalchemy.orm import Session

from db.queries import datasets, models
from db.session import now
from db.tables.models import Model
from db.vocabulary import DatasetSource, ModelKind, ModelSource
from models.prompts.templates import PAGEWRIGHT_1, build_prompt
from workers.builds.result import ResultModel

FILE = "README.md"
PACKAGES = ("pagewright", "torch", "transformers", "tokenizers", "peft", "optimum", "gptqmodel")


def write_model_card(session: Session, result: ResultModel, folder: Path) -> None:
    """Write the card of a result model into the folder with its files.

    It names models and datasets as they are registered or by their hub ids, and contains no path of this machine.
    """
    ancestors = models.lineage(session, result.parent_id)
    dataset = datasets.get_with_deleted(session, result.dataset_id) if result.dataset_id else None
    parameters = dict(result.parameters or {})
    split, system = parameters.pop("split", None), parameters.pop("system", None)
    environment = Environment(
        loader=PackageLoader("workers.builds", ""),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["table"] = _table
    text = environment.get_template("model_card.md.jinja").render(
        metadata=_metadata(result, ancestors, dataset),
        result=result,
        parent=ancestors[0],
        base=next(model for model in ancestors if model.kind == ModelKind.FULL),
        is_adapter=result.kind == ModelKind.ADAPTER,
        is_quantized="quantization" in parameters,
        ancestors=[{"model": model.name, "what it is": _origin(model), "commit": model.commit} for model in ancestors],
        dataset=dataset,
        dataset_rows=dataset.rows_of(split) if dataset and split else None,
        split=split,
        parameters=[{"parameter": name, "value": value} for name, value in _flat(parameters)],
        system=system,
        example=build_prompt("Create a page.", "heading: Market day") if result.template == PAGEWRIGHT_1 else None,
        versions=[{"package": name, "version": number} for name, number in _versions()],
        date=now(session).date().isoformat(),
    )
    (folder / FILE).write_text(text, encoding="utf-8")


def _metadata(result: ResultModel, ancestors: Sequence[Model], dataset: Any) -> str:
    """Return the front matter. It names a base model and a dataset only if the hub has them, and states no license."""
    root, is_adapter = ancestors[-1], result.kind == ModelKind.ADAPTER
    is_quantized = "quantization" in (result.parameters or {})
    relation = "adapter" if is_adapter else "quantized" if is_quantized and len(ancestors) == 1 else "finetune"
    on_hub = root.source == ModelSource.HUB
    data = ModelCardData(
        base_model=root.location if on_hub else None,
        base_model_relation=relation if on_hub else None,
        datasets=dataset.location if dataset and dataset.source == DatasetSource.HUB else None,
        library_name="peft" if is_adapter else "transformers",
        pipeline_tag="text-generation",
        tags=["pagewright", "html", *(["lora"] if is_adapter else []), *(["gptq"] if is_quantized else [])],
    )
    return data.to_yaml()


def _origin(model: Model) -> str:
    if model.source == ModelSource.HUB:
        return f"`{model.location}` on the Hugging Face hub"
    if model.source == ModelSource.BUNDLED:
        return "bundled with Pagewright"
    if model.source == ModelSource.LOCAL:
        return "a model of the server's models directory"
    if model.kind == ModelKind.ADAPTER:
        return "a LoRA adapter, fine-tuned by Pagewright"
    return "quantized by Pagewright" if "quantization" in (model.parameters or {}) else "merged by Pagewright"


def _flat(parameters: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Yield names such as `training.learning_rate` with the values that are given."""
    for name, value in parameters.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif value is not None:
            yield prefix + name, value


def _versions() -> Iterable[tuple[str, str]]:
    for name in PACKAGES:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            continue


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a Markdown table. Columns without a value in any row are left out."""
    columns = [name for name in rows[0] if any(row[name] is not None for row in rows)]
    lines = [columns, ["---"] * len(columns), *([_cell(row[name]) for name in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return " ".join(text.split()).replace("|", "\\|")
