"""The layers of the configuration: what wins, what is refused, and how that is told."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from usid_tasks.configuration import RESERVED_VARIABLES, read_default, variable_name
from usid_tasks.errors import SettingsError
from usid_tasks.model import Severity
from usid_tasks.report import settings_lines
from usid_tasks.settings import Settings, load_settings, origins, setting_keys, shaping_digest


@pytest.fixture
def site(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "site.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def refused(config=None, env=None, overrides=None) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        load_settings(config, env or {}, overrides)
    assert caught.value.where
    assert caught.value.what
    assert caught.value.remedy
    return caught.value


def test_the_default_file_and_the_models_hold_the_same():
    assert tuple(read_default()) == setting_keys()
    assert load_settings(env={}) == Settings()


def test_the_model_reads_no_environment_by_itself(monkeypatch):
    monkeypatch.setenv("INGEST", '{"settle_s": 1}')
    monkeypatch.setenv("USID_INGEST__SETTLE_S", "1")
    assert Settings().ingest.settle_s == 60


def test_settings_are_frozen_and_survive_a_trip():
    settings = load_settings(env={}, overrides={"convert": {"file_mode": "0640"}})
    with pytest.raises(ValueError, match="frozen"):
        settings.convert.threads = 3
    with pytest.raises(ValueError, match="frozen"):
        settings.convert = Settings().convert
    assert pickle.loads(pickle.dumps(settings)) == settings
    assert Settings.model_validate(settings.model_dump()) == settings
    assert Settings.model_validate(settings.model_dump(mode="json")) == settings
    assert settings.convert.file_mode == 0o640


def test_overrides_win_over_variables_over_the_file_over_defaults(site):
    config = site("ingest:\n  settle_s: 1\n  look_interval_s: 1\n  workers: 5\n")
    env = {"USID_INGEST__SETTLE_S": "2", "USID_INGEST__LOOK_INTERVAL_S": "3"}
    settings = load_settings(config, env, {"ingest": {"settle_s": 4}})
    assert settings.ingest.settle_s == 4
    assert settings.ingest.look_interval_s == 3
    assert settings.ingest.workers == 5
    assert settings.ingest.deferred_warning_hours == 24


def test_the_variable_names_the_file_unless_an_argument_does(site, tmp_path):
    other = tmp_path / "other.yaml"
    other.write_text("ingest: {workers: 7}")
    env = {"USID_CONFIG": str(other)}
    assert load_settings(env=env).ingest.workers == 7
    assert load_settings(site("ingest: {workers: 5}"), env).ingest.workers == 5
    assert load_settings(env={"USID_CONFIG": ""}) == Settings()


def test_origins_tell_file_and_line_variable_and_override(site):
    config = site("# ours\ningest:\n\n  workers: 5\n")
    env = {"USID_CONVERT__CHUNK": "2 MiB"}
    told = origins(config, env, {"prefect": {"table_rows": 9}})
    assert tuple(told) == setting_keys()
    assert (told["ingest.workers"].value, told["ingest.workers"].source) == (5, f"{config}:4")
    assert told["convert.chunk"].value == "2 MiB"
    assert told["convert.chunk"].source == "USID_CONVERT__CHUNK"
    assert told["prefect.table_rows"].source == "override"
    assert {told[key].source for key in setting_keys()} == {
        *("default", f"{config}:4", "USID_CONVERT__CHUNK", "override")
    }


def test_every_setting_can_be_written_as_a_variable():
    told = {key: origin.value for key, origin in origins(env={}).items()}
    env = {
        variable_name(key): value if isinstance(value, str) else json.dumps(value)
        for key, value in told.items()
    }
    assert load_settings(env=env) == Settings()
    assert all(origin.source.startswith("USID_") for origin in origins(env=env).values())


def test_the_printed_settings_are_a_file_that_means_the_same(site):
    given = {"convert": {"file_mode": "0640", "codec": "none"}, "validate": {"select": ["R7"]}}
    told = origins(env={}, overrides=given)
    text = "\n".join(settings_lines({key: (it.value, it.source) for key, it in told.items()}))
    assert load_settings(site(text), env={}) == load_settings(env={}, overrides=given)


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [
        ("ingest: {setle_s: 3}", "ingest.settle_s"),
        ("convert: {settle_s: 3}", "ingest.settle_s"),
        ("ingests: {workers: 3}", "ingest.workers"),
        ("convert: {compression_level: 3}", "convert.codec_level"),
        ("reading: {block_maximum: 3}", "read.block_max"),
    ],
)
def test_an_unknown_key_in_a_file_fails_with_the_nearest_name(site, text, suggestion):
    config = site(f"# first line\n{text}\n")
    error = refused(config)
    assert error.where == f"{config}:2"
    assert repr(suggestion) in error.remedy


def test_an_unknown_key_like_no_other_lists_its_section(site):
    assert "read.block_min, read.block_max" in refused(site("read: {zzz: 1}")).remedy
    assert "usid config show" in refused(site("zzz: {qqq: 1}")).remedy


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("USID_INGEST__SETLE_S", "USID_INGEST__SETTLE_S"),
        ("USID_INGEST_SETTLE_S", "USID_INGEST__SETTLE_S"),
        ("usid_ingest__settle_s", "USID_INGEST__SETTLE_S"),
        ("USID_CONFIGURATION", "USID_CONFIG"),
    ],
)
def test_a_mistyped_variable_fails_with_the_nearest_name(name, suggestion):
    error = refused(env={name: "3"})
    assert error.where == name
    assert repr(suggestion) in error.remedy


def test_variables_of_others_and_reserved_ones_are_left_alone():
    assert load_settings(env={"PATH": "/bin", "USIDX": "1", "USID_DEBUG": "1"}) == Settings()
    text = Path(__file__).parents[2].joinpath("configs", "default.yaml").read_text()
    assert all(name in text for name in RESERVED_VARIABLES)


@pytest.mark.parametrize(
    ("section", "key", "value", "expected"),
    [
        ("ingest", "settle_s", "soon", "number"),
        ("ingest", "settle_s", -1, "greater than or equal to 0"),
        ("ingest", "settle_s", True, "a number"),
        ("ingest", "settle_s", float("nan"), "greater than or equal to 0"),
        ("ingest", "workers", 0, "greater than or equal to 1"),
        ("ingest", "ignore", "*.tmp", "a list"),
        ("read", "block_max", "4 G", '"4 MiB" (1024-based)'),
        ("convert", "codec", "gzip", "one of auto, none, zstd, blosc-lz4"),
        ("convert", "intent", "fast", "spectra, images, balanced or Y=16"),
        ("convert", "file_mode", 0o640, "octal digits in quotes"),
        ("convert", "file_mode", "0888", "octal digits in quotes"),
        ("validate", "severity", "bad", "'warning'"),
    ],
)
def test_a_bad_value_tells_key_found_and_expected(section, key, value, expected):
    error = refused(overrides={section: {key: value}})
    assert error.where == "override"
    assert error.what.startswith(f"{section}.{key}: found {value!r}, expected ")
    assert expected in error.what.partition("expected")[2]


def test_settings_that_contradict_each_other_are_told_together():
    error = refused(env={"USID_CONVERT__CHUNK": "1 GiB"})
    assert error.where == "USID_CONVERT__CHUNK"
    assert "convert.chunk = '1 GiB', convert.shard_max = '128 MiB'" in error.what
    assert "chunk <= shard_max" in error.what
    refused(overrides={"read": {"block_min": "64 MiB"}})
    refused(overrides={"claims": {"renew_s": 60}})
    refused(overrides={"validate": {"chunk_min": "17 MiB"}})
    refused(overrides={"convert": {"codec": "blosc-lz4", "codec_level": 10}})


def test_every_bad_value_is_told_at_once(site):
    config = site("ingest:\n  workers: none\n")
    error = refused(config, {"USID_CONVERT__THREADS": "perhaps"})
    assert error.where == f"{config}:2, USID_CONVERT__THREADS"
    assert "ingest.workers" in error.what
    assert "convert.threads" in error.what


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("ingest:\n  ignore: [*.tmp]\n", "not YAML"),
        ("ingest:\n  workers: 2\n  workers: 3\n", "'workers' stands twice in ingest"),
        ("ingest: 5\n", "ingest is 5, expected a section"),
        ("- ingest\n", "the file is ['ingest']"),
    ],
)
def test_a_file_of_another_form_is_refused(site, text, told):
    assert told in refused(site(text)).what


@pytest.mark.parametrize("text", ["", "# nothing\n", "ingest:\n", "ingest: {}\nread:\n  # none\n"])
def test_a_file_without_settings_changes_nothing(site, text):
    assert load_settings(site(text), env={}) == Settings()


def test_a_missing_file_is_an_error(tmp_path):
    missing = tmp_path / "absent.yaml"
    assert refused(missing).where == str(missing)
    assert "No such file" in refused(env={"USID_CONFIG": str(missing)}).what
    assert "directory" in refused(tmp_path).what
    (tmp_path / "latin.yaml").write_bytes(b"convert: {codec: \xb5}")
    assert "not UTF-8" in refused(tmp_path / "latin.yaml").what


def test_lists_and_nothing_in_variables():
    env = {
        "USID_INGEST__IGNORE": '["a b", "c"]',
        "USID_CONVERT__DIR_MODE": "null",
        "USID_CONVERT__FILE_MODE": "0640",
        "USID_VALIDATE__SEVERITY": "warning",
    }
    settings = load_settings(env=env)
    assert settings.ingest.ignore == ("a b", "c")
    assert settings.convert.dir_mode is None
    assert settings.convert.file_mode == 0o640
    assert settings.validate.severity is Severity.WARNING
    assert "JSON" in refused(env={"USID_INGEST__IGNORE": "[a"}).what


def test_an_override_that_is_no_section_is_refused():
    assert "expected a section" in refused(overrides={"ingest": 3}).what
    assert "'ingest.workers'" in refused(overrides={"ingest": {"worker": 3}}).remedy


@pytest.mark.parametrize(
    ("key", "value", "is_shaping"),
    [
        ("chunk", "2 MiB", True),
        ("shard_max", "64 MiB", True),
        ("intent", "images", True),
        ("codec", "zstd", True),
        ("codec", "auto", False),
        ("codec_level", 9, False),
        ("objective", "small", True),
        ("memory", "2 GiB", False),
        ("resume_from", "1 GiB", False),
        ("threads", 7, False),
        ("verify_cells", 1, False),
        ("file_mode", "0600", False),
        ("dir_mode", "0700", False),
    ],
)
def test_the_digest_covers_exactly_what_shapes_a_store(key, value, is_shaping):
    changed = shaping_digest(load_settings(env={}, overrides={"convert": {key: value}}))
    assert (changed != shaping_digest(Settings())) is is_shaping


def test_the_digest_is_of_the_meaning_and_stays():
    by_bytes = load_settings(env={}, overrides={"convert": {"chunk": 1024**2}})
    assert shaping_digest(by_bytes) == shaping_digest(Settings())
    levels = [{"codec": "none", "codec_level": level} for level in (1, 9)]
    settings = [load_settings(env={}, overrides={"convert": level}) for level in levels]
    assert len({shaping_digest(each) for each in settings}) == 1
    small, fast = (
        shaping_digest(
            load_settings(env={}, overrides={"convert": {"codec": "auto", "objective": o}})
        )
        for o in ("small", "fast")
    )
    assert small != fast
    # receipts hold it: a change of this line makes every store outdated
    assert shaping_digest(Settings()) == (
        "blake3:824c2aa0c2253e8602aeca7db87c9980f543c351bca58eaf9d78b07490ce1b08"
    )
