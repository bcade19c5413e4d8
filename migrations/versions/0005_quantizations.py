"""Create the tables for quantizations."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "quantizations",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("model_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("dataset_id", sa.Uuid(), nullable=False),
        sa.Column("split", sa.String(length=16), nullable=False),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("report_rows", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=op.f("fk_quantizations_dataset_id")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_quantizations_job_id")),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_quantizations_model_id")),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_quantizations")),
    )
    with op.batch_alter_table("quantizations", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_quantizations_dataset_id"), ["dataset_id"], unique=False)

    op.create_table(
        "quantized_modules",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("layer", sa.Integer(), nullable=False),
        sa.Column("module", sa.String(length=300), nullable=False),
        sa.Column("error", sa.Double(), nullable=True),
        sa.Column("relative_error", sa.Double(), nullable=True),
        sa.Column("tokens", sa.Integer(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_quantized_modules_job_id")),
        sa.PrimaryKeyConstraint("job_id", "layer", "module", name=op.f("pk_quantized_modules")),
    )
    op.create_table(
        "quantization_variants",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("variant", sa.String(length=32), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("disk_bytes", sa.BigInteger(), nullable=True),
        sa.Column("memory_bytes", sa.BigInteger(), nullable=True),
        sa.Column("perplexity", sa.Double(), nullable=True),
        sa.Column("exact_match", sa.Double(), nullable=True),
        sa.Column("chrf", sa.Double(), nullable=True),
        sa.Column("rows", sa.Integer(), nullable=True),
        sa.Column("tokens_per_second", sa.Double(), nullable=True),
        sa.Column("seconds", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_quantization_variants_job_id")),
        sa.PrimaryKeyConstraint("job_id", "variant", name=op.f("pk_quantization_variants")),
    )


def downgrade() -> None:
    # jobs of a kind that the previous revision does not know
    job_ids = "SELECT id FROM jobs WHERE kind = 'quantization'"
    op.execute(f"DELETE FROM models WHERE job_id IN ({job_ids})")
    for table in ("quantization_variants", "quantized_modules", "quantizations"):
        op.drop_table(table)
    op.execute(f"DELETE FROM job_events WHERE job_id IN ({job_ids})")
    op.execute("DELETE FROM jobs WHERE kind = 'quantization'")
