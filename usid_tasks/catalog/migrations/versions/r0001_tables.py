"""The tables."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
BIG: sa.types.TypeEngine[Any] = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _text(name: str, *, is_null: bool = False) -> sa.Column[str]:
    return sa.Column(name, TEXT, nullable=is_null)


def _of_a_source(name: str, *columns: sa.Column[Any], keys: tuple[str, ...]) -> None:
    op.create_table(
        name,
        sa.Column(
            "source_id", BIG, sa.ForeignKey("sources.id", ondelete="CASCADE"), primary_key=True
        ),
        *(sa.Column(key, BIG, primary_key=True, autoincrement=False) for key in keys),
        *columns,
    )


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "sources",
        sa.Column("id", BIG, primary_key=True, autoincrement=True),
        sa.Column("identity", TEXT, nullable=False, unique=True),
        *map(_text, ("dest", "key", "root", "path")),
        sa.Column("size", BIG),
        sa.Column("mtime_ns", BIG),
        _text("digest", is_null=True),
        *map(_text, ("state", "outcome", "reason")),
        *(_text(name, is_null=True) for name in ("since", "started", "finished", "run")),
        _text("machine"),
        _text("settings_digest", is_null=True),
        sa.Column("former_paths", sa.JSON(), nullable=False),
        *map(_text, ("words", "looks")),
    )
    _of_a_source(
        "mains",
        *map(_text, ("path", "outcome", "reason", "quantity", "units", "dtype")),
        sa.Column("shape", sa.JSON(), nullable=False),
        keys=("number",),
    )
    _of_a_source(
        "coordinates",
        *map(_text, ("name", "side")),
        sa.Column("is_dim", sa.Boolean(), nullable=False),
        sa.Column("size", BIG, nullable=False),
        *map(_text, ("units", "axis")),
        sa.Column("low", sa.Double()),
        sa.Column("high", sa.Double()),
        keys=("main_number", "number"),
    )
    _of_a_source(
        "attributes",
        *map(_text, ("path", "name", "folded", "text")),
        sa.Column("value", sa.Double()),
        keys=("number",),
    )
    names = ("rule", "severity", "path", "found", "expected", "remedy", "section")
    _of_a_source("findings", *map(_text, names), keys=("number",))
    _of_a_source(
        "outputs",
        *map(_text, ("path", "kind")),
        sa.Column("size", BIG),
        _text("codec"),
        sa.Column("layout_version", BIG, nullable=False),
        sa.Column("is_superseded", sa.Boolean(), nullable=False),
        _text("made"),
        _text("source_digest", is_null=True),
        _text("metadata_digest", is_null=True),
        keys=("number",),
    )
    op.create_table(
        "runs",
        sa.Column("dest", TEXT, primary_key=True),
        sa.Column("run", TEXT, primary_key=True),
        _text("started"),
        _text("ended", is_null=True),
        _text("flow_run", is_null=True),
        sa.Column("counts", sa.JSON(), nullable=False),
    )


def downgrade() -> None:
    """Remove the tables; what they held is in the receipts."""
    for name in ("runs", "outputs", "findings", "attributes", "coordinates", "mains", "sources"):
        op.drop_table(name)
