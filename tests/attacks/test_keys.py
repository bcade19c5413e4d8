"""Guessing a key: nothing that a guess causes depends on how much of it is right."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event

from db.queries import api_keys
from db.session import Database
from db.tables.api_keys import ApiKey
from db.vocabulary import Role

HASH_LENGTH = 64


def test_a_guess_meets_the_database_as_a_hash_alone(
    database: Database, make_key: Callable[[Role], tuple[ApiKey, str]]
) -> None:
    key, secret = make_key(Role.USER)
    guesses = [
        secret,
        secret[:-1],
        secret[:-1] + "!",
        secret[:8] + "x" * 38,
        secret + "x",
        secret.upper(),
        "",
        "é\0%' OR 1",
    ]
    asked: list[tuple[str, Any]] = []

    def record(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        if statement != "BEGIN":
            asked.append((statement, parameters))

    event.listen(database.engine, "before_cursor_execute", record)
    with database.read() as session:
        found = [api_keys.authenticate(session, guess) for guess in guesses]
    event.remove(database.engine, "before_cursor_execute", record)
    assert [known and known.id for known in found] == [key.id] + [None] * (len(guesses) - 1)
    statements, parameters = zip(*asked, strict=True)
    assert len(statements) == len(guesses)
    assert len(set(statements)) == 1
    values = [list(given.values() if isinstance(given, dict) else given) for given in parameters]
    assert all(len(value) == 1 and len(value[0]) == HASH_LENGTH for value in values)
    hashes = [value[0] for value in values]
    # no two begin alike, however alike the guesses are: what the index compares, a guesser can't steer
    assert len({hash[:8] for hash in hashes}) == len(guesses)


@pytest.mark.parametrize("role", list(Role))
def test_a_key_is_too_long_to_guess(make_key: Callable[[Role], tuple[ApiKey, str]], role: Role) -> None:
    key, secret = make_key(role)
    shown = len(key.prefix)
    assert secret.startswith(key.prefix)
    assert (len(secret) - shown) * 6 >= 200, "bits that nobody is shown"
