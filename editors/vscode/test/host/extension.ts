/** The extension under test as its user has it: files of the workspace in editors, its commands, what it says has run. */
import * as vscode from "vscode";
import type { Api, Done } from "../../src/activate";
import { until } from "./testing";

/** What `activate` returned. */
export async function extension(): Promise<Api> {
  const found = vscode.extensions.getExtension<Api>("nrepl-py.nrepl-py");
  if (!found) throw new Error("the extension is not installed");
  return found.activate();
}

/** The workspace's folder. */
export function folder(): vscode.Uri {
  return vscode.workspace.workspaceFolders![0]!.uri;
}

/** A file of the workspace with that text, in an editor with the cursor in its first line. */
export async function script(name: string, ...lines: string[]): Promise<vscode.TextEditor> {
  const uri = vscode.Uri.joinPath(folder(), name);
  const isOpen = vscode.workspace.textDocuments.some((one) => one.uri.toString() === uri.toString());
  if (!isOpen) await vscode.workspace.fs.writeFile(uri, new Uint8Array());
  const document = await vscode.workspace.openTextDocument(uri);
  const editor = await vscode.window.showTextDocument(document, { preview: false });
  const whole = new vscode.Range(0, 0, document.lineCount, 0);
  await editor.edit((edit) => edit.replace(whole, lines.join("\n") + "\n"));
  await document.save();
  editor.selection = new vscode.Selection(0, 0, 0, 0);
  return editor;
}

/** Put the cursor into that line, or select from there to another; both count from 0. */
export function select(editor: vscode.TextEditor, line: number, to?: { line: number; character: number }): void {
  const start = new vscode.Position(line, 0);
  editor.selection = new vscode.Selection(start, to ? new vscode.Position(to.line, to.character) : start);
}

/** Give a command that runs code, and wait for the run to end. */
export async function ran(command: string, count = 1): Promise<Done> {
  const { runs } = await extension();
  const ended: Done[] = [];
  const listening = runs((run) => ended.push(run));
  try {
    await vscode.commands.executeCommand(`nreplPy.${command}`);
    await until(`the end of ${command}`, () => ended.length >= count);
    return ended[count - 1]!;
  } finally {
    listening.dispose();
  }
}

/** Run lines of Python as the whole of a script, and return what they came to. */
export async function evaluated(...lines: string[]): Promise<Done> {
  const editor = await script("aside.py", ...lines);
  editor.selection = new vscode.Selection(0, 0, lines.length, 0);
  return ran("runSelection");
}

/** What is shown behind lines of that editor. */
export async function inline(editor: vscode.TextEditor): Promise<{ line: number; text: string }[]> {
  return (await extension()).inline(editor.document.uri);
}
