"""Tables named by the vocabulary: steps of a fine-tune, and overall scores of an evaluation.

Revision ID: 0007
Revises: 0006
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TABLES = {"fine_tune_metrics": "fine_tune_steps", "evaluation_figures": "evaluation_scores"}
INDEX_COLUMNS = ["metric", "value", "job_id"]


def upgrade() -> None:
    op.drop_index("ix_evaluation_figures_metric_value_job_id", "evaluation_figures")
    for old, new in TABLES.items():
        _rename(old, new)
    op.create_index("ix_evaluation_scores_metric_value_job_id", "evaluation_scores", INDEX_COLUMNS)


def downgrade() -> None:
    op.drop_index("ix_evaluation_scores_metric_value_job_id", "evaluation_scores")
    for old, new in TABLES.items():
        _rename(new, old)
    op.create_index("ix_evaluation_figures_metric_value_job_id", "evaluation_figures", INDEX_COLUMNS)


def _rename(old: str, new: str) -> None:
    op.rename_table(old, new)
    if op.get_context().dialect.name == "postgresql":  # SQLite can't rename a constraint, and nothing reads its name
        for constraint in ("pk_{}", "fk_{}_job_id"):
            op.execute(f"ALTER TABLE {new} RENAME CONSTRAINT {constraint.format(old)} TO {constraint.format(new)}")
