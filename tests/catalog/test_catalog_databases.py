"""Both databases: versions of the tables, several processes at once, and what is refused."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from catalog_files import exported, put
from sqlalchemy import Engine, text

from usid_tasks.catalog import databases, schema
from usid_tasks.catalog.catalog import Catalog
from usid_tasks.catalog.databases import catalog_url, open_database, writing
from usid_tasks.catalog.mounts import network_file_system
from usid_tasks.catalog.tables import VERSION_TABLE, Base
from usid_tasks.errors import RefusedError, SettingsError, UsidError
from usid_tasks.settings import load_settings


@contextmanager
def opened(url: str) -> Iterator[Engine]:
    """Give a database's engine, whatever tables it has."""
    database = open_database(url)
    yield database.engine
    database.close()


N_PROCESSES = 4
N_FILES = 60

MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
server:/export /data nfs4 rw,vers=4.2 0 0
/dev/sdb1 /data/local xfs rw 0 0
//server/share /mnt/my\\040share cifs rw 0 0
user@host: /home/me/far fuse.sshfs rw 0 0
tmpfs /mnt/covered tmpfs rw 0 0
o2ib:/lustre /mnt/covered lustre rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/usid", None),
        ("/data/catalog", "nfs4"),
        ("/data/local/catalog", None),
        ("/database", None),
        ("/mnt/my share/x", "cifs"),
        ("/home/me/far/x", "fuse.sshfs"),
        ("/home/me/near", None),
        ("/mnt/covered", "lustre"),
    ],
)
def test_the_file_system_of_a_path_is_that_of_the_innermost_last_mount(path, kind):
    assert network_file_system(Path(path), MOUNTS) == kind


def test_this_machine_s_own_mounts_are_read(tmp_path):
    assert network_file_system(tmp_path) is None
    assert network_file_system(tmp_path, f"a:/b {tmp_path} nfs rw 0 0") == "nfs"


def test_a_network_file_system_is_refused_and_rebuild_named(tmp_path, monkeypatch):
    monkeypatch.setattr(databases, "network_file_system", lambda path: "nfs4")
    with pytest.raises(RefusedError, match=r"nfs4.*usid catalog rebuild"):
        open_database(f"sqlite:///{tmp_path}/catalog.sqlite")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("mysql://host/db", "kind of database"),
        ("nonsense", "kind of database"),
        ("sqlite://", "absolute path"),
        ("sqlite:///relative.sqlite", "absolute path"),
        ("postgresql://me:hidden@host/db", "password"),
        ("postgresql://me@host/db?password=hidden", "password"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_telling_a_password(url, told):
    with pytest.raises(SettingsError, match=told) as caught:
        open_database(url)
    assert "hidden" not in str(caught.value)


def test_a_server_that_does_not_answer_is_told_in_three_parts():
    pytest.importorskip("psycopg")
    with pytest.raises(UsidError, match="database failed") as caught:
        Catalog.at("postgresql://nobody@127.0.0.1:1/none")
    assert "rebuild" in caught.value.remedy


def test_a_file_that_is_no_database_is_told(tmp_path):
    (tmp_path / "catalog.sqlite").write_text("no database at all, but a text\n" * 40)
    with pytest.raises(UsidError, match="not a database"):
        Catalog.at(f"sqlite:///{tmp_path}/catalog.sqlite")


def test_without_a_url_the_catalogue_lies_in_the_state_folder(tmp_path, monkeypatch):
    def url(**site: object) -> str:
        return catalog_url(load_settings(env={}, overrides={"site": site}))

    assert url(state_dir=str(tmp_path)) == f"sqlite:///{tmp_path}/catalog.sqlite"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert url() == f"sqlite:///{tmp_path}/state/usid-flows/catalog.sqlite"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert url() == f"sqlite:///{tmp_path}/.local/state/usid-flows/catalog.sqlite"
    given = load_settings(env={"USID_CATALOG__URL": "postgresql://host/db"})
    assert catalog_url(given) == "postgresql://host/db"


def test_sqlite_lets_readers_and_a_writer_work_at_once(tmp_path):
    with Catalog.at(f"sqlite:///{tmp_path}/catalog.sqlite") as catalog:
        put(tmp_path, "a.h5")
        with writing(catalog.database.engine) as connection:
            connection.execute(text("DELETE FROM sources"))
            assert catalog.search() == []
        with catalog.database.engine.connect() as connection:
            told = {
                name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "busy_timeout", "foreign_keys")
            }
    assert told == {"journal_mode": "wal", "busy_timeout": 60_000, "foreign_keys": 1}


