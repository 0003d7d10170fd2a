/** Whose session code runs in: the scripts of a folder share one, and each notebook has its own. */
import * as vscode from "vscode";

export interface Owner {
  /** The folder's URI, or the notebook's. */
  key: string;
  /** For a person. */
  name: string;
  folder: vscode.WorkspaceFolder | undefined;
}

/** Notebooks whose cells are a script's run with the scripts. */
export const SCRIPT_NOTEBOOK = "nrepl-py-script";

export function ownerOf(document: vscode.TextDocument | vscode.NotebookDocument): Owner {
  const notebook = "languageId" in document ? notebookOf(document) : document;
  const uri = notebook?.uri ?? document.uri;
  const folder = vscode.workspace.getWorkspaceFolder(uri) ?? vscode.workspace.workspaceFolders?.[0];
  if (notebook && notebook.notebookType !== SCRIPT_NOTEBOOK) {
    return { key: uri.toString(), name: uri.path.slice(uri.path.lastIndexOf("/") + 1), folder };
  }
  return { key: folder?.uri.toString() ?? "", name: folder?.name ?? "scripts", folder };
}

/** The notebook that a document is a cell of. */
export function notebookOf(document: vscode.TextDocument): vscode.NotebookDocument | undefined {
  if (document.uri.scheme !== "vscode-notebook-cell") return undefined;
  return vscode.workspace.notebookDocuments.find((notebook) =>
    notebook.getCells().some((cell) => cell.document === document),
  );
}

/** The owner of what has the focus; that of the first folder where nothing of ours has. */
export function activeOwner(): Owner {
  const notebook = vscode.window.activeNotebookEditor?.notebook;
  if (notebook) return ownerOf(notebook);
  const document = vscode.window.activeTextEditor?.document;
  if (document) return ownerOf(document);
  const folder = vscode.workspace.workspaceFolders?.[0];
  return { key: folder?.uri.toString() ?? "", name: folder?.name ?? "scripts", folder };
}
