"""Real numerical work, from JavaScript and in the browser's page, in a virtual environment without our packages."""

from __future__ import annotations

import json
import struct
import subprocess
import zlib
from pathlib import Path

from playwright.sync_api import expect

from nrepl_py.embed import serve_in_thread
from tests.clients.conftest import HERE, run
from tests.conftest import PATIENT
from tests.editors.page import User, chromium

FITTED = {"amplitude": 2.5, "damping": 0.35, "frequency": 4.0, "phase": 0.6, "offset": 0.8}


def test_fit_and_figure(node: str, numerical_python: Path, connection_file: Path, tmp_path: Path) -> None:
    figure = tmp_path / "fit.png"
    done = run(node, HERE / "node" / "numbers.mjs", connection_file, numerical_python, figure)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["info"]["prefix"] == str(numerical_python.parent.parent)
    assert_fits(report["fitted"], report["errors"])
    assert_picture(figure.read_bytes())


def test_a_table_and_a_figure_in_the_page(numerical_python: Path, tmp_path: Path) -> None:
    served = serve_in_thread(kind="local", python=str(numerical_python), limits=PATIENT)
    with served as server, chromium(XDG_RUNTIME_DIR=str(tmp_path)) as browser:
        user = User(browser, server.url, f"#token={server.token}&session=data").go()
        cell = user.done("import pandas as pd\npd.DataFrame({'name': ['<b>Ada</b>', 'Grace'], 'born': [1815, 1906]})")
        table = cell.frame_locator("iframe").locator("table.dataframe")
        expect(table.locator("thead th")).to_have_text(["", "name", "born"])
        expect(table.locator("tbody td")).to_have_text(["<b>Ada</b>", "1815", "Grace", "1906"])
        cell = user.done("import matplotlib.pyplot as plt\nfig = plt.figure(figsize=(4, 3))\nplt.plot([1, 4, 9])")
        width = cell.locator("img").evaluate("image => image.decode().then(() => image.naturalWidth)")
        assert 300 < width <= 400  # 4 inches of 100 pixels, less the margins
        assert user.problems == []


def test_the_environment_has_nothing_of_ours(numerical_python: Path) -> None:
    listed = subprocess.run(
        [numerical_python, "-m", "pip", "list", "--format=json"], capture_output=True, text=True, check=True
    )
    packages = {package["name"].lower() for package in json.loads(listed.stdout)}
    assert {"numpy", "matplotlib", "pandas"} <= packages
    assert not packages & {"nrepl-py", "nrepl_py", "websockets", "msgspec", "msgpack", "cloudpickle", "jedi", "parso"}


def assert_fits(fitted: dict[str, float], errors: dict[str, float]) -> None:
    """Each parameter is near what was simulated: within 5 % of it, and by what the fit itself claims."""
    assert fitted.keys() == FITTED.keys()
    for name, true in FITTED.items():
        assert abs(fitted[name] - true) < 0.05 * true, name
        assert abs(fitted[name] - true) < 4 * errors[name], name


def assert_picture(data: bytes) -> None:
    """A figure of a plausible size: white paper, not a little ink, and both colours that were drawn with."""
    width, height, pixels = decode_png(data)
    assert 600 <= width <= 1600
    assert 400 <= height <= 1200
    counts: dict[bytes, int] = {}
    for start in range(0, len(pixels), 4):
        pixel = pixels[start : start + 3]
        counts[pixel] = counts.get(pixel, 0) + 1
    area = width * height
    assert counts[b"\xff\xff\xff"] > area / 2
    assert area - counts[b"\xff\xff\xff"] > area / 50
    for colour in (bytes.fromhex("1f77b4"), bytes.fromhex("d62728")):  # matplotlib's tab:blue and tab:red
        assert counts.get(colour, 0) > 500, f"{colour.hex()} is missing"


def decode_png(data: bytes) -> tuple[int, int, bytes]:
    """Width, height and RGBA bytes of a PNG of 8 bits a channel, not interlaced (PNG specification, 9.2)."""
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    chunks: dict[bytes, bytes] = {}
    at = 8
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert zlib.crc32(kind + body) == struct.unpack_from(">I", data, at + 8 + length)[0], kind
        chunks[kind] = chunks.get(kind, b"") + body
        at += 12 + length
    width, height, *form = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert form == [8, 6, 0, 0, 0], "8 bits, RGBA, not interlaced"
    return width, height, unfilter(zlib.decompress(chunks[b"IDAT"]), width * 4)


def unfilter(raw: bytes, stride: int) -> bytes:
    """Undo the filter that each line names in its first byte; neighbours are 4 bytes apart."""
    lines = bytearray()
    above = bytearray(stride)
    for start in range(0, len(raw), stride + 1):
        line = bytearray(raw[start + 1 : start + 1 + stride])
        guess = GUESSES[raw[start]]
        if guess is not None:
            for i in range(stride):
                left, corner = (line[i - 4], above[i - 4]) if i >= 4 else (0, 0)
                line[i] = (line[i] + guess(left, above[i], corner)) & 0xFF
        lines += line
        above = line
    return bytes(lines)


def paeth(left: int, above: int, corner: int) -> int:
    """Of the three, the one nearest to left + above - corner; the first of equals."""
    to_left, to_above, to_corner = abs(above - corner), abs(left - corner), abs(left + above - 2 * corner)
    if to_left <= to_above and to_left <= to_corner:
        return left
    return above if to_above <= to_corner else corner


# By the number of the filter: none, Sub, Up, Average, Paeth.
GUESSES = (None, lambda a, b, c: a, lambda a, b, c: b, lambda a, b, c: (a + b) // 2, paeth)
