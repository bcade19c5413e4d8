"""Create the tables for evaluations."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "evaluations",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("model_id", sa.Uuid(), nullable=True),
        sa.Column("model_name", sa.String(length=200), nullable=False),
        sa.Column("dataset_id", sa.Uuid(), nullable=False),
        sa.Column("split", sa.String(length=16), nullable=False),
        sa.Column("limit", sa.Integer(), nullable=True),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("rows_done", sa.Integer(), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("max_new_tokens", sa.Integer(), nullable=True),
        sa.Column("temperature", sa.Double(), nullable=False),
        sa.Column("top_p", sa.Double(), nullable=False),
        sa.Column("top_k", sa.Integer(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=True),
        sa.Column("stop", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=op.f("fk_evaluations_dataset_id")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_evaluations_job_id")),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_evaluations_model_id")),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_evaluations")),
    )
    with op.batch_alter_table("evaluations", schema=None) as batch_op:
        batch_op.create_index("ix_evaluations_model_name_job_id", ["model_name", "job_id"], unique=False)
        batch_op.create_index("ix_evaluations_dataset_id_job_id", ["dataset_id", "job_id"], unique=False)

    op.create_table(
        "predictions",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("row", sa.Integer(), nullable=False),
        sa.Column("prompt", sa.Text(), nullable=False),
        sa.Column("input", sa.Text(), nullable=False),
        sa.Column("completion", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("finish_reason", sa.String(length=16), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("prompt_tokens", sa.Integer(), nullable=True),
        sa.Column("completion_tokens", sa.Integer(), nullable=True),
        sa.Column("latency_seconds", sa.Double(), nullable=False),
        sa.Column("exact_match", sa.Double(), nullable=True),
        sa.Column("normalized_exact_match", sa.Double(), nullable=True),
        sa.Column("chrf", sa.Double(), nullable=True),
        sa.Column("chrf_statistics", sa.JSON(), nullable=True),
        sa.Column("validity", sa.Double(), nullable=True),
        sa.Column("parse_errors", sa.Integer(), nullable=True),
        sa.Column("structural_similarity", sa.Double(), nullable=True),
        sa.Column("text_similarity", sa.Double(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_predictions_job_id")),
        sa.PrimaryKeyConstraint("job_id", "row", name=op.f("pk_predictions")),
    )
    op.create_table(
        "evaluation_figures",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("metric", sa.String(length=32), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("low", sa.Double(), nullable=True),
        sa.Column("high", sa.Double(), nullable=True),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("signature", sa.String(length=200), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_evaluation_figures_job_id")),
        sa.PrimaryKeyConstraint("job_id", "metric", name=op.f("pk_evaluation_figures")),
    )
    with op.batch_alter_table("evaluation_figures", schema=None) as batch_op:
        batch_op.create_index("ix_evaluation_figures_metric_value_job_id", ["metric", "value", "job_id"], unique=False)


def downgrade() -> None:
    for table in ("evaluation_figures", "predictions", "evaluations"):
        op.drop_table(table)
    # jobs of a kind that the previous revision does not know
    op.execute("DELETE FROM job_events WHERE job_id IN (SELECT id FROM jobs WHERE kind = 'evaluation')")
    op.execute("DELETE FROM jobs WHERE kind = 'evaluation'")
