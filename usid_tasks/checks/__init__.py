"""Validation rules: pure functions over parsed records, listed explicitly in one registry."""

from __future__ import annotations

from usid_tasks.checks.page import rules_page
from usid_tasks.checks.registry import RULES

__all__ = ["RULES", "rules_page"]
