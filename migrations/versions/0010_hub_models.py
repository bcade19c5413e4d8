"""Add the commit of a hub model, what a model's files are, and pulls."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("models", schema=None) as batch_op:
        batch_op.add_column(sa.Column("commit", sa.String(length=40), nullable=True))
        batch_op.add_column(sa.Column("files", sa.JSON(none_as_null=True), nullable=True))
    op.create_table(
        "pulls",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("model_id", sa.Uuid(), nullable=False),
        sa.Column("bytes_done", sa.BigInteger(), nullable=True),
        sa.Column("bytes_total", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_pulls_job_id_jobs")),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_pulls_model_id_models")),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_pulls")),
    )
    op.create_index(op.f("ix_pulls_model_id"), "pulls", ["model_id"])


def downgrade() -> None:
    op.drop_table("pulls")
    with op.batch_alter_table("models", schema=None) as batch_op:
        for column in ("files", "commit"):
            batch_op.drop_column(column)
