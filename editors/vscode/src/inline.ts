/** Results behind the last line of what was run, until its text is changed. */
import * as vscode from "vscode";
import { headlineOf } from "./problems.js";
import { hoverOf } from "./rich.js";
import { touches, type Run, type Runs } from "./runs.js";

/** Characters of a value behind a line; the hover has it whole. */
const MOST = 120;

interface Shown {
  run: Run;
  text: string;
}

export class Inline {
  readonly #type = vscode.window.createTextEditorDecorationType({
    rangeBehavior: vscode.DecorationRangeBehavior.ClosedClosed,
    after: { margin: "0 0 0 2ch", color: new vscode.ThemeColor("editorCodeLens.foreground") },
  });
  readonly #failed = vscode.window.createTextEditorDecorationType({
    rangeBehavior: vscode.DecorationRangeBehavior.ClosedClosed,
    after: { margin: "0 0 0 2ch", color: new vscode.ThemeColor("editorError.foreground") },
  });
  #shown: Shown[] = [];

  constructor(
    private readonly runs: Runs,
    subscriptions: vscode.Disposable[],
  ) {
    subscriptions.push(
      this.#type,
      this.#failed,
      runs.onStart((run) => this.#begin(run)),
      runs.onMessage(({ run, message }) => (message.started || message.value !== undefined) && this.#show(run)),
      runs.onDone((run) => this.#show(run)),
      vscode.workspace.onDidChangeTextDocument((event) => this.#changed(event)),
      vscode.languages.registerHoverProvider("python", {
        provideHover: (document, { line }) => this.#hover(document, line),
      }),
      vscode.window.onDidChangeVisibleTextEditors((editors) => editors.forEach((editor) => this.#draw(editor))),
    );
  }

  /** What stands behind lines of a document. */
  of(uri: vscode.Uri): { line: number; text: string }[] {
    return this.#in(uri.toString()).map(({ run, text }) => ({ line: run.record.endLine, text }));
  }

  /** Take them away: those of a document, or of all. */
  clear(uri?: vscode.Uri): void {
    const gone = uri ? this.#in(uri.toString()) : [...this.#shown];
    this.#remove(gone);
  }

  #hover(document: vscode.TextDocument, line: number): vscode.Hover | undefined {
    const shown = this.#in(document.uri.toString()).find(({ run }) => run.record.endLine === line);
    const said = shown && hoverOf(shown.run);
    return said && new vscode.Hover(said, document.lineAt(line).range);
  }

  /** What was shown of these lines makes way. */
  #begin(run: Run): void {
    if (run.record.kind !== "text") return;
    this.#shown = this.#shown.filter((one) => !touches(one.run.record, run.record));
    this.#shown.push({ run, text: "⋯" });
    this.#drawAll(run.record.uri);
  }

  #show(run: Run): void {
    const shown = this.#shown.find((one) => one.run === run);
    if (!shown) return;
    shown.text = textOf(run);
    this.#drawAll(run.record.uri);
  }

  /** Lines above move it, a change of its own takes it away. */
  #changed({ document, contentChanges }: vscode.TextDocumentChangeEvent): void {
    const uri = document.uri.toString();
    if (!contentChanges.length || !this.#in(uri).length) return;
    const gone: Shown[] = [];
    for (const { range, text } of contentChanges) {
      const grown = text.split("\n").length - 1 - (range.end.line - range.start.line);
      for (const shown of this.#in(uri)) {
        const { record } = shown.run;
        const isAbove =
          range.end.line < record.line ||
          (range.end.line === record.line && range.end.character === 0 && text.endsWith("\n"));
        const isBelow = range.start.line > record.endLine || isAppended(range, record.endLine, text);
        if (isAbove) {
          record.line += grown;
          record.endLine += grown;
        } else if (!isBelow) gone.push(shown);
      }
    }
    if (gone.length) this.#remove(gone);
    else this.#drawAll(uri);
    this.runs.moved();
  }

  #in(uri: string): Shown[] {
    return this.#shown.filter((one) => one.run.record.uri === uri);
  }

  #remove(gone: Shown[]): void {
    this.#shown = this.#shown.filter((one) => !gone.includes(one));
    for (const { run } of gone) this.runs.forget(run);
    for (const uri of new Set(gone.map(({ run }) => run.record.uri))) this.#drawAll(uri);
  }

  #drawAll(uri: string): void {
    for (const editor of vscode.window.visibleTextEditors)
      if (editor.document.uri.toString() === uri) this.#draw(editor);
  }

  #draw(editor: vscode.TextEditor): void {
    const shown = this.#in(editor.document.uri.toString());
    const stale = shown.filter(({ run }) => run.isRestored && !isUnchanged(run, editor.document));
    if (stale.length) return this.#remove(stale);
    const isFailed = ({ run }: Shown): boolean => run.isOver && !run.ok;
    editor.setDecorations(this.#type, shown.filter((one) => !isFailed(one)).map(decoration));
    editor.setDecorations(this.#failed, shown.filter(isFailed).map(decoration));
  }
}

/** Whether the lines of a run that was found again are what they were when it began. */
function isUnchanged({ record: { line, endLine, text } }: Run, document: vscode.TextDocument): boolean {
  return linesOf(document, line, endLine) === text;
}

/** The text of whole lines. */
export function linesOf(document: vscode.TextDocument, line: number, endLine: number): string {
  return document.getText(new vscode.Range(line, 0, endLine, Number.MAX_SAFE_INTEGER));
}

function decoration({ run, text }: Shown): vscode.DecorationOptions {
  const end = new vscode.Position(run.record.endLine, Number.MAX_SAFE_INTEGER);
  return {
    range: new vscode.Range(end, end),
    renderOptions: { after: { contentText: text.replace(/ (?= )/g, "\u00a0") } }, // several would be made one
  };
}

/** What stands behind the line. */
export function textOf(run: Run): string {
  if (run.error && !run.wasInterrupted) return line(headlineOf(run.error));
  if (run.failure !== undefined) {
    const why = run.failure instanceof Error ? run.failure.message : run.failure;
    return line(`${run.hasBegun ? "lost" : "not run"}: ${why}`);
  }
  const ended = ["session-died", "session-closed", "session-restarted", "cancelled", "timeout", "interrupted"];
  const how = ended.find((status) => run.status.has(status));
  if (how) return how.replaceAll("-", " ");
  if (run.value !== undefined) return line(`=> ${run.value}`);
  return run.isOver ? "✓" : "⋯";
}

/** Cut to one line. */
function line(text: string): string {
  const first = text.split("\n", 1)[0]!;
  const whole = first.length <= MOST ? first : first.slice(0, MOST);
  return whole === text ? whole : `${whole} …`;
}

/** A new line behind the last one, which leaves that as it is. */
function isAppended(range: vscode.Range, endLine: number, text: string): boolean {
  return range.isEmpty && range.start.line === endLine && range.start.character > 0 && /^\r?\n/.test(text);
}
