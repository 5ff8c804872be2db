"""What a site may set: one frozen model a section, merged from files, variables and options.

The defaults stand twice, in ``configs/default.yaml`` for people and here for the type checker;
a test holds them equal.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any, Self

import blake3
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from usid_tasks.codec_names import AUTO, CODEC_NAMES, Objective, level_of
from usid_tasks.configuration import (
    Layer,
    Origin,
    read_default,
    read_file,
    read_overrides,
    read_variables,
    refusal,
)
from usid_tasks.errors import RefusedError
from usid_tasks.intents import parse_intent
from usid_tasks.model import Severity
from usid_tasks.sizes import exact_size, parse_size

SHAPING = (
    "convert.chunk",
    "convert.shard_max",
    "convert.intent",
    "convert.codec",
    "convert.codec_level",
    "convert.objective",
    "validate.uniform_tolerance",
)
"""The settings that change the bytes of a store."""


def _refuse_truth(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a number")
    return value


def _parse_mode(mode: object) -> object:
    digits = mode.removeprefix("0o") if isinstance(mode, str) else ""
    if not 3 <= len(digits) <= 4 or not set(digits) <= set("01234567"):
        raise ValueError('octal digits in quotes, such as "0640"')
    return int(digits, 8)


Size = Annotated[
    int, BeforeValidator(parse_size), PlainSerializer(exact_size, return_type=str, when_used="json")
]
"""Bytes; written as "4 MiB" or 4194304."""

Mode = Annotated[
    int, BeforeValidator(_parse_mode), PlainSerializer(lambda mode: f"{mode:04o}", return_type=str)
]
"""Permission bits; written as octal digits in quotes."""


def _parse_intent(text: object) -> object:
    if isinstance(text, str):
        try:
            parse_intent(text)
        except RefusedError as error:
            raise ValueError(error.remedy.removeprefix("Use ").rstrip(".")) from None
    return text


def _parse_codec(name: object) -> object:
    if name != AUTO and name not in CODEC_NAMES:
        raise ValueError(f"one of {AUTO}, {', '.join(CODEC_NAMES)}")
    return name


Intent = Annotated[str, BeforeValidator(_parse_intent)]
"""What a store is for; see :func:`usid_tasks.intents.parse_intent`."""

CodecName = Annotated[str, BeforeValidator(_parse_codec)]
"""One of :data:`usid_tasks.codec_names.CODEC_NAMES`, or auto."""

Count = Annotated[int, BeforeValidator(_refuse_truth), Field(ge=0)]
Workers = Annotated[int, BeforeValidator(_refuse_truth), Field(ge=1)]
Number = Annotated[float, BeforeValidator(_refuse_truth), Field(ge=0, allow_inf_nan=False)]


class Section(BaseModel):
    """One section of the configuration: frozen, and closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class IngestSettings(Section):
    """Finding the source files and deciding which of them are ready."""

    settle_s: Number = 60.0
    look_interval_s: Number = 2.0
    ignore: tuple[str, ...] = (".snapshot", "@eaDir", "#recycle", ".nfs*", ".usid", "*.zarr")
    workers: Workers = 2
    deferred_warning_hours: Number = 24.0
    probe_timeout_s: Annotated[Number, Field(gt=0)] = 120.0


class ReadSettings(Section):
    """How much of a Main dataset is read at once."""

    block_min: Size = 4 * 1024**2
    block_max: Size = 128 * 1024**2
    block_target: Size = 32 * 1024**2

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not 0 < self.block_min <= self.block_target <= self.block_max:
            raise ValueError("0 < block_min <= block_target <= block_max")
        return self


class ConvertSettings(Section):
    """What a store looks like, and how it is written."""

    chunk: Size = 1024**2
    shard_max: Size = 128 * 1024**2
    intent: Intent = "balanced"
    codec: CodecName = "auto"
    codec_level: Count | None = None
    objective: Objective = "fast"
    threads: Workers = 2
    memory: Size = 1024**3
    resume_from: Size = 64 * 1024**2
    verify_cells: Count = 64
    file_mode: Mode | None = None
    dir_mode: Mode | None = None

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if not 0 < self.chunk <= self.shard_max:
            raise ValueError("0 < chunk <= shard_max")
        if self.codec != AUTO:
            level_of(self.codec, self.codec_level)
        return self


class ValidateSettings(Section):
    """Which rules are told, and from where on a storage layout is worth a finding."""

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    severity: Severity = Severity.INFO
    uniform_tolerance: Number = 0.01
    chunk_min: Size = 16 * 1024
    chunk_max: Size = 16 * 1024**2
    uncompressed_info: Size = 256 * 1024**2

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.chunk_min > self.chunk_max:
            raise ValueError("chunk_min <= chunk_max")
        return self


