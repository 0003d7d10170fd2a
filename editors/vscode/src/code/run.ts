/** From a command on a text editor to runs: what is run, and where the cursor goes. */
import * as vscode from "vscode";
import { linesOf } from "../inline.js";
import { ownerOf } from "../owner.js";
import { HOVER_MIME } from "../rich.js";
import type { Run, Runs } from "../runs.js";
import type { Sessions } from "../sessions.js";
import { fileOf } from "./file.js";
import { Outline, pieceOf, type Block, type Piece } from "./outline.js";

export class TextRunner {
  constructor(
    private readonly sessions: Sessions,
    private readonly runs: Runs,
  ) {}

  /** Run pieces of a document one after the other, until one does not run to its end. */
  async run(document: vscode.TextDocument, pieces: (Piece | undefined)[]): Promise<void> {
    const wanted = pieces.filter((piece) => piece !== undefined);
    if (!wanted.length) return void vscode.window.setStatusBarMessage("There is no code to run here", 3000);
    // They are taken as they stand now: what is typed while a session starts is not run.
    const places = wanted.map((piece) => ({ piece, text: linesOf(document, piece.start, piece.end - 1) }));
    const session = await this.sessions.need(ownerOf(document));
    for (const { piece, text } of places) {
      const run = this.#start(document, session, piece, text);
      if (places.length > 1 && !(await run.over).ok) return;
    }
  }

  #start(document: vscode.TextDocument, session: Parameters<Runs["start"]>[0], piece: Piece, text: string): Run {
    return this.runs.start(session, {
      kind: "text",
      uri: document.uri.toString(),
      line: piece.start,
      endLine: piece.end - 1,
      text,
      code: piece.code,
      options: {
        file: fileOf(document.uri),
        line: piece.line + 1,
        column: piece.column,
        module: "auto",
        mime: HOVER_MIME,
      },
    });
  }
}

/** The cell around a line, or the statement where the script has no cells. */
export function cellOrStatement(outline: Outline, line: number): Block | undefined {
  if (!outline.cells.length) return outline.statementAt(line);
  const cell = outline.cellAt(line);
  return cell.isMarkdown ? undefined : cell;
}

/** The selected code; with nothing selected, the statement at the cursor. */
export function selected(document: vscode.TextDocument, selection: vscode.Selection): Piece | undefined {
  const outline = new Outline(document.getText());
  if (selection.isEmpty) {
    const statement = outline.statementAt(selection.active.line);
    return statement && outline.piece(statement);
  }
  const { start, end } = selection;
  // A selection that ends before a line's first character has nothing of that line.
  const last = end.character === 0 && end.line > start.line ? end.line - 1 : end.line;
  const before = document.lineAt(start.line).text.slice(0, start.character);
  if (!before.trim() && last < end.line) return outline.piece({ start: start.line, end: last + 1 });
  const code = document.getText(selection).replace(/\r\n?/g, "\n");
  if (!code.trim()) return undefined;
  const piece = { start: start.line, end: last + 1 };
  // The protocol counts columns in code points.
  const column = [...before].length;
  return before.trim() ? { ...piece, code, line: start.line, column } : pieceOf(before + code, start.line, 0, piece);
}

/** The cells above the one around a line; what is above the line where there are none. */
export function above(outline: Outline, line: number): (Piece | undefined)[] {
  const { cells } = outline;
  if (!cells.length) return [outline.piece({ start: 0, end: line })];
  const here = outline.cellAt(line);
  return cells.filter((cell) => cell.start < here.start && !cell.isMarkdown).map((cell) => outline.piece(cell));
}

/** Put the cursor where the next thing to run begins, which is after these lines; a new line at the end. */
export async function advance(editor: vscode.TextEditor, end: number): Promise<void> {
  const outline = new Outline(editor.document.getText());
  const cell = outline.cells.find(({ start }) => start >= end);
  const next = cell && cell.start === end ? cell.start + 1 : (outline.nextAfter(end) ?? editor.document.lineCount);
  if (next >= editor.document.lineCount) {
    const last = editor.document.lineAt(editor.document.lineCount - 1);
    if (last.text.trim()) await editor.edit((edit) => edit.insert(last.range.end, "\n"));
  }
  const at = new vscode.Position(Math.min(next, editor.document.lineCount - 1), 0);
  editor.selection = new vscode.Selection(at, at);
  editor.revealRange(new vscode.Range(at, at), vscode.TextEditorRevealType.InCenterIfOutsideViewport);
}
