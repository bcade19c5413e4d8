"""Everyday tasks: the format of their files, and the pages that they give."""

from pathlib import Path
from random import Random

import pytest

from models.scoring.html import parse_errors
from starter_model.editing import editing
from starter_model.everyday import FOLDER, check, everyday, read_tasks, tasks, written

TASK = """{# One task. #}
{% set wide = chance(0.5) %}

=== greeting x2
{% set name = pick("Ada", "Ben") %}
--- ask
Greet {{ name }}{{ " widely" if wide }}.
Say hello to {{ name }}.
--- input
name: {{ name }}
--- title
{{ name }}
--- style
p {
  width: {{ "100%" if wide else "50%" }};
}
--- body
<p>Hello, {{ name }}!</p>
--- script
alert("{{ name }}");
"""


def file_of(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "some.jinja"
    file.write_text(text)
    return file


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.jinja")), ids=lambda file: file.stem)
def test_every_task_gives_valid_pages_in_several_wordings(file: Path) -> None:
    assert check(file, draws=8) == []


def test_a_page_is_built_of_its_parts(tmp_path: Path) -> None:
    [task] = read_tasks(file_of(tmp_path, TASK))
    assert (task.name, task.weight) == ("greeting", 2.0)
    for seed in range(20):
        draft = written(task, Random(seed))
        name = draft.input.removeprefix("name: ")
        assert name in draft.instruction
        parts = ("<!DOCTYPE html>", f"<title>{name}</title>", "<style>", f"<p>Hello, {name}!</p>", f'alert("{name}");')
        assert [part for part in parts if part not in draft.page] == []
        assert parse_errors(draft.page) == []


def test_the_same_seed_gives_the_same_page() -> None:
    assert [everyday(Random(seed)) for seed in range(50)] == [everyday(Random(seed)) for seed in range(50)]


def test_a_fragment_is_not_wrapped_in_a_page(tmp_path: Path) -> None:
    [task] = read_tasks(file_of(tmp_path, "=== one\n--- ask\nA paragraph.\n--- fragment\n<p>One</p>\n"))
    assert written(task, Random(1)).page == "<!DOCTYPE html>\n<p>One</p>"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("=== one\n--- ask\nA page.\n", "needs `ask`, and either `fragment` or both `title` and `body`"),
        ("=== one\n--- ask\nA page.\n--- title\nOne\n", "needs `ask`"),
        ("=== one\n--- fragment\n<p>One</p>\n", "needs `ask`"),
        ("=== one\n--- ask\nA page.\n--- fragmnt\n<p>One</p>\n", "part 'fragmnt' is unknown"),
        ("=== one\n--- ask\nA.\n--- ask\nB.\n--- fragment\n<p>One</p>\n", "part 'ask' is unknown or repeated"),
    ],
)
def test_the_error_names_an_incomplete_task(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"some.jinja: one: .*{message}"):
        list(read_tasks(file_of(tmp_path, text)))


def test_invalid_pages_and_too_few_wordings_are_reported(tmp_path: Path) -> None:
    faults = check(file_of(tmp_path, "=== one\n--- ask\nA page.\n--- fragment\n<p>One</div>\n"))
    assert faults == ["one: end-tag-too-early", "one: too few wordings"]


def test_there_are_at_least_500_tasks() -> None:
    assert len(tasks()) >= 500


def test_an_edited_page_is_valid_and_keeps_most_lines() -> None:
    for seed in range(300):
        draft = editing(Random(seed))
        assert parse_errors(draft.page) == [], draft.page
        lines = {line.strip() for line in draft.page.splitlines()}
        kept = [line for line in draft.input.splitlines() if line.strip() in lines]
        assert len(draft.input.splitlines()) == 1 or len(kept) >= 0.4 * len(draft.input.splitlines()), draft
