/** Notebooks in our sessions: `.ipynb` files, and scripts with `# %%` cells, through VS Code's own editor of notebooks. */
import * as assert from "node:assert/strict";
import * as vscode from "vscode";
import { folder } from "./extension";
import { test, until } from "./testing";

const PNG = "iVBORw0KGgoAAAANSUhEUgAAAAoAAAAKCAIAAAACUFjqAAAAEklEQVR4nGP4z8CAB+GTG8HSALfKY52fTcuYAAAAAElFTkSuQmCC";

async function ipynb(name: string, ...cells: string[]): Promise<vscode.NotebookDocument> {
  const content = {
    cells: cells.map((source) => ({ cell_type: "code", execution_count: null, metadata: {}, outputs: [], source })),
    metadata: { language_info: { name: "python" } },
    nbformat: 4,
    nbformat_minor: 2,
  };
  return open(name, JSON.stringify(content), "jupyter-notebook");
}

/** Open it with our controller chosen. */
async function open(name: string, text: string, type: string): Promise<vscode.NotebookDocument> {
  const uri = vscode.Uri.joinPath(folder(), name);
  await vscode.workspace.fs.writeFile(uri, new TextEncoder().encode(text));
  if (type !== "jupyter-notebook") await vscode.commands.executeCommand("vscode.openWith", uri, type);
  const notebook =
    vscode.workspace.notebookDocuments.find((one) => one.uri.toString() === uri.toString()) ??
    (await vscode.workspace.openNotebookDocument(uri));
  await vscode.window.showNotebookDocument(notebook);
  const id = type === "jupyter-notebook" ? "nrepl-py" : type;
  await vscode.commands.executeCommand("notebook.selectKernel", { id, extension: "nrepl-py.nrepl-py" });
  return notebook;
}

function execute(notebook: vscode.NotebookDocument, ...indexes: number[]): Thenable<unknown> {
  const ranges = indexes.map((index) => ({ start: index, end: index + 1 }));
  return vscode.commands.executeCommand("notebook.cell.execute", { ranges, document: notebook.uri });
}

/** Wait until the cell has ended; whether well. */
async function ended(cell: vscode.NotebookCell): Promise<boolean> {
  await until(`the end of cell ${cell.index}`, () => cell.executionSummary?.success !== undefined);
  return cell.executionSummary!.success!;
}

/** Its outputs as text, by MIME type. */
function outputs(cell: vscode.NotebookCell): Record<string, string>[] {
  return cell.outputs.map((output) =>
    Object.fromEntries(output.items.map((item) => [item.mime, new TextDecoder().decode(item.data)])),
  );
}

/** What it has printed so far. */
function printed(cell: vscode.NotebookCell): string {
  return outputs(cell)
    .map((output) => output["application/vnd.code.notebook.stdout"] ?? "")
    .join("");
}

test("a notebook runs its cells in order, with their values, times and counts", async () => {
  const notebook = await ipynb("first.ipynb", "x = 6", "print('so')\nx * 7");
  await execute(notebook, 0, 1);
  const [first, second] = [notebook.cellAt(0), notebook.cellAt(1)];
  assert.equal(await ended(first), true);
  assert.equal(await ended(second), true);
  assert.equal(printed(second), "so\n");
  assert.equal(outputs(second).at(-1)!["text/plain"], "42");
  assert.equal(second.executionSummary!.executionOrder, first.executionSummary!.executionOrder! + 1);
  const { startTime, endTime } = second.executionSummary!.timing!;
  assert.ok(startTime <= endTime && startTime >= first.executionSummary!.timing!.startTime);
});

test("what a cell prints is there while it runs, and interrupting ends it", async () => {
  const notebook = await ipynb("stream.ipynb", "print('begun', flush=True)\nwhile True: pass");
  const running = execute(notebook, 0);
  const cell = notebook.cellAt(0);
  await until("its output", () => printed(cell) === "begun\n");
  assert.equal(cell.executionSummary?.success, undefined);
  await vscode.commands.executeCommand("notebook.cancelExecution", {
    ranges: [{ start: 0, end: 1 }],
    document: notebook.uri,
  });
  assert.equal(await ended(cell), false);
  await running;
});

