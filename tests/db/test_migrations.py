"""Migrations create the schema of the tables, can be undone, and keep the version before them working."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect, text

import migrations
from db.tables.base import Table

VERSIONS = Path(migrations.__file__).parent / "versions"


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.sqlite3'}"
        return
    server: str = request.getfixturevalue("postgresql_url")
    administration = create_engine(server, isolation_level="AUTOCOMMIT")
    with administration.connect() as connection:
        connection.execute(text("CREATE DATABASE migrations"))
    yield server.replace("/pagewright?", "/migrations?")
    with administration.connect() as connection:
        connection.execute(text("DROP DATABASE migrations WITH (FORCE)"))


def test_migrations_create_exactly_the_tables_of_the_code(empty_url: str) -> None:
    migrations.upgrade(empty_url)
    engine = create_engine(empty_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Table.metadata) == []
    engine.dispose()


def test_every_migration_can_be_undone_and_repeated(empty_url: str) -> None:
    revisions = [
        script.revision for script in ScriptDirectory.from_config(migrations.config(empty_url)).walk_revisions()
    ]
    for revision in reversed(revisions):
        migrations.upgrade(empty_url, revision)
        migrations.downgrade(empty_url, "-1")
        migrations.upgrade(empty_url, revision)
    migrations.downgrade(empty_url)
    engine = create_engine(empty_url)
    assert inspect(engine).get_table_names() == ["alembic_version"]
    engine.dispose()


def test_migrating_twice_changes_nothing(empty_url: str) -> None:
    migrations.upgrade(empty_url)
    migrations.upgrade(empty_url)


EXPANDING = {
    "create_table", "create_index", "create_foreign_key", "create_unique_constraint", "add_column", "bulk_insert",
}  # fmt: skip
CONTRACTING = {"0007"}
"""Revisions that remove something. Add one only when no version in use needs what it removes. 0007 precedes the first
release."""


@pytest.mark.parametrize("file", sorted(VERSIONS.glob("0*.py")), ids=lambda file: file.stem)
def test_a_migration_only_adds_so_that_the_version_before_it_keeps_working(file: Path) -> None:
    if file.stem.split("_")[0] in CONTRACTING:
        return
    [upgrade] = [
        node
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name == "upgrade"
    ]
    for call in [node for node in ast.walk(upgrade) if isinstance(node, ast.Call)]:
        module, _, operation = ast.unparse(call.func).rpartition(".")
        if module not in ("op", "batch_op"):
            continue
        assert operation in EXPANDING | {"batch_alter_table", "f"}
        if operation == "add_column":
            column = ast.unparse(call.args[-1])
            optional = "nullable=True" in column or "server_default=" in column
            assert optional, f"the version before this migration inserts rows without the column: {column}"
