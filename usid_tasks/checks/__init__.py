"""Validation rules: pure functions over parsed records, listed explicitly in one registry."""
