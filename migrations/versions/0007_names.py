"""Rename tables and indexes to the words of `db.vocabulary`: steps of a fine-tune, overall scores of an evaluation."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TABLES = {"fine_tune_metrics": "fine_tune_steps", "evaluation_figures": "evaluation_scores"}
SCORE_COLUMNS = ["metric", "value", "job_id"]
QUEUED_INDEXES = {
    "ix_jobs_queued": ("ix_jobs_queued_api_key_id", ["api_key_id"]),
    "ix_jobs_queued_published_at": ("ix_jobs_queued_kind_published_at", ["kind", "published_at"]),
}


def upgrade() -> None:
    op.drop_index("ix_evaluation_figures_metric_value_job_id", "evaluation_figures")
    for old, new in TABLES.items():
        _rename(old, new)
    op.create_index("ix_evaluation_scores_metric_value_job_id", "evaluation_scores", SCORE_COLUMNS)
    for old, (new, columns) in QUEUED_INDEXES.items():
        _replace_queued_index(old, new, columns)


def downgrade() -> None:
    for old, (new, columns) in QUEUED_INDEXES.items():
        _replace_queued_index(new, old, columns)
    op.drop_index("ix_evaluation_scores_metric_value_job_id", "evaluation_scores")
    for old, new in TABLES.items():
        _rename(new, old)
    op.create_index("ix_evaluation_figures_metric_value_job_id", "evaluation_figures", SCORE_COLUMNS)


def _rename(old: str, new: str) -> None:
    op.rename_table(old, new)
    if op.get_context().dialect.name == "postgresql":  # SQLite can't rename a constraint, and nothing uses its name
        for constraint in ("pk_{}", "fk_{}_job_id"):
            op.execute(f"ALTER TABLE {new} RENAME CONSTRAINT {constraint.format(old)} TO {constraint.format(new)}")


def _replace_queued_index(old: str, new: str, columns: list[str]) -> None:
    queued = sa.text("status = 'queued'")
    op.drop_index(old, "jobs")
    op.create_index(new, "jobs", columns, postgresql_where=queued, sqlite_where=queued)
