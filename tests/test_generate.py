"""The generated files: never stale, whole, and true to what the server accepts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nrepl_py import errors, generate, limits, ops

SCHEMA = generate.json_schema()


def test_nothing_is_stale() -> None:
    assert generate.main(["--check"]) == 0


def test_check_names_the_stale_file_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "protocol.md"
    page.write_text("<!-- generated: limits -->\nOLD\n<!-- end -->\n")
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    assert generate.main(["--check"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "stale: protocol.md", "stale: editors/protocol.json", "stale: editors/protocol.ts",
    ]  # fmt: skip
    assert "OLD" in page.read_text()
    assert generate.main([]) == 0
    assert "max-frame-bytes" in page.read_text()
    assert "OLD" not in page.read_text()
    assert generate.main(["--check"]) == 0


def test_a_block_of_unknown_name_is_an_error() -> None:
    with pytest.raises(KeyError):
        generate.fill("<!-- generated: no such thing -->\n<!-- end -->")


def test_what_is_between_blocks_is_left_alone() -> None:
    page = "before\n<!-- generated: errors -->\n<!-- end -->\nafter\n"
    assert generate.fill(page).startswith("before\n")
    assert generate.fill(page).endswith("\nafter\n")
    assert generate.fill(generate.fill(page)) == generate.fill(page)


def test_every_status_error_limit_and_shape_is_told() -> None:
    blocks = generate.blocks()
    assert all(f"`{status}`" in blocks["statuses"] for status in ops.STATUSES)
    assert all(f"`{code}`" in blocks["errors"] for code in errors.ERRORS)
    assert all(f"`{name.replace('_', '-')}`" in blocks["limits"] for name in limits.Limits.__struct_fields__)
    named = {cls.__name__ for cls in generate.ALL}
    records = [cls for cls in vars(ops).values() if isinstance(cls, type) and issubclass(cls, ops.Record)]
    bases = {"Record", "Request", "EvalOptions"}
    assert {cls.__name__ for cls in records} - named - bases == set()


@pytest.mark.parametrize("op", ops.OPS)
def test_every_field_of_an_op_is_told_everywhere(op: str) -> None:
    cls = ops.OPS[op]
    names = {field.encode_name for field in generate._fields(cls)}
    schema = SCHEMA["$defs"][generate.public_name(cls)]
    assert set(schema["properties"]) == names | {"op"}
    assert schema["properties"]["op"] == {"enum": [op]}
    assert all(f"| `{name}` |" in generate.blocks()[f"op {op}"] for name in names - {"id"})
    interface = generate.typescript().partition(f"interface {generate.public_name(cls)} {{")[2].partition("\n}")[0]
    assert all(f"  {name}" in interface or f'  "{name}"' in interface for name in names)


def test_every_reference_of_the_schema_leads_somewhere() -> None:
    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if "$ref" in node else []
            return own + [found for item in node.values() for found in references(item)]
        return [found for item in node for found in references(item)] if isinstance(node, list) else []

    assert {found.removeprefix("#/$defs/") for found in references(SCHEMA)} <= set(SCHEMA["$defs"])
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA


def test_no_type_shadows_a_browsers_own() -> None:
    assert not {"Event", "Request", "Response"} & {generate.public_name(cls) for cls in generate.ALL}


def test_statuses_and_codes_of_the_ops_are_declared() -> None:
    for cls in generate.REQUESTS:
        assert set(cls.statuses) <= set(ops.STATUSES)
        assert {*cls.errors, *ops.COMMON_ERRORS} <= set(errors.ERRORS)


def test_types_in_words() -> None:
    told = {field.encode_name: generate._type(field.type) for field in generate._fields(ops.Eval)}
    assert told["mime"] == "list of string"
    assert told["timeout"] == "number"
    assert told["values"] == "`all` | `last` | `none`"
