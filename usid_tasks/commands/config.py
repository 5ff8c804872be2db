"""``usid config show``: the settings, and where each came from."""

from __future__ import annotations

from usid_tasks.commands.options import AsJson, Config, echo_json, echo_lines


def show(*, config: Config = None, as_json: AsJson = False) -> None:
    """Print every setting with its value and where that came from.

    The text is a configuration file itself: keep the lines that differ, and name it by --config.

    With --json: one object, from each dotted key to its "value" and "source".
    """
    from usid_tasks.settings import origins

    merged = origins(config)
    if as_json:
        echo_json({key: {"value": it.value, "source": it.source} for key, it in merged.items()})
    else:
        from usid_tasks.report import settings_lines

        echo_lines(settings_lines({key: (it.value, it.source) for key, it in merged.items()}))
