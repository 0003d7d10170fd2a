import { describe, expect, it } from "vitest";
import { NreplError } from "nrepl-py-client";
import { hoverOf, stripAnsi } from "../../src/rich.js";
import type { Run } from "../../src/runs.js";
import { troubleOf } from "../../src/trouble.js";

const hover = (fields: object): string | undefined => hoverOf({ mime: {}, ...fields } as unknown as Run)?.value;

describe("a hover", () => {
  it("has the whole value, and its picture", () => {
    const said = hover({ value: "<Plot>", mime: { "image/png": new Uint8Array([1, 2, 3]) } });
    expect(said).toBe("![value](data:image/png;base64,AQID)\n\n```python\n<Plot>\n```\n");
  });

  it("shows HTML and Markdown as text", () => {
    expect(hover({ mime: { "text/markdown": "![](https://elsewhere)" } })).toBe(
      "```markdown\n![](https://elsewhere)\n```\n",
    );
    expect(hover({ value: "x", mime: { "text/html": "<script>" } })).toContain("```html\n<script>\n```");
  });

  it("is cut where VS Code would show none", () => {
    expect(hover({ value: "x".repeat(200_000) })!.length).toBeLessThan(100_000);
    expect(hover({ value: "x", mime: { "image/png": new Uint8Array(80_000) } })).toContain("too large for a hover");
  });

  it("is none where there is nothing to say", () => {
    expect(hover({})).toBeUndefined();
  });
});

describe("text", () => {
  it("loses the colours of a terminal", () => {
    expect(stripAnsi("\x1b[1;31mred\x1b[0m \x1b]plain")).toBe("red \x1b]plain");
  });
});

describe("trouble", () => {
  it.each([
    [
      "no-server",
      "no server answers at ws://x",
      "No server answers at ws://x. Start one, or connect to another.",
      ["Start Again", "Connect to a Server…"],
    ],
    [
      "unauthorized",
      "hello: the token is wrong",
      "The token is wrong. Give the token of this server.",
      ["Connect to a Server…"],
    ],
    [
      "start-failed",
      "no interpreter /x",
      "The session did not start: No interpreter /x. Choose another interpreter.",
      ["Choose the Interpreter"],
    ],
    ["busy", "too many.", "Too many.", []],
  ])("%s says what to do", (code, said, told, actions) => {
    const trouble = troubleOf(new NreplError(code, said));
    expect(trouble.message).toBe(told);
    expect(trouble.actions.map(({ title }) => title)).toEqual(actions);
  });
});
