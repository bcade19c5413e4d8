"""Triggers that write down what happens to each row, and what they then tell: the database's own word, not ours."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text

from db.session import Database
from db.vocabulary import JobStatus

_SETUP = """
CREATE TABLE audit_statuses (
    at timestamptz NOT NULL DEFAULT clock_timestamp(), job_id uuid NOT NULL, became text NOT NULL, was text NOT NULL
);
CREATE TABLE audit_completions (job_id uuid NOT NULL);
CREATE TABLE audit_forgotten_steps (job_id uuid NOT NULL, step int NOT NULL, transaction xid8 NOT NULL);

CREATE FUNCTION audit_status() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO audit_statuses (job_id, was, became) VALUES (NEW.id, OLD.status, NEW.status);
    RETURN NULL;
END $$;
CREATE FUNCTION audit_completion() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO audit_completions VALUES (NEW.job_id);
    RETURN NULL;
END $$;
CREATE FUNCTION audit_forgotten_step() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO audit_forgotten_steps VALUES (OLD.job_id, OLD.step, pg_current_xact_id());
    RETURN NULL;
END $$;

CREATE TRIGGER audit_status AFTER UPDATE OF status ON jobs FOR EACH ROW
    WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION audit_status();
CREATE TRIGGER audit_completion AFTER UPDATE OF completion ON generations FOR EACH ROW
    EXECUTE FUNCTION audit_completion();
CREATE TRIGGER audit_forgotten_step AFTER DELETE ON fine_tune_steps FOR EACH ROW
    EXECUTE FUNCTION audit_forgotten_step();
"""

_FINAL = ", ".join(f"'{status.value}'" for status in JobStatus if status.final)


@dataclass(frozen=True)
class Audit:
    ends: Mapping[uuid.UUID, int]
    """How often each job came to an end, or was changed after one."""
    completions: Mapping[uuid.UUID, int]
    """How often each generation's completion was written."""
    steps_lost: Mapping[uuid.UUID, int]
    """The most steps that one attempt at a fine-tune had to do again."""
    finished_at: list[datetime]
    """When jobs came to their end, in order."""


def install(database: Database) -> None:
    with database.write() as session:
        session.execute(text(_SETUP))


def read(database: Database) -> Audit:
    with database.read() as session:

        def counted(statement: str) -> dict[uuid.UUID, int]:
            return {row[0]: row[1] for row in session.execute(text(statement))}

        ends = f"SELECT job_id, count(*) FROM audit_statuses WHERE became IN ({_FINAL}) OR was IN ({_FINAL}) GROUP BY 1"
        finished = f"SELECT at FROM audit_statuses WHERE became IN ({_FINAL}) ORDER BY at"
        lost = """
            SELECT job_id, max(steps) FROM (
                SELECT job_id, count(*) AS steps FROM audit_forgotten_steps GROUP BY job_id, transaction
            ) AS attempts GROUP BY 1"""
        return Audit(
            ends=counted(ends),
            completions=counted("SELECT job_id, count(*) FROM audit_completions GROUP BY 1"),
            steps_lost=counted(lost),
            finished_at=list(session.scalars(text(finished))),
        )
