"""``python -m usid_tasks.checks [FILE]``: the page of all rules, printed or written to a file."""

from __future__ import annotations

import sys
from pathlib import Path

from usid_tasks.checks import rules_page

if __name__ == "__main__":
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(rules_page(), encoding="utf-8")
    else:
        sys.stdout.write(rules_page())
