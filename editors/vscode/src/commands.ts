/** The commands: what the user asks for, carried out; what goes wrong is told. */
import * as vscode from "vscode";
import { above, advance, cellOrStatement, selected, TextRunner } from "./code/run.js";
import { fileOf } from "./code/file.js";
import { Outline, type Block } from "./code/outline.js";
import type { Inline } from "./inline.js";
import type { Output } from "./output.js";
import { activeOwner, ownerOf, SCRIPT_NOTEBOOK } from "./owner.js";
import { branch, closeSession, interrupt, pickSession, restart, rollback, stopServer, type Context } from "./pick.js";
import type { Problems } from "./problems.js";
import { tell } from "./trouble.js";

export interface Parts extends Context {
  inline: Inline;
  problems: Problems;
  output: Output;
}

export function registerCommands(parts: Parts, subscriptions: vscode.Disposable[]): void {
  const { sessions, runs } = parts;
  const runner = new TextRunner(sessions, runs);
  // What menus and lenses give with a command is theirs to know.
  const commands: Record<string, (...given: any[]) => unknown> = {
    start: () => sessions.need(activeOwner()),
    connect: () => connect(parts),
    runCell: (uri?: vscode.Uri, line?: number) => runCell(runner, false, uri, line),
    runCellAndAdvance: () => runCell(runner, true),
    runSelection: () => runSelection(runner, false),
    runSelectionAndAdvance: () => runSelection(runner, true),
    runDefinition: () => runBlock(runner, (outline, line) => outline.definitionAt(line)),
    runFile: (uri?: vscode.Uri) => runFile(parts, uri),
    runAbove: (uri?: vscode.Uri, line?: number) => runAbove(runner, uri, line),
    interrupt: () => interrupt(parts),
    restart: () => restart(parts),
    branch: (name?: unknown) => branch(parts, typeof name === "string" ? name : undefined),
    rollback: (to?: unknown) => rollback(parts, typeof to === "string" ? to : undefined),
    pickSession: (ref?: unknown) => pickSession(parts, typeof ref === "string" ? ref : undefined),
    closeSession: () => closeSession(parts),
    stopServer: () => stopServer(parts),
    showOutput: async () => parts.output.show(await sessions.need(activeOwner())),
    clearResults: () => {
      parts.inline.clear(vscode.window.activeTextEditor?.document.uri);
      parts.problems.clear();
    },
    openAsNotebook: (uri?: vscode.Uri) => {
      const script = uri ?? vscode.window.activeTextEditor?.document.uri;
      return script && vscode.commands.executeCommand("vscode.openWith", script, SCRIPT_NOTEBOOK);
    },
  };
  for (const [name, command] of Object.entries(commands)) {
    const guarded = async (...given: unknown[]): Promise<void> => {
      try {
        await command(...given);
      } catch (error) {
        tell(error);
      }
    };
    subscriptions.push(vscode.commands.registerCommand(`nreplPy.${name}`, guarded));
  }
}

async function connect({ sessions }: Parts): Promise<void> {
  const owner = activeOwner();
  const link = await sessions.links.ask();
  const before = sessions.at(owner);
  if (!link || before?.link === link) return;
  sessions.leave(owner);
  await sessions.need(owner);
}

/** The Python editor in front. */
function editorOf(uri?: vscode.Uri): vscode.TextEditor | undefined {
  const wanted = uri?.toString();
  const editors = [vscode.window.activeTextEditor, ...vscode.window.visibleTextEditors];
  return editors.find((editor) => editor && (!wanted || editor.document.uri.toString() === wanted));
}

async function runBlock(
  runner: TextRunner,
  choose: (outline: Outline, line: number) => Block | undefined,
  options: { advance?: boolean; uri?: vscode.Uri | undefined; line?: number | undefined } = {},
): Promise<void> {
  const editor = editorOf(options.uri);
  if (!editor) return;
  const outline = new Outline(editor.document.getText());
  const line = options.line ?? editor.selection.active.line;
  const block = choose(outline, line);
  const running = runner.run(editor.document, [block && outline.piece(block)]);
  if (options.advance) await advance(editor, block?.end ?? outline.cellAt(line).end);
  await running;
}

async function runCell(runner: TextRunner, advances: boolean, uri?: vscode.Uri, line?: number): Promise<void> {
  if (advances && editorOf()?.selection.isEmpty === false) return runSelection(runner, true);
  await runBlock(runner, cellOrStatement, { advance: advances, uri, line });
}

async function runSelection(runner: TextRunner, advances: boolean): Promise<void> {
  const editor = editorOf();
  if (!editor) return;
  const piece = selected(editor.document, editor.selection);
  const running = runner.run(editor.document, [piece]);
  if (advances) await advance(editor, piece?.end ?? editor.selection.end.line + 1);
  await running;
}

async function runAbove(runner: TextRunner, uri?: vscode.Uri, line?: number): Promise<void> {
  const editor = editorOf(uri);
  if (!editor) return;
  const outline = new Outline(editor.document.getText());
  await runner.run(editor.document, above(outline, line ?? editor.selection.active.line));
}

/** As a file: it prints, and shows no value. */
async function runFile({ sessions, runs }: Parts, uri?: vscode.Uri): Promise<void> {
  const document = uri ? await vscode.workspace.openTextDocument(uri) : vscode.window.activeTextEditor?.document;
  if (!document) return;
  const code = document.getText();
  const session = await sessions.need(ownerOf(document));
  runs.start(session, {
    kind: "text",
    uri: document.uri.toString(),
    line: 0,
    endLine: document.lineCount - 1,
    text: code,
    code,
    options: { file: fileOf(document.uri), module: "auto", values: "none" },
  });
}
