"""How values are shown: bounded text, MIME bundles, `display()`, and figures at the end of an eval.

Everything here may run code of the user's (`__repr__`, `_repr_html_`, …), so it runs while the eval
is armed: it can be interrupted, and what it raises is the eval's own error.
"""

from __future__ import annotations

import base64
import io
import json
import sys
import uuid
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from . import plain

_METHODS = {
    "text/html": "_repr_html_",
    "text/markdown": "_repr_markdown_",
    "image/svg+xml": "_repr_svg_",
    "image/png": "_repr_png_",
    "image/jpeg": "_repr_jpeg_",
    "application/pdf": "_repr_pdf_",
    "text/latex": "_repr_latex_",
    "application/json": "_repr_json_",
    "application/javascript": "_repr_javascript_",
}  # IPython's names, which libraries implement
_LONG = 4096  # items; below, a container's own repr is quick enough to be cut afterwards
_ATOMS = frozenset((int, float, bool, complex))  # their text is ASCII, and bounded by Python itself
_BRACKETS: Dict[type, Sequence[str]] = {
    list: "[]",
    tuple: "()",
    set: "{}",
    frozenset: ("frozenset({", "})"),
    dict: "{}",
}


def show(value: Any, quota: int) -> Tuple[bytes, bool]:
    """`repr(value)` as UTF-8 of at most `quota` bytes, and whether it was cut."""
    if type(value) in _ATOMS:
        text = repr(value)
        if len(text) <= quota:
            return text.encode(), False
    return cut(_bounded_repr(value, quota), quota)


def cut(text: str, quota: int) -> Tuple[bytes, bool]:
    data = plain.text(text[: quota + 1])
    if len(data) <= quota and len(text) <= quota:
        return data, False
    return data[:quota].decode("utf-8", "ignore").encode(), True


def _bounded_repr(value: Any, quota: int) -> str:
    kind = type(value)
    if kind in (str, bytes) and len(value) > quota:
        return repr(value[: quota + 1])
    if kind not in _BRACKETS or len(value) < _LONG:
        text = repr(value)
        return text if type(text) is str else str.__str__(text)
    # A huge container of a built-in type: stop as soon as the quota is full.
    opening, closing = _BRACKETS[kind]
    parts: List[str] = []
    left = quota
    for item in value.items() if kind is dict else value:
        part = "%s: %s" % (repr(item[0]), repr(item[1])) if kind is dict else repr(item)
        parts.append(part)
        left -= len(part) + 2
        if left < 0:
            return opening + ", ".join(parts)
    return opening + ", ".join(parts) + closing


def bundle(value: Any, wanted: Optional[Sequence[str]]) -> Dict[str, Any]:
    """The value in the MIME types wanted (None: all it offers). Without `text/plain` unless asked for by name."""
    found: Dict[str, Any] = {}
    offer = _method(value, "_repr_mimebundle_")
    if offer is not None:
        offered = offer(include=wanted, exclude=None)
        if isinstance(offered, tuple):  # (data, metadata), in IPython's convention
            offered = offered[0]
        found.update({kind: data for kind, data in (offered or {}).items() if wanted is None or kind in wanted})
    for kind, name in _METHODS.items():
        if kind not in found and (wanted is None or kind in wanted):
            data = _call(value, name)
            if data is not None:
                found[kind] = data
    if _is_figure(value) and "image/png" not in found and (wanted is None or "image/png" in wanted):
        found["image/png"] = png(value)
    if wanted is not None and "text/plain" in wanted and "text/plain" not in found:
        found["text/plain"] = repr(value)
    return found


def blobs(data: Dict[str, Any]) -> Tuple[List[str], List[bytes]]:
    """The bundle's types, and the bytes of each. Raises TypeError where a value does not fit its type."""
    return list(data), [_blob(kind, value) for kind, value in data.items()]


