"""Indexes on what is searched for."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_INDEXES = (
    ("ix_sources_digest", "sources", "digest"),
    ("ix_sources_state", "sources", "state"),
    ("ix_sources_finished", "sources", "finished"),
    ("ix_sources_run", "sources", "run"),
    ("ix_findings_rule", "findings", "rule"),
    ("ix_attributes_folded", "attributes", "folded"),
)


def upgrade() -> None:
    """Make the indexes."""
    for index, table, column in _INDEXES:
        op.create_index(index, table, [column])


def downgrade() -> None:
    """Remove the indexes."""
    for index, table, _ in _INDEXES:
        op.drop_index(index, table)