def test_who_will_write_to_sqlite_has_the_right_from_the_beginning(tmp_path):
    """A reader that becomes a writer half way would be refused, not made to wait."""
    file = tmp_path / "catalog.sqlite"
    with Catalog.at(f"sqlite:///{file}") as catalog, writing(catalog.database.engine):
        other = sqlite3.connect(file, timeout=0, isolation_level=None)
        with closing(other), pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")


def test_the_versions_known_are_those_of_the_steps():
    config = Config()
    config.set_main_option("script_location", str(Path(schema.__file__).parent / "migrations"))
    steps = list(ScriptDirectory.from_config(config).walk_revisions())
    assert tuple(step.revision for step in reversed(steps)) == schema.VERSIONS


def test_the_steps_make_the_tables_that_the_program_knows(catalog):
    with catalog.database.engine.connect() as connection:
        options = {"version_table": VERSION_TABLE, "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Base.metadata) == []


def test_every_older_version_is_brought_up_with_what_it_holds(new_url):
    for version in schema.VERSIONS[:-1]:
        url = new_url()
        with opened(url) as engine, writing(engine) as connection:
            schema.upgrade(connection, version)
            connection.execute(
                text(
                    "INSERT INTO runs (dest, run, started, counts) "
                    "VALUES ('/stores', 'r1', '2026-11-01T10:00:00Z', '{}')"
                )
            )
        with Catalog.at(url) as catalog:
            assert [run["run"] for run in catalog.runs()] == ["r1"]
            with catalog.database.engine.connect() as connection:
                told = connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))
            assert told == schema.VERSIONS[-1]


def test_a_newer_version_is_refused_and_left_as_it_is(new_url):
    url = new_url()
    with Catalog.at(url) as catalog, writing(catalog.database.engine) as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(RefusedError, match=r"9999.*newer usid-flows.*rebuild"):
        Catalog.at(url)
    with opened(url) as engine, engine.connect() as connection:
        assert connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}")) == "9999"


def test_tables_of_somebody_else_are_refused(new_url):
    url = new_url()
    with opened(url) as engine, writing(engine) as connection:
        connection.execute(text("CREATE TABLE sources (name TEXT)"))
    with pytest.raises(RefusedError, match="not the catalogue's"):
        Catalog.at(url)


def test_a_step_that_fails_leaves_nothing_half_done(new_url, monkeypatch):
    url = new_url()
    complete = schema.upgrade

    def half(connection, version):
        complete(connection, schema.VERSIONS[0])
        raise KeyError("killed")

    monkeypatch.setattr(schema, "upgrade", half)
    with pytest.raises(KeyError):
        Catalog.at(url)
    monkeypatch.undo()
    with Catalog.at(url) as catalog:
        assert catalog.search() == []


WORKER = """
import sys
from pathlib import Path
from catalog_files import put
from usid_tasks.catalog.catalog import Catalog
from usid_tasks.catalog.runs import RunRecord

url, dest, me, n_files = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
with Catalog.at(url) as catalog:
    for turn in range(3):
        for number in range(n_files):
            if number % 4 == me or turn == 2 and number % 3 == 0:
                put(dest, f"{number}.h5", reason=f"turn {turn} of process {me}")
        names = [f"{number}.h5" for number in range(n_files)]
        catalog.record(dest, names if me % 2 else names[::-1], is_forced=turn == 1)
        catalog.record_run(dest, RunRecord(run=f"r{me}", started=f"2026-11-0{turn + 1}T10:00:00Z"))
    catalog.rebuild([dest])
"""


def test_four_processes_that_record_the_same_files_lose_nothing(new_url, tmp_path):
    """They also make the tables at the same time, each taking part in the first opening."""
    url, dest = new_url(), tmp_path / "stores"
    dest.mkdir()
    here = Path(__file__).parent
    code = f"import sys; sys.path[:0] = {[str(here), str(here.parent)]}\n{WORKER}"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, url, str(dest), str(me), str(N_FILES)],
            stderr=subprocess.PIPE,
        )
        for me in range(N_PROCESSES)
    ]
    ended = [(process.communicate(timeout=240)[1], process.returncode) for process in processes]
    assert [code for _, code in ended] == [0] * N_PROCESSES, ended
    with Catalog.at(url) as catalog, Catalog.at(new_url()) as anew:
        anew.rebuild([dest])
        told = exported(catalog)
        assert told == exported(anew)
    assert len(told["sources"]) == N_FILES
    assert [run["run"] for run in told["runs"]] == ["r3", "r2", "r1", "r0"]
