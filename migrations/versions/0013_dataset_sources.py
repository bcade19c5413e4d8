"""Add a hub dataset's configuration and splits, and the rows that a dataset left out."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0011"
branch_labels = None
depends_on = None

COLUMNS: dict[str, sa.types.TypeEngine] = {
    "config": sa.String(length=500),
    "train_split": sa.String(length=500),
    "test_split": sa.String(length=500),
    "skipped_rows": sa.Integer(),
    "skipped": sa.JSON(none_as_null=True),
}


def upgrade() -> None:
    with op.batch_alter_table("datasets", schema=None) as batch_op:
        for name, kind in COLUMNS.items():
            batch_op.add_column(sa.Column(name, kind, nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("datasets", schema=None) as batch_op:
        for name in reversed(COLUMNS):
            batch_op.drop_column(name)
