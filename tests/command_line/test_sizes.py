from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usid_tasks.sizes import exact_size, format_size, parse_size

SIZES = st.integers(0, 2**70)


@given(SIZES)
def test_an_exact_size_reads_back_to_the_byte(size_bytes):
    assert parse_size(exact_size(size_bytes)) == size_bytes


@given(SIZES)
def test_an_integer_is_bytes(size_bytes):
    assert parse_size(size_bytes) == size_bytes
    assert parse_size(str(size_bytes)) == size_bytes


@given(st.integers(0, 2**60))
def test_a_formatted_size_is_short_and_close(size_bytes):
    text = format_size(size_bytes)
    number, unit = text.split()
    assert float(number) < 1024
    power = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"].index(unit)
    assert float(number) * 1024**power == pytest.approx(size_bytes, abs=0.051 * 1024**power)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("4 GiB", 4 * 1024**3),
        ("4gib", 4 * 1024**3),
        ("4 GB", 4 * 1000**3),
        (" 1.5 KiB ", 1536),
        ("0", 0),
        ("512 B", 512),
        ("0.1 MB", 100_000),
    ],
)
def test_sizes_as_people_write_them(text, size_bytes):
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize(
    "size",
    ["", "MiB", "4 G", "4 K", "-1 MiB", "1e6", "four", "1.5 B", "٤ MiB", -1, True, 1.5, None],
)
def test_what_is_no_size_is_refused(size):
    with pytest.raises(ValueError, match=r"a size|whole number"):
        parse_size(size)


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1024**2 - 1, "1.0 MiB"), (2**32, "4.0 GiB")],
)
def test_sizes_as_people_read_them(size_bytes, text):
    assert format_size(size_bytes) == text
