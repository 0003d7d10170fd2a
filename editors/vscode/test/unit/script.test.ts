import { describe, expect, it } from "vitest";
import { formatScript, parseScript } from "../../src/notebook/script.js";

const parse = (source: string) => parseScript(source, () => true);

describe("a script", () => {
  it.each([
    "",
    "\n\n",
    "x = 1",
    "x = 1\n",
    "# %%",
    "# %%\n",
    "# %%\n# %%\n",
    "\n# %% late\nx\n",
    "import a\n\n\n# %% one\n\nx = 1\n\n\n#%% two\ny\n\n",
    "# %% [markdown]\n# # Title\n#\n# text\n\n# %%\nx",
    "# %% [markdown]\n# spaced   \n#  twice\n# %% [markdown]\nnot prose\n",
    "# %% [markdown]\n#not prose\n",
    "# %% [markdown] named\n# a\n",
  ])("is the same again: %j", (source) => {
    expect(formatScript(parse(source))).toBe(source);
  });

  it("has code and prose", () => {
    const cells = parse("import a\n# %% [markdown]\n# *b*\n#\n# c\n# %% d\ne\n");
    expect(cells.map(({ kind, text }) => [kind, text])).toEqual([
      ["code", "import a"],
      ["markdown", "*b*\n\nc"],
      ["code", "e"],
    ]);
  });

  it("has no cell at what is no marker", () => {
    expect(parseScript("a = '''\n# %%\n'''", () => false)).toHaveLength(1);
  });

  it("takes cells that were made in the notebook", () => {
    const [first, second] = parse("# %% a\n1");
    const written = formatScript([
      first!,
      { kind: "code", text: "2" },
      { kind: "markdown", text: "three\n\nand" },
      { kind: "code", text: "" },
    ]);
    expect(second).toBeUndefined();
    expect(written).toBe("# %% a\n1\n# %%\n2\n\n# %% [markdown]\n# three\n#\n# and\n\n# %%\n");
    expect(parse(written).map(({ text }) => text)).toEqual(["1", "2", "three\n\nand", ""]);
  });

  it("takes cells in another order", () => {
    const [first, second] = parse("a = 1\n# %%\nb = 2");
    const written = formatScript([second!, first!]);
    expect(written).toBe("# %%\nb = 2\n# %%\na = 1\n");
    expect(parse(written)).toHaveLength(2);
  });
});
