"""Benchmarks of usid-flows against today's way, both in one run: ``python -m benchmarks``.

Never imported by the package, and no timed test: CI runs it small, for correctness only.
"""
