/** What a run says, as a notebook's outputs: MIME bundles for VS Code's own renderers. */
import * as vscode from "vscode";
import type { ErrorInfo } from "nrepl-py-client";

/** Types asked of values beside their text: those that VS Code and its renderers show. */
export const NOTEBOOK_MIME = [
  "text/html",
  "text/markdown",
  "text/latex",
  "image/png",
  "image/jpeg",
  "image/gif",
  "image/svg+xml",
  "application/json",
  "application/javascript",
  "application/geo+json",
  "application/vnd.plotly.v1+json",
  "application/vnd.vega.v5+json",
  "application/vnd.vegalite.v4+json",
  "application/vnd.vegalite.v5+json",
  "application/vnd.jupyter.widget-view+json",
];

/** One item for each type. */
export function itemsOf(mime: Record<string, unknown>): vscode.NotebookCellOutputItem[] {
  return Object.entries(mime).map(([type, data]) => {
    if (data instanceof Uint8Array) return new vscode.NotebookCellOutputItem(data, type);
    if (typeof data === "string") return vscode.NotebookCellOutputItem.text(data, type);
    return vscode.NotebookCellOutputItem.json(data, type);
  });
}

/** The error, with the traceback as Python prints it. */
export function errorItem(error: ErrorInfo, traceback: string | undefined): vscode.NotebookCellOutputItem {
  const { type, message } = error;
  return vscode.NotebookCellOutputItem.error({ name: type, message, stack: traceback ?? `${type}: ${message}` });
}
