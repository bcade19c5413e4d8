"""Create the tables for datasets, fine-tunes, merges and job events."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "datasets",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("location", sa.String(length=500), nullable=False),
        sa.Column("revision", sa.String(length=64), nullable=True),
        sa.Column("columns", sa.JSON(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("test_fraction", sa.Double(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("train_rows", sa.Integer(), nullable=False),
        sa.Column("test_rows", sa.Integer(), nullable=False),
        sa.Column("overlapping_rows", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_datasets")),
    )
    with op.batch_alter_table("datasets", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_datasets_sha256"), ["sha256"], unique=False)
        batch_op.create_index(
            "uq_datasets_name",
            ["name"],
            unique=True,
            postgresql_where=sa.text("deleted_at IS NULL"),
            sqlite_where=sa.text("deleted_at IS NULL"),
        )

    op.create_table(
        "fine_tune_metrics",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Double(), nullable=False),
        sa.Column("loss", sa.Double(), nullable=True),
        sa.Column("learning_rate", sa.Double(), nullable=True),
        sa.Column("grad_norm", sa.Double(), nullable=True),
        sa.Column("tokens_per_second", sa.Double(), nullable=True),
        sa.Column("eval_loss", sa.Double(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_fine_tune_metrics_job_id")),
        sa.PrimaryKeyConstraint("job_id", "step", name=op.f("pk_fine_tune_metrics")),
    )
    op.create_table(
        "job_events",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("type", sa.String(length=64), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_job_events_job_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job_events")),
    )
    with op.batch_alter_table("job_events", schema=None) as batch_op:
        batch_op.create_index("ix_job_events_job_id_id", ["job_id", "id"], unique=False)

    op.create_table(
        "fine_tunes",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("model_id", sa.Uuid(), nullable=False),
        sa.Column("dataset_id", sa.Uuid(), nullable=False),
        sa.Column("split", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("lora", sa.JSON(), nullable=False),
        sa.Column("training", sa.JSON(), nullable=False),
        sa.Column("devices", sa.Integer(), nullable=False),
        sa.Column("checkpoint", sa.String(length=500), nullable=True),
        sa.Column("checkpoint_step", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=op.f("fk_fine_tunes_dataset_id")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_fine_tunes_job_id")),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_fine_tunes_model_id")),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_fine_tunes")),
    )
    with op.batch_alter_table("fine_tunes", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_fine_tunes_dataset_id"), ["dataset_id"], unique=False)

    op.create_table(
        "merges",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("model_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_merges_job_id")),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_merges_model_id")),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_merges")),
    )
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("percent_done", sa.Double(), nullable=True))
        batch_op.add_column(sa.Column("remaining_seconds", sa.Double(), nullable=True))

    with op.batch_alter_table("models", schema=None) as batch_op:
        batch_op.add_column(sa.Column("kind", sa.String(length=16), server_default="full", nullable=False))
        batch_op.add_column(sa.Column("parent_id", sa.Uuid(), nullable=True))
        batch_op.add_column(sa.Column("dataset_id", sa.Uuid(), nullable=True))
        batch_op.add_column(sa.Column("template", sa.String(length=64), nullable=True))
        batch_op.add_column(sa.Column("parameters", sa.JSON(), nullable=True))
        batch_op.add_column(sa.Column("job_id", sa.Uuid(), nullable=True))
        batch_op.create_unique_constraint(batch_op.f("uq_models_job_id"), ["job_id"])
        batch_op.create_foreign_key(batch_op.f("fk_models_dataset_id"), "datasets", ["dataset_id"], ["id"])
        batch_op.create_foreign_key(batch_op.f("fk_models_job_id"), "jobs", ["job_id"], ["id"])
        batch_op.create_foreign_key(batch_op.f("fk_models_parent_id"), "models", ["parent_id"], ["id"])


def downgrade() -> None:
    # rows that the previous revision does not know
    op.execute("DELETE FROM models WHERE source = 'artifact'")
    for table in ("fine_tune_metrics", "fine_tunes", "merges", "job_events"):
        op.execute(f"DELETE FROM {table}")
    op.execute("DELETE FROM jobs WHERE kind IN ('fine_tune', 'merge')")
    with op.batch_alter_table("models", schema=None) as batch_op:
        batch_op.drop_constraint(batch_op.f("fk_models_parent_id"), type_="foreignkey")
        batch_op.drop_constraint(batch_op.f("fk_models_job_id"), type_="foreignkey")
        batch_op.drop_constraint(batch_op.f("fk_models_dataset_id"), type_="foreignkey")
        batch_op.drop_constraint(batch_op.f("uq_models_job_id"), type_="unique")
        batch_op.drop_column("job_id")
        batch_op.drop_column("parameters")
        batch_op.drop_column("template")
        batch_op.drop_column("dataset_id")
        batch_op.drop_column("parent_id")
        batch_op.drop_column("kind")

    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_column("remaining_seconds")
        batch_op.drop_column("percent_done")

    op.drop_table("merges")
    with op.batch_alter_table("fine_tunes", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_fine_tunes_dataset_id"))

    op.drop_table("fine_tunes")
    with op.batch_alter_table("job_events", schema=None) as batch_op:
        batch_op.drop_index("ix_job_events_job_id_id")

    op.drop_table("job_events")
    op.drop_table("fine_tune_metrics")
    with op.batch_alter_table("datasets", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_datasets_name",
            postgresql_where=sa.text("deleted_at IS NULL"),
            sqlite_where=sa.text("deleted_at IS NULL"),
        )
        batch_op.drop_index(batch_op.f("ix_datasets_sha256"))

    op.drop_table("datasets")
