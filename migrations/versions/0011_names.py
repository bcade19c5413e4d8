"""Add the names of evaluations, and the indexes by which jobs are found by name and by model."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0009"
branch_labels = None
depends_on = None

MAKE_MODELS = ("fine_tunes", "merges", "quantizations")


def upgrade() -> None:
    with op.batch_alter_table("evaluations", schema=None) as batch_op:
        batch_op.add_column(sa.Column("name", sa.String(length=200), nullable=True))
    op.create_index("ix_evaluations_name", "evaluations", ["name"])
    for table in MAKE_MODELS:
        op.create_index(f"ix_{table}_name", table, ["name"])
        op.create_index(f"ix_{table}_model_id", table, ["model_id"])
    op.create_index("ix_generations_model_id_job_id", "generations", ["model_id", "job_id"])


def downgrade() -> None:
    op.drop_index("ix_generations_model_id_job_id", "generations")
    for table in MAKE_MODELS:
        op.drop_index(f"ix_{table}_model_id", table)
        op.drop_index(f"ix_{table}_name", table)
    op.drop_index("ix_evaluations_name", "evaluations")
    with op.batch_alter_table("evaluations", schema=None) as batch_op:
        batch_op.drop_column("name")
