/** Scripts as notebooks: VS Code's side of `script.ts`. Outputs are not written into a script. */
import * as vscode from "vscode";
import { Outline } from "../code/outline.js";
import { SCRIPT_NOTEBOOK } from "../owner.js";
import { formatScript, parseScript, type ScriptCell } from "./script.js";

/** What is kept of a cell beside its text. */
type Kept = Pick<ScriptCell, "marker" | "after">;

export function registerScripts(subscriptions: vscode.Disposable[]): void {
  const options = { transientOutputs: true, transientCellMetadata: {} };
  subscriptions.push(vscode.workspace.registerNotebookSerializer(SCRIPT_NOTEBOOK, serializer, options));
}

const serializer: vscode.NotebookSerializer = {
  deserializeNotebook(content) {
    const text = new TextDecoder().decode(content);
    const source = text.replaceAll("\r\n", "\n");
    const starts = new Set(new Outline(source).cells.map((cell) => cell.start));
    const cells = parseScript(source, (line) => starts.has(line)).map((cell) => {
      const kind = cell.kind === "code" ? vscode.NotebookCellKind.Code : vscode.NotebookCellKind.Markup;
      const data = new vscode.NotebookCellData(kind, cell.text, cell.kind === "code" ? "python" : "markdown");
      data.metadata = { marker: cell.marker, after: cell.after };
      return data;
    });
    const data = new vscode.NotebookData(cells);
    data.metadata = { crlf: text.includes("\r\n") };
    return data;
  },
  serializeNotebook(data) {
    const cells = data.cells.map((cell): ScriptCell => {
      const { marker, after } = (cell.metadata ?? {}) as Kept;
      return {
        kind: cell.kind === vscode.NotebookCellKind.Code ? "code" : "markdown",
        text: cell.value,
        marker,
        after,
      };
    });
    const source = formatScript(cells);
    return new TextEncoder().encode(data.metadata?.["crlf"] ? source.replaceAll("\n", "\r\n") : source);
  },
};