class ClaimSettings(Section):
    """The mark that keeps two hosts from converting one source at the same time."""

    renew_s: Annotated[Number, Field(gt=0)] = 10.0
    dead_after_s: Number = 120.0

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.dead_after_s < 3 * self.renew_s:
            raise ValueError("dead_after_s of at least three times renew_s")
        return self


class ProcessSettings(Section):
    """Running tools over Main datasets, and where their results go."""

    memory: Annotated[Size, Field(ge=1)] = 1024**3
    workers: Workers = 2
    results_root: Path | None = None
    writable_roots: tuple[Path, ...] = ()


class SiteSettings(Section):
    """What this machine keeps for itself."""

    state_dir: Path | None = None


class CatalogSettings(Section):
    """The index of the receipts."""

    url: str | None = None


class PrefectSettings(Section):
    """Running as a Prefect flow."""

    startup_timeout_s: Number = 120.0
    table_rows: Workers = 200


with warnings.catch_warnings():
    # pydantic's long deprecated BaseModel.validate gives way to the section of that name
    warnings.filterwarnings("ignore", message='Field name "validate"', category=UserWarning)

    class Settings(BaseSettings):
        """The whole configuration, checked and frozen.

        It holds the defaults where nothing is given and reads neither file nor environment by
        itself: pydantic-settings would ignore a missing file and a mistyped variable, so
        :func:`load_settings` reads the layers and merges them.
        """

        model_config = SettingsConfigDict(extra="forbid", frozen=True)

        ingest: IngestSettings = IngestSettings()
        read: ReadSettings = ReadSettings()
        convert: ConvertSettings = ConvertSettings()
        validate: ValidateSettings = ValidateSettings()  # type: ignore[assignment]
        claims: ClaimSettings = ClaimSettings()
        process: ProcessSettings = ProcessSettings()
        site: SiteSettings = SiteSettings()
        catalog: CatalogSettings = CatalogSettings()
        prefect: PrefectSettings = PrefectSettings()

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],  # noqa: ARG003
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            """Return the arguments as the only source."""
            return (init_settings,)


def setting_keys() -> tuple[str, ...]:
    """Return every setting's dotted key, in the order of ``default.yaml``."""
    return tuple(
        f"{section}.{key}"
        for section, field in Settings.model_fields.items()
        for key in type(field.default).model_fields
    )


def load_settings(
    config: Path | None = None,
    env: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """Return the merged configuration.

    The order, first wins: `overrides`, variables ``USID_<SECTION>__<KEY>``, the site's file,
    ``default.yaml``.

    Parameters
    ----------
    config
        The site's YAML file; without one, the file that ``USID_CONFIG`` names, if any.
    env
        The environment; that of the process if None.
    overrides
        ``{section: {key: value}}``, such as a command's options.

    Raises
    ------
    SettingsError
        Where a named file cannot be read, a key or variable is unknown (the nearest right name
        is told), or a value is not what the key expects.
    """
    return _settings(_merge(config, env, overrides))


def origins(
    config: Path | None = None,
    env: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> dict[str, Origin]:
    """Return each dotted key's checked value, as JSON, and where it came from.

    Parameters and errors are those of :func:`load_settings`.
    """
    merged = _merge(config, env, overrides)
    checked = _settings(merged).model_dump(mode="json")
    return {
        key: Origin(checked[key.partition(".")[0]][key.partition(".")[2]], merged[key].source)
        for key in setting_keys()
    }


def shaping_digest(settings: Settings) -> str:
    """Return ``blake3:<hex>`` over exactly the settings that change the bytes of a store.

    Two configurations of the same digest make equal stores: threads, flushing and permissions
    do not count, nor does the level of no codec.
    """
    shaping = {key: attrgetter(key)(settings) for key in SHAPING}
    codec = settings.convert.codec
    if codec == AUTO:
        del shaping["convert.codec_level"]
    else:
        shaping["convert.codec_level"] = level_of(codec, settings.convert.codec_level)
        del shaping["convert.objective"]
    text = json.dumps(shaping, sort_keys=True, separators=(",", ":"))
    return f"blake3:{blake3.blake3(text.encode()).hexdigest()}"


def _merge(
    config: Path | None, env: Mapping[str, str] | None, overrides: Mapping[str, Any] | None
) -> Layer:
    env = os.environ if env is None else env
    known = setting_keys()
    if config is None and env.get("USID_CONFIG"):
        config = Path(env["USID_CONFIG"])
    site = {} if config is None else read_file(config, known)
    return {
        **read_default(),
        **site,
        **read_variables(env, known),
        **read_overrides(overrides or {}, known),
    }


def _settings(merged: Layer) -> Settings:
    values: dict[str, dict[str, Any]] = {}
    for dotted, origin in merged.items():
        section, _, key = dotted.partition(".")
        values.setdefault(section, {})[key] = origin.value
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise refusal(error, merged) from error
