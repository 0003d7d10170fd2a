import { NotebookCellOutput, NotebookCellOutputItem, type NotebookCellExecution } from "vscode";
import { beforeEach, describe, expect, it } from "vitest";
import { CellExecution, type Displays } from "../../src/notebook/execution.js";
import type { Run } from "../../src/runs.js";

let outputs: NotebookCellOutput[];
let ended: boolean | undefined;
let displays: Displays;
let shown: CellExecution;

/** As VS Code's: it makes edits later. */
const execution = {
  appendOutput: async (output: NotebookCellOutput) => void outputs.push(output),
  replaceOutput: async (output: NotebookCellOutput) => void outputs.splice(0, outputs.length, output),
  appendOutputItems: async (item: NotebookCellOutputItem, output: NotebookCellOutput) => void output.items.push(item),
  replaceOutputItems: async (items: NotebookCellOutputItem[], output: NotebookCellOutput) =>
    void output.items.splice(0, output.items.length, ...items),
  end: (success: boolean | undefined) => void (ended = success),
} as unknown as NotebookCellExecution;

function run(fields: object = {}): Run {
  return { ok: true, status: new Set(), ...fields } as unknown as Run;
}

async function says(...messages: object[]): Promise<void> {
  for (const message of messages) shown.take(run(), message);
  await shown.end(run());
}

/** Each output as its types and texts; items of one kind of printing are one, as VS Code makes them. */
function seen(): [string, string][][] {
  const text = (item: NotebookCellOutputItem): string => new TextDecoder().decode(item.data);
  return outputs.map(({ items }) =>
    items.every(({ mime }) => /^std/.test(mime))
      ? [[items[0]!.mime, items.map(text).join("")]]
      : items.map((item): [string, string] => [item.mime, text(item)]),
  );
}

beforeEach(() => {
  outputs = [];
  ended = undefined;
  displays = new Map();
  shown = new CellExecution(execution, displays);
});

describe("below a cell", () => {
  it("output stands in its order, each channel by itself", async () => {
    await says({ out: "a" }, { out: "b" }, { err: "c" }, { out: "d" });
    expect(seen()).toEqual([[["stdout", "ab"]], [["stderr", "c"]], [["stdout", "d"]]]);
    expect(ended).toBe(true);
  });

  it("values come in their types, behind what was printed before", async () => {
    await says(
      { out: "a" },
      { value: "1", mime: { "image/png": new Uint8Array([104, 105]), "application/json": { b: 1 } } },
    );
    expect(seen()).toEqual([
      [["stdout", "a"]],
      [
        ["image/png", "hi"],
        ["application/json", '{"b":1}'],
        ["text/plain", "1"],
      ],
    ]);
  });

  it("an error has its traceback, which is not printed as well", async () => {
    const error = { type: "ValueError", message: "no" };
    shown.take(run({ traceback: "Traceback" }), { error: error as never, err: "Traceback" });
    await shown.end(run({ ok: false }));
    expect(seen()).toEqual([[["error", JSON.stringify({ name: "ValueError", message: "no", stack: "Traceback" })]]]);
    expect(ended).toBe(false);
  });

  it("a display is updated where it stands, also by another cell", async () => {
    await says({ display: { mime: { "text/plain": "one" }, "display-id": "d" } }, { out: "after" });
    const [first] = outputs;
    shown = new CellExecution(execution, displays);
    await says({ display: { mime: { "text/plain": "two" }, "display-id": "d", update: true } });
    expect(outputs[0]).toBe(first);
    expect(seen()).toEqual([[["text/plain", "two"]], [["stdout", "after"]]]);
  });

  it("what is cleared makes way for what comes next", async () => {
    await says({ out: "old" }, { display: { mime: {}, clear: true } }, { out: "new" });
    expect(seen()).toEqual([[["stdout", "new"]]]);
    await says({ display: { mime: { "text/plain": "last" }, clear: true } });
    expect(seen()).toEqual([[["text/plain", "last"]]]);
  });

  it("a flood is cut, and says so", async () => {
    const line = "x".repeat(1 << 20);
    await says(...Array.from({ length: 8 }, () => ({ out: line })));
    const text = seen()[0]![0]![1];
    expect(text.length).toBeLessThan(6 << 20);
    expect(text).toMatch(/the rest is in the session's output only\n$/);
  });

  it("why it could not be run is said", async () => {
    await shown.end(run({ ok: false, failure: new Error("the server has ended") }));
    expect(seen()).toEqual([[["stderr", "the server has ended\n"]]]);
  });
});
