"""The vocabulary of docs/architecture.md holds in code and docs: a word that it replaced does not come back."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAMES_OLD_WORDS = {Path(__file__).relative_to(ROOT), Path("CHANGELOG.md")}

OLD_WORDS = {
    "asked": "request, or the name of the thing",
    "figure": "score",
    "figures": "overall_scores",
    "made": "result, or the name of the thing",
    "triple": "row",
    "triples": "rows",
}
"""Words in the names of variables, parameters, attributes, functions, classes and modules."""

OLD_PHRASES = {
    r"\b(adapter|quantized)_id\b": "result_model_id",
    r"\banew\b": "again",
    r"\bat the least\b": "at least",
    r"\bso many of\b": "the number of",
    r"\bis none of\b": "is not one of",
    r"\btold by absence\b": "a plain sentence",
    r"\btraining (worker|queue)s?\b": "build worker, builds queue",
    r"\btriples?\b": "row",
    r"\bexposition\b": "telemetry",
}


def tracked(*patterns: str) -> list[Path]:
    names = subprocess.check_output(["git", "ls-files", *patterns], cwd=ROOT, text=True).split()
    return [Path(name) for name in names if Path(name) not in NAMES_OLD_WORDS and (ROOT / name).exists()]


def names_in(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute):
            yield node.end_lineno or 0, node.attr
        elif isinstance(node, ast.arg | ast.keyword) and node.arg:
            yield node.lineno, node.arg
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name


def old_words_in(name: str) -> list[str]:
    words = re.findall(r"[A-Z]?[a-z]+", name)
    # "made" is a name that says nothing; in a longer name it is a verb
    return [word for word in words if word.lower() in OLD_WORDS and (word != "made" or len(words) == 1)]


def test_no_name_in_the_code_has_a_word_that_was_replaced() -> None:
    faults = []
    for file in tracked("*.py"):
        names = [(0, file.stem), *names_in(ast.parse((ROOT / file).read_text()))]
        for line, name in names:
            faults += [f"{file}:{line}: {name}: write {OLD_WORDS[word.lower()]}" for word in old_words_in(name)]
    assert not faults, "\n".join(faults)


def test_no_text_uses_a_phrase_that_was_replaced() -> None:
    faults = []
    for file in tracked("*.py", "*.md", "*.yml", "*.toml", "openapi.json"):
        for number, line in enumerate((ROOT / file).read_text().splitlines(), start=1):
            for phrase, instead in OLD_PHRASES.items():
                if found := re.search(phrase, line, re.IGNORECASE):
                    faults.append(f"{file}:{number}: {found.group()}: write {instead}")
    assert not faults, "\n".join(faults)