def _blob(kind: str, value: Any) -> bytes:
    if kind == "application/json" or kind.endswith("+json"):
        return json.dumps(value, allow_nan=False).encode()
    if isinstance(value, str):
        if kind.startswith("text/") or kind == "application/javascript" or kind.endswith("+xml"):
            return plain.text(str.__str__(value))
        return base64.b64decode(value)  # libraries written for Jupyter give images as base64
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    raise TypeError("%s must be text or bytes, not %s" % (kind, type(value).__name__))


def _method(value: Any, name: str) -> Optional[Callable[..., Any]]:
    # Looked up on the type: a proxy that answers every attribute must not pretend to have them all.
    if isinstance(value, type) or not hasattr(type(value), name):
        return None
    method = getattr(value, name)
    return method if callable(method) else None


def _call(value: Any, name: str) -> Any:
    method = _method(value, name)
    if method is None:
        return None
    data = method()
    return data[0] if isinstance(data, tuple) else data  # (data, metadata)


def _is_figure(value: Any) -> bool:
    module = sys.modules.get("matplotlib.figure")
    return module is not None and isinstance(value, module.Figure)


def png(figure: Any) -> bytes:
    """A matplotlib figure as PNG."""
    file = io.BytesIO()
    figure.savefig(file, format="png", bbox_inches="tight")
    return file.getvalue()


PYPLOT = "matplotlib.pyplot"


def open_figures() -> List[Any]:
    """Pyplot's open figures, which are closed by this: each is shown once, at the end of its eval."""
    pyplot = sys.modules.get(PYPLOT)
    if pyplot is None or not hasattr(pyplot, "get_fignums"):
        return []
    figures = [pyplot.figure(number) for number in pyplot.get_fignums()]
    for figure in figures:
        pyplot.close(figure)
    return figures


Say = Callable[[Dict[str, Any], Sequence[bytes]], None]


class Display:
    """The session's `display` function."""

    def __init__(self, say: Say) -> None:
        """`say(header, blobs)` sends a message of the code that calls it."""
        self._say = say

    def __call__(
        self,
        *values: Any,
        include: Optional[Sequence[str]] = None,
        metadata: Optional[Dict[str, Any]] = None,
        display_id: Any = None,
        update: bool = False,
        clear: bool = False,
        raw: bool = False,
    ) -> Optional[Handle]:
        """Show values to the client, each in every MIME type it offers (or those in `include`).

        `display_id` names the display (True: a random name) so that `update=True`, or the handle
        returned, can replace it; `clear` empties what was shown before; `raw`: each value is
        already a dict of MIME type to data.
        """
        name = uuid.uuid4().hex if display_id is True else display_id
        bundles = [value if raw else self._bundle(value, include) for value in values]
        for data in bundles or [{}] * clear:
            self._send(data, metadata, name, update, clear)
        return Handle(self, name) if name is not None else None

    @staticmethod
    def _bundle(value: Any, include: Optional[Sequence[str]]) -> Dict[str, Any]:
        data = bundle(value, include)
        if include is None:
            data.setdefault("text/plain", repr(value))
        return data

    def _send(
        self, data: Dict[str, Any], metadata: Optional[Dict[str, Any]], name: Any, update: bool, clear: bool
    ) -> None:
        types, contents = blobs(data)
        header: Dict[str, Any] = {"say": "display", "types": types, "update": update, "clear": clear}
        if name is not None:
            header["display-id"] = str(name)
        self._say(header, [json.dumps(metadata or {}, allow_nan=False).encode(), *contents])


class Handle:
    """A display that can be replaced."""

    def __init__(self, display: Display, display_id: str) -> None:
        self._display = display
        self.display_id = display_id

    def display(self, value: Any, **options: Any) -> None:
        """Show another display of the same name."""
        self._display(value, display_id=self.display_id, **options)

    def update(self, value: Any, **options: Any) -> None:
        """Replace what was shown under this name."""
        self._display(value, display_id=self.display_id, update=True, **options)
