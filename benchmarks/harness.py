"""Run one evaluation by lm-evaluation-harness, the peer in `benchmarks.evaluation`, in the harness's environment.

    python -m benchmarks.harness FOLDER ROWS BATCH_SIZE MAX_NEW_TOKENS

FOLDER is the model's folder. ROWS is a file of JSON lines, each with a `prompt` and a `reference`. Prints one line of
JSON.
"""

import json
import sys
import time
from typing import Any

from lm_eval import evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager


def main(folder: str, rows: str, batch_size: int, max_new_tokens: int) -> dict[str, Any]:
    model = HFLM(folder, device="cpu", dtype="float32", batch_size=batch_size)
    task = {
        "task": "pages",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": rows}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "prompt",
        "doc_to_target": "reference",
        "generation_kwargs": {"do_sample": False, "max_gen_toks": max_new_tokens, "until": []},
        "process_results": _exact_match,  # the harness's own exact match does not strip whitespace
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    }
    tasks = TaskManager(include_defaults=False).load([task])
    start = time.perf_counter()
    # not simple_evaluate, which takes additional seconds to describe the machine
    result: Any = evaluate(model, tasks)
    seconds = time.perf_counter() - start
    samples = sorted(result["samples"]["pages"], key=lambda sample: sample["doc_id"])
    return {
        "seconds": seconds,
        "exact_matches": round(result["results"]["pages"]["exact_match,none"] * len(samples)),
        "completions": [sample["filtered_resps"][0] for sample in samples],
    }


def _exact_match(row: dict[str, str], completions: list[str]) -> dict[str, float]:
    return {"exact_match": float(completions[0].strip() == row["reference"].strip())}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
