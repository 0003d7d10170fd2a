import { describe, expect, it } from "vitest";
import { Outline, pieceOf } from "../../src/code/outline.js";

const of = (...lines: string[]): Outline => new Outline(lines.join("\n"));

describe("cells", () => {
  it("begin at their markers, and what stands before the first is one too", () => {
    const { cells } = of("import math", "# %% one", "1", "#%%", "2");
    expect(cells.map(({ start, end, title }) => [start, end, title])).toEqual([
      [0, 1, ""],
      [1, 3, "one"],
      [3, 5, ""],
    ]);
  });

  it("are none where there is no marker, or only one in a string", () => {
    expect(of("1", "2").cells).toEqual([]);
    expect(of("text = '''", "# %% no", "'''").cells).toEqual([]);
    expect(of("text = f'''", "# %% {1 + 1}", "'''").cells).toEqual([]);
  });

  it("of markdown are told apart", () => {
    expect(of("# %% [markdown]", "# prose", "# %%", "1").cells.map((cell) => cell.isMarkdown)).toEqual([true, false]);
  });

  it("stand around each of their lines", () => {
    const outline = of("# %% a", "1", "# %% b", "2");
    expect([0, 1, 2, 3].map((line) => outline.cellAt(line).title)).toEqual(["a", "a", "b", "b"]);
    expect(of("1", "2").cellAt(1)).toMatchObject({ start: 0, end: 2 });
  });
});

describe("statements", () => {
  const outline = of(
    "x = [", //                0
    "    1,",
    "]",
    "for n in x:", //          3
    "    if n:",
    "        print(n)", //     5
    "    else:",
    "        pass", //         7
    "",
    "# a comment", //          9
    "try:",
    "    y = 1", //            11
    "except ValueError:",
    "    y = 2", //            13
    "match y:",
    "    case 1:", //          15
    "        z = 3",
    "with open('f') as f: pass", // 17
  );

  it("are found whole, the innermost", () => {
    expect(outline.statementAt(1)).toEqual({ start: 0, end: 3 });
    expect(outline.statementAt(3)).toEqual({ start: 3, end: 8 });
    expect(outline.statementAt(4)).toEqual({ start: 4, end: 8 });
    expect(outline.statementAt(5)).toEqual({ start: 5, end: 6 });
    expect(outline.statementAt(7)).toEqual({ start: 7, end: 8 });
    expect(outline.statementAt(11)).toEqual({ start: 11, end: 12 });
    expect(outline.statementAt(13)).toEqual({ start: 13, end: 14 });
    expect(outline.statementAt(16)).toEqual({ start: 16, end: 17 });
    expect(outline.statementAt(17)).toEqual({ start: 17, end: 18 });
  });

  it("are none on empty lines and comments", () => {
    expect(outline.statementAt(8)).toBeUndefined();
    expect(outline.statementAt(9)).toBeUndefined();
  });

  it("on one line are taken together", () => {
    expect(of("a = 1; b = 2").statementAt(0)).toEqual({ start: 0, end: 1 });
  });

  it("after something broken are found still", () => {
    expect(of("def f(:", "    pass", "", "good = 1").statementAt(3)).toEqual({ start: 3, end: 4 });
  });
});

describe("definitions", () => {
  const outline = of(
    "import a",
    "@decorated",
    "@twice(1)",
    "def f():",
    "    def g():",
    "        pass",
    "",
    "class C:",
    "    x = 1",
  );

  it("come whole, with their decorators, from any of their lines", () => {
    for (const line of [1, 3, 4, 5]) expect(outline.definitionAt(line)).toEqual({ start: 1, end: 6 });
    expect(outline.definitionAt(8)).toEqual({ start: 7, end: 9 });
  });

  it("may be any statement at the left margin", () => {
    expect(outline.definitionAt(0)).toEqual({ start: 0, end: 1 });
    expect(outline.definitionAt(6)).toBeUndefined();
  });
});

describe("pieces", () => {
  it("leave out what says nothing at both ends", () => {
    const outline = of("# %% a", "", "x = 1", "x", "", "# end");
    expect(outline.piece({ start: 0, end: 6 })).toEqual({ code: "x = 1\nx", line: 2, column: 0, start: 2, end: 4 });
    expect(outline.piece({ start: 0, end: 2 })).toBeUndefined();
  });

  it("of an indented line begin where its code does", () => {
    expect(pieceOf("    x + 1", 4, 0, { start: 4, end: 5 })).toMatchObject({ code: "x + 1", line: 4, column: 4 });
  });

  it("of several indented lines stay where they are", () => {
    const piece = pieceOf("    x\n    y", 4, 0, { start: 4, end: 6 });
    expect(piece).toMatchObject({ code: "if True:\n    x\n    y", line: 3, column: 0 });
  });

  it("have the ends of lines that Python wants", () => {
    expect(new Outline("x = 1\r\nx\r\n").piece({ start: 0, end: 2 })?.code).toBe("x = 1\nx");
  });
});

describe("the next line to run", () => {
  it("is after empty lines and comments", () => {
    expect(of("1", "", "# no", "2").nextAfter(1)).toBe(3);
    expect(of("1", "", "").nextAfter(1)).toBeUndefined();
  });
});