test("pictures and HTML arrive as what they are", async () => {
  const notebook = await ipynb(
    "rich.ipynb",
    `import base64\nclass Both:\n    def _repr_png_(self): return base64.b64decode("${PNG}")\n` +
      `    def _repr_html_(self): return "<b>both</b>"\ndisplay(Both())\nBoth()`,
  );
  await execute(notebook, 0);
  const cell = notebook.cellAt(0);
  assert.equal(await ended(cell), true);
  assert.equal(cell.outputs.length, 2);
  for (const output of cell.outputs) {
    const png = output.items.find(({ mime }) => mime === "image/png")!;
    assert.deepEqual(Buffer.from(png.data), Buffer.from(PNG, "base64"));
    const html = output.items.find(({ mime }) => mime === "text/html")!;
    assert.equal(new TextDecoder().decode(html.data), "<b>both</b>");
  }
});

test("a display is updated where it stands, from other cells too", async () => {
  const notebook = await ipynb(
    "display.ipynb",
    "display('one', display_id='shown')\nprint('after')",
    "display('two', display_id='shown', update=True)\nNone",
  );
  await execute(notebook, 0);
  const [first, second] = [notebook.cellAt(0), notebook.cellAt(1)];
  assert.equal(await ended(first), true);
  assert.equal(outputs(first)[0]!["text/plain"], "'one'");
  await execute(notebook, 1);
  assert.equal(await ended(second), true);
  await until("the update", () => outputs(first)[0]!["text/plain"] === "'two'");
  assert.deepEqual(outputs(second), []);
  assert.equal(printed(first), "after\n");
});

test("an error is VS Code's own kind, and the cells behind it do not run", async () => {
  const notebook = await ipynb("error.ipynb", "def half(n): return n / 0\nhalf(4)", "'never'");
  await execute(notebook, 0, 1);
  const cell = notebook.cellAt(0);
  assert.equal(await ended(cell), false);
  const error = JSON.parse(outputs(cell).at(-1)!["application/vnd.code.notebook.error"]!) as Record<string, string>;
  assert.equal(error["name"], "ZeroDivisionError");
  assert.equal(error["message"], "division by zero");
  assert.match(error["stack"]!, /half/);
  assert.equal(notebook.cellAt(1).outputs.length, 0);
});

test("a notebook is saved with its outputs", async () => {
  const notebook = await ipynb("saved.ipynb", "'kept'");
  await execute(notebook, 0);
  assert.equal(await ended(notebook.cellAt(0)), true);
  assert.equal(await notebook.save(), true);
  const saved = JSON.parse(new TextDecoder().decode(await vscode.workspace.fs.readFile(notebook.uri))) as {
    cells: { execution_count: number; outputs: { data: Record<string, string[]> }[] }[];
  };
  assert.deepEqual(saved.cells[0]!.outputs[0]!.data["text/plain"], ["'kept'"]);
  assert.ok(saved.cells[0]!.execution_count > 0);
});

test("a script is a notebook, and stays the script it was", async () => {
  const text = "import math\n\n# %% [markdown]\n# A *title*\n\n# %% area\nmath.floor(math.pi)\n";
  const notebook = await open("cells.py", text, "nrepl-py-script");
  const kinds = notebook.getCells().map(({ kind }) => kind);
  const { Code, Markup } = vscode.NotebookCellKind;
  assert.deepEqual(kinds, [Code, Markup, Code]);
  assert.equal(notebook.cellAt(1).document.getText(), "A *title*");
  await execute(notebook, 0, 2);
  assert.equal(await ended(notebook.cellAt(2)), true);
  assert.equal(outputs(notebook.cellAt(2)).at(-1)!["text/plain"], "3");
  const edit = new vscode.WorkspaceEdit();
  edit.insert(notebook.cellAt(2).document.uri, new vscode.Position(0, 0), "1 + ");
  await vscode.workspace.applyEdit(edit);
  assert.equal(await notebook.save(), true);
  const saved = new TextDecoder().decode(await vscode.workspace.fs.readFile(notebook.uri));
  assert.equal(saved, text.replace("math.floor", "1 + math.floor"));
  await vscode.commands.executeCommand("workbench.action.closeActiveEditor");
});
