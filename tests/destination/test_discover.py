"""Discovery: what is found, where its store goes, and what is refused before any writing."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import unicodedata
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest

from usid_tasks.discover import discover
from usid_tasks.errors import RefusedError
from usid_tasks.model import Outcome
from usid_tasks.sources import SourceFile

HDF5 = b"\x89HDF\r\n\x1a\n"


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    folder = tmp_path / "lab"
    folder.mkdir()
    return folder


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    return tmp_path / "stores"


def put(folder: Path, *names: str, data: bytes = HDF5 + b"rest") -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def keys(found: object) -> list[str]:
    return [file.key for file in found.files]  # type: ignore[attr-defined]


def test_files_are_found_by_content(lab: Path, dest: Path) -> None:
    with h5py.File(lab / "plain.h5", "w") as file:
        file["x"] = 1
    with h5py.File(lab / "no extension", "w", userblock_size=512) as file:
        file["x"] = 1
    with h5py.File(lab / "block.ptir", "w", userblock_size=4096) as file:
        file["x"] = 1
    put(lab, "a/b/deep.dat")
    put(lab, "late", data=bytes(1024) + HDF5)
    put(lab, "between", data=bytes(700) + HDF5)
    put(lab, "notes.h5", data=b"a text that is named h5")
    put(lab, "empty.h5", data=b"")
    put(lab, "cut.h5", data=HDF5[:5])
    found = discover([lab], dest)
    assert keys(found) == ["a/b/deep.dat", "block.ptir", "late", "no extension", "plain.h5"]
    assert found.n_other == 4
    assert not found.unreadable
    assert not dest.exists()


def test_a_found_file_knows_its_places(lab: Path, dest: Path) -> None:
    put(lab, "day 1/scan.h5")
    (file,) = discover([lab], dest).files
    status = (lab / "day 1/scan.h5").stat()
    assert file == SourceFile(
        root_name="",
        root=lab,
        relative="day 1/scan.h5",
        size=12,
        mtime_ns=status.st_mtime_ns,
        ctime_ns=status.st_ctime_ns,
        inode=status.st_ino,
    )
    assert file.path == lab / "day 1/scan.h5"
    assert file.store_path(dest) == dest / "day 1/scan.h5.zarr"
    assert file.receipt_path(dest) == dest / "day 1/scan.h5.receipt.json"
    (named,) = discover([f"afm={lab}"], dest).files
    assert named.root_name == "afm"
    assert named.store_path(dest) == dest / "afm/day 1/scan.h5.zarr"


def test_what_no_storage_means_as_data_is_passed_over(lab: Path, dest: Path) -> None:
    put(lab, ".snapshot/a.h5", "@eaDir/a.h5", "x/#recycle/a.h5", ".usid/a.h5", ".nfs0001", "ok.h5")
    put(lab, "x.h5.zarr/c/0", "upper.ZARR/a.h5")
    assert keys(discover([lab], dest)) == ["ok.h5", "upper.ZARR/a.h5"]
    assert keys(discover([lab], dest, ignore=["*.h5", ".snap*", "[.]usid"])) == [".nfs0001"]


def test_dest_inside_the_source_is_not_searched(lab: Path) -> None:
    put(lab, "a.h5", "out/b.h5", "out/sub/c.h5", "other/out/d.h5")
    assert keys(discover([lab], lab / "out")) == ["a.h5", "other/out/d.h5"]
    assert keys(discover([lab], lab / "out" / "sub")) == ["a.h5", "other/out/d.h5", "out/b.h5"]


def test_dest_inside_the_source_by_another_path(lab: Path, tmp_path: Path) -> None:
    put(lab, "a.h5", "out/b.h5")
    (tmp_path / "link").symlink_to(lab / "out")
    assert keys(discover([lab], tmp_path / "link")) == ["a.h5"]
    (tmp_path / "same lab").symlink_to(lab)
    assert keys(discover([tmp_path / "same lab"], lab / "out")) == ["a.h5"]


def test_a_source_may_be_a_file(lab: Path, dest: Path) -> None:
    put(lab, "scan.h5", "other.h5")
    (file,) = discover([lab / "scan.h5"], dest).files
    assert file.store_path(dest) == dest / "scan.h5.zarr"
    assert keys(discover([lab / "scan.h5", lab / "other.h5"], dest)) == ["other.h5", "scan.h5"]
    assert keys(discover([f"afm={lab}/scan.h5"], dest)) == ["afm/scan.h5"]
    # beside its own source, which is a file and not the folder
    assert keys(discover([lab / "scan.h5"], lab)) == ["scan.h5"]


def test_several_sources(tmp_path: Path, dest: Path) -> None:
    put(tmp_path, "afm/a.h5", "stem/a.h5")
    assert keys(discover([tmp_path / "afm", f"S={tmp_path}/stem"], dest)) == ["S/a.h5", "afm/a.h5"]
    with pytest.raises(RefusedError, match="same name"):
        discover([f"x={tmp_path}/afm", f"X={tmp_path}/stem"], dest)
    put(tmp_path, "two/afm/a.h5")
    with pytest.raises(RefusedError, match="same name"):
        discover([tmp_path / "afm", tmp_path / "two" / "afm"], dest)


def test_an_equals_sign_in_a_path(
    tmp_path: Path, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "bias=3/a.h5")
    assert keys(discover([str(tmp_path / "bias=3")], dest)) == ["a.h5"]
    monkeypatch.chdir(tmp_path)
    assert keys(discover(["bias=3"], dest)) == ["a.h5"]
    assert keys(discover(["run=bias=3"], dest)) == ["run/a.h5"]


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", ".usid", "a\\b", "a:b", "end.", "end ", " start", "tab\t", "x.zarr", "a*"],
)
def test_names_that_no_folder_can_have(lab: Path, dest: Path, name: str) -> None:
    with pytest.raises(RefusedError):
        discover([f"{name}={lab}"], dest)


def refused(lab: Path, dest: Path) -> dict[str, tuple[list[str], Path, str]]:
    put(lab, "in/a.h5")
    (lab.parent / "dest file").write_bytes(b"")
    (dest / ".usid" / "superseded").mkdir(parents=True)
    same = lab.parent / "same"
    same.symlink_to(lab)
    return {
        "missing": ([str(lab / "no")], dest, "does not exist"),
        "missing named": ([f"x={lab}/no"], dest, "does not exist"),
        "none": ([], dest, "there is none"),
        "no path": (["x="], dest, "no path"),
        "nested": ([f"a={lab}", f"b={lab}/in"], dest, "lies inside"),
        "nested file": ([str(lab), f"b={lab}/in/a.h5"], dest, "lies inside"),
        "twice": ([f"a={lab}", f"b={lab}"], dest, "lies inside"),
        "twice by a link": ([f"a={lab}", f"b={same}"], dest, "lies inside"),
        "same file": ([f"{lab}/in/a.h5", f"{lab}/in/a.h5"], dest, "lies inside"),
        "dest is source": ([str(lab)], lab, "DEST is a source"),
        "dest is source by a link": ([str(lab)], same, "DEST is a source"),
        "dest is a file": ([str(lab)], lab.parent / "dest file", "not a folder"),
        "superseded": ([str(dest / ".usid" / "superseded")], dest, "not data"),
        "into a source": ([f"lab={lab}"], lab.parent, "into the source"),
        "a device": (["/dev/null"], dest, "neither a folder nor a file"),
    }


@pytest.mark.parametrize(
    "case",
    [
        "missing",
        "missing named",
        "none",
        "no path",
        "nested",
        "nested file",
        "twice",
        "twice by a link",
        "same file",
        "dest is source",
        "dest is source by a link",
        "dest is a file",
        "superseded",
        "into a source",
        "a device",
    ],
)
def test_what_is_refused(lab: Path, dest: Path, case: str) -> None:
    sources, to, message = refused(lab, dest)[case]
    before = sorted(lab.parent.rglob("*"))
    with pytest.raises(RefusedError, match=message):
        discover(sources, to)
    assert sorted(lab.parent.rglob("*")) == before


def test_a_source_inside_dest_that_no_store_touches(lab: Path) -> None:
    put(lab, "a.h5")
    assert keys(discover([lab], lab.parent)) == ["a.h5"]


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("scan.h5", "Scan.H5"),
        ("Ä.h5", unicodedata.normalize("NFD", "Ä") + ".h5"),
        ("Ä.h5", unicodedata.normalize("NFD", "ä") + ".h5"),
        ("straße.h5", "STRASSE.h5"),
        ("Day/scan.h5", "day/scan.h5"),
        ("a.h5", "a.h5.receipt.json/b.h5"),
        ("a.h5", "A.H5.ZARR/b.h5"),
    ],
)
def test_two_files_that_would_share_a_store(lab: Path, dest: Path, one: str, two: str) -> None:
    put(lab, one, two)
    with pytest.raises(RefusedError, match="would share the store"):
        discover([lab], dest)
    assert not dest.exists()


def test_files_that_differ_in_their_extension_do_not_clash(lab: Path, dest: Path) -> None:
    put(lab, "scan.h5", "scan.ptir", "scan", "scan.h5x/scan.h5")
    assert len(discover([lab], dest).files) == 4


def test_files_of_two_sources_that_would_share_a_store(tmp_path: Path, dest: Path) -> None:
    put(tmp_path, "one/a.h5", "two/a.h5")
    with pytest.raises(RefusedError, match="would share the store"):
        discover([tmp_path / "one/a.h5", tmp_path / "two/a.h5"], dest)


def test_names_that_are_not_utf8_are_reported(lab: Path, dest: Path) -> None:
    put(lab, *(os.fsdecode(name) for name in (b"bad\xff.h5", b"dir\xfe/in.h5")))
    put(lab, os.fsdecode(b"text\xff"), data=b"no HDF5")
    put(lab, "good.h5")
    found = discover([lab], dest)
    assert keys(found) == ["good.h5"]
    assert [one.relative for one in found.unreadable] == ["bad\\xff.h5", "dir\\xfe/in.h5"]
    for one in found.unreadable:
        assert one.outcome is Outcome.FAILED
        assert "UTF-8" in one.reason
        one.relative.encode()


def test_names_too_long_for_a_receipt_are_reported(lab: Path, dest: Path) -> None:
    put(lab, "x" * 242, "y" * 243, "ü" * 122)
    found = discover([lab], dest)
    assert keys(found) == ["x" * 242]
    assert ["242" in one.reason for one in found.unreadable] == [True, True]


def test_unreadable_folders_and_files_are_reported(
    lab: Path, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # root may read everything, so the kernel's refusals are played
    put(lab, "closed/a.h5", "denied.h5", "open.h5", "shared.h5", "vanishing.h5")
    errors = {
        "closed": PermissionError(13, "Permission denied"),
        "denied.h5": PermissionError(13, "Permission denied"),
        "shared.h5": OSError(26, "Text file busy"),
        "vanishing.h5": FileNotFoundError(2, "No such file or directory"),
    }

    def failing(call: Callable[..., object]) -> Callable[..., object]:
        def refuse(path: Path, *arguments: object, **options: object) -> object:
            error = errors.get(Path(path).name)
            if error is not None:
                raise error
            return call(path, *arguments, **options)

        return refuse

    monkeypatch.setattr(os, "scandir", failing(os.scandir))
    monkeypatch.setattr(os, "open", failing(os.open))
    found = discover([lab], dest)
    assert keys(found) == ["open.h5"]
    assert [(one.relative, one.outcome) for one in found.unreadable] == [
        ("closed", Outcome.FAILED),
        ("denied.h5", Outcome.FAILED),
        ("shared.h5", Outcome.DEFERRED),
    ]
    assert "Permission denied" in found.unreadable[0].reason


def test_permissions_of_an_ordinary_user() -> None:
    script = (
        "import os, sys, pathlib; import usid_tasks.discover as d\n"
        "if os.getuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "f = d.discover([sys.argv[1]], pathlib.Path(sys.argv[2]))\n"
        "sys.stdout.write(repr([[x.key for x in f.files], [x.relative for x in f.unreadable]]))"
    )
    # pytest's own temporary folders are closed to other users
    with tempfile.TemporaryDirectory() as name:
        lab = Path(name)
        lab.chmod(0o755)
        put(lab, "closed/a.h5", "denied.h5", "open.h5")
        (lab / "denied.h5").chmod(0)
        (lab / "closed").chmod(0)
        run = subprocess.run(
            [sys.executable, "-c", script, lab, lab / "dest"],
            capture_output=True,
            text=True,
            check=False,
        )
        (lab / "closed").chmod(0o755)
    assert run.stdout == "[['open.h5'], ['closed', 'denied.h5']]", run.stderr


def test_links_are_listed_and_not_followed(lab: Path, dest: Path, tmp_path: Path) -> None:
    put(lab, "a/scan.h5")
    put(tmp_path, "elsewhere/out.h5")
    (lab / "loop").symlink_to(lab)
    (lab / "latest.h5").symlink_to("a/scan.h5")
    (lab / "away").symlink_to(tmp_path / "elsewhere")
    (lab / "away.h5").symlink_to(tmp_path / "elsewhere/out.h5")
    (lab / "nowhere").symlink_to("missing")
    (lab / "circle").symlink_to("circle")
    found = discover([lab], dest)
    assert keys(found) == ["a/scan.h5"]
    assert found.links == ("away", "away.h5", "circle", "latest.h5", "loop", "nowhere")
    assert not found.unreadable


def test_links_are_followed_out_of_the_tree_only(lab: Path, dest: Path, tmp_path: Path) -> None:
    put(lab, "a/scan.h5")
    put(tmp_path, "elsewhere/out.h5", "elsewhere/sub/in.h5", "single/one.h5")
    put(dest, "published.h5")
    (lab / "away").symlink_to(tmp_path / "elsewhere")
    (lab / "away again").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(lab)
    (tmp_path / "elsewhere" / "self").symlink_to(tmp_path / "elsewhere")
    (lab / "one.h5").symlink_to(tmp_path / "single/one.h5")
    (lab / "loop").symlink_to(lab)
    (lab / "root").symlink_to("/")
    (lab / "stores").symlink_to(dest)
    (lab / "latest.h5").symlink_to("a/scan.h5")
    found = discover([lab], dest, follow_links=True)
    assert keys(found) == ["a/scan.h5", "away/out.h5", "away/sub/in.h5", "one.h5"]
    assert set(found.links) == {
        "away again",
        "away/back",
        "away/self",
        "loop",
        "root",
        "stores",
        "latest.h5",
    }


def test_pipes_and_sockets_are_never_opened(
    lab: Path, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(lab / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(lab)
        server.bind("socket")
        found = discover([lab], dest)
    assert keys(found) == []
    assert found.n_other == 2


def test_known_files_are_not_opened(lab: Path, dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(lab, *(f"{n}.h5" for n in range(1500)))
    known = {f"{n}.h5" for n in range(1, 1500)}
    opened: list[str] = []
    really = os.open

    def counting(path: Path, *arguments: int) -> int:
        opened.append(Path(path).name)
        return really(path, *arguments)

    monkeypatch.setattr(os, "open", counting)
    found = discover([lab], dest, is_known=lambda file: file.key in known)
    assert len(found.files) == 1500
    assert opened == ["0.h5"]
    assert found.size_bytes == 1500 * 12
