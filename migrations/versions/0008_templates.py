"""Add prompt templates, how a job prompts its model, the chat before a prediction's prompt, and a model's engine."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

PROMPTED = ("generations", "evaluations", "fine_tunes", "quantizations")
EXTRACTED = ("generations", "evaluations")


def upgrade() -> None:
    op.create_table(
        "templates",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_templates")),
    )
    for table in PROMPTED:
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.add_column(sa.Column("template", sa.String(length=64), nullable=True))
            batch_op.add_column(sa.Column("template_sha256", sa.String(length=64), nullable=True))
            batch_op.add_column(sa.Column("system", sa.Text(), nullable=True))
            batch_op.add_column(sa.Column("chat_template_kwargs", sa.JSON(none_as_null=True), nullable=True))
    for table in EXTRACTED:
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.add_column(sa.Column("extract", sa.String(length=16), nullable=True))
    with op.batch_alter_table("predictions", schema=None) as batch_op:
        batch_op.add_column(sa.Column("context", sa.JSON(none_as_null=True), nullable=True))
    with op.batch_alter_table("models", schema=None) as batch_op:
        batch_op.add_column(sa.Column("template_sha256", sa.String(length=64), nullable=True))
        batch_op.add_column(sa.Column("engine", sa.String(length=32), nullable=True))
        batch_op.add_column(sa.Column("engine_reason", sa.Text(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("models", schema=None) as batch_op:
        for column in ("engine_reason", "engine", "template_sha256"):
            batch_op.drop_column(column)
    with op.batch_alter_table("predictions", schema=None) as batch_op:
        batch_op.drop_column("context")
    for table in EXTRACTED:
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.drop_column("extract")
    for table in PROMPTED:
        with op.batch_alter_table(table, schema=None) as batch_op:
            for column in ("chat_template_kwargs", "system", "template_sha256", "template"):
                batch_op.drop_column(column)
    op.drop_table("templates")
