"""The tables of the catalogue, the same in SQLite and PostgreSQL.

Text compares byte by byte in both, so that they sort and match alike. Times are the texts of the
receipts: UTC, ISO 8601, ending in ``Z``.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Double, ForeignKey, Index, Integer, MetaData, Text, types
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from usid_tasks.model import JSON

VERSION_TABLE = "usid_catalog_version"
"""Not Alembic's usual name: Prefect's tables, in the same database perhaps, have that."""

TEXT = Text().with_variant(Text(collation="C"), "postgresql")
"""Text that compares byte by byte."""

BIG = BigInteger().with_variant(Integer(), "sqlite")
"""An integer of 64 bits, which SQLite numbers by itself."""


class Base(DeclarativeBase):
    """What all tables share."""

    metadata = MetaData()
    type_annotation_map = {str: TEXT, int: BIG, float: Double(), JSON: types.JSON()}  # noqa: RUF012


class Source(Base):
    """One source file, known by its destination and its key, as its receipt tells of it.

    ``state`` is what came of it last; ``outcome`` is that of the receipt, whose store stays where
    a later attempt failed. ``looks`` tells one version of the receipt's file from another.
    """

    __tablename__ = "sources"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    identity: Mapped[str] = mapped_column(unique=True)
    dest: Mapped[str]
    key: Mapped[str]
    root: Mapped[str]
    path: Mapped[str]
    size: Mapped[int | None]
    mtime_ns: Mapped[int | None]
    digest: Mapped[str | None]
    state: Mapped[str]
    outcome: Mapped[str]
    reason: Mapped[str]
    since: Mapped[str | None]
    started: Mapped[str | None]
    finished: Mapped[str | None]
    run: Mapped[str | None]
    machine: Mapped[str]
    settings_digest: Mapped[str | None]
    former_paths: Mapped[JSON]
    words: Mapped[str]
    looks: Mapped[str]


class MainDataset(Base):
    """One Main dataset of a source; ``number`` is its place in the receipt."""

    __tablename__ = "mains"

    source_id: Mapped[int] = mapped_column(
        ForeignKey("sources.id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    path: Mapped[str]
    outcome: Mapped[str]
    reason: Mapped[str]
    quantity: Mapped[str]
    units: Mapped[str]
    dtype: Mapped[str]
    shape: Mapped[JSON]


class Coordinate(Base):
    """One dimension of a Main dataset, or another coordinate along one (``is_dim`` tells).

    ``low`` and ``high`` are the range of its values, in ``units``.
    """

    __tablename__ = "coordinates"

    source_id: Mapped[int] = mapped_column(
        ForeignKey("sources.id", ondelete="CASCADE"), primary_key=True
    )
    main_number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str]
    side: Mapped[str]
    is_dim: Mapped[bool]
    size: Mapped[int]
    units: Mapped[str]
    axis: Mapped[str]
    low: Mapped[float | None]
    high: Mapped[float | None]


class Attribute(Base):
    """One scalar attribute of a Main dataset or of a group above it; ``path`` ends in ``/``."""

    __tablename__ = "attributes"

    source_id: Mapped[int] = mapped_column(
        ForeignKey("sources.id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    path: Mapped[str]
    name: Mapped[str]
    folded: Mapped[str]
    text: Mapped[str]
    value: Mapped[float | None]


class FindingRow(Base):
    """One finding of a source."""

    __tablename__ = "findings"

    source_id: Mapped[int] = mapped_column(
        ForeignKey("sources.id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    rule: Mapped[str]
    severity: Mapped[str]
    path: Mapped[str]
    found: Mapped[str]
    expected: Mapped[str]
    remedy: Mapped[str]
    section: Mapped[str]


class Output(Base):
    """One store made of a source: the one in place, or a superseded one."""

    __tablename__ = "outputs"

    source_id: Mapped[int] = mapped_column(
        ForeignKey("sources.id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    path: Mapped[str]
    kind: Mapped[str]
    size: Mapped[int | None]
    codec: Mapped[str]
    layout_version: Mapped[int]
    is_superseded: Mapped[bool]
    made: Mapped[str]
    source_digest: Mapped[str | None]
    metadata_digest: Mapped[str | None]


class Run(Base):
    """One run into a destination, as the record that it left there tells."""

    __tablename__ = "runs"

    dest: Mapped[str] = mapped_column(primary_key=True)
    run: Mapped[str] = mapped_column(primary_key=True)
    started: Mapped[str]
    ended: Mapped[str | None]
    flow_run: Mapped[str | None]
    counts: Mapped[JSON]


CHILDREN = (MainDataset, Coordinate, Attribute, FindingRow, Output)
"""Tables whose rows belong to a source."""

# to look up: free text of any length stays out, PostgreSQL's indexes hold 2.7 kB
Index("ix_sources_digest", Source.digest)
Index("ix_sources_state", Source.state)
Index("ix_sources_finished", Source.finished)
Index("ix_sources_run", Source.run)
Index("ix_findings_rule", FindingRow.rule)
Index("ix_attributes_folded", Attribute.folded)
