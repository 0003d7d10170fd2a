/** Errors where they happened, as problems, with the way there; until that code runs clean or is changed. */
import * as vscode from "vscode";
import type { ErrorInfo, Frame } from "nrepl-py-client";
import { fileOf } from "./code/file.js";
import { touches, type Run, type Runs } from "./runs.js";

export class Problems {
  readonly #problems = vscode.languages.createDiagnosticCollection("nrepl-py");

  constructor(runs: Runs, subscriptions: vscode.Disposable[]) {
    subscriptions.push(
      this.#problems,
      runs.onStart((run) => this.#clear(run)),
      runs.onDone((run) => this.#show(run)),
      vscode.workspace.onDidChangeTextDocument((event) => this.#changed(event)),
    );
  }

  /** Take them all away. */
  clear(): void {
    this.#problems.clear();
  }

  #clear({ record }: Run): void {
    const uri = vscode.Uri.parse(record.uri);
    const isOther = ({ range }: vscode.Diagnostic): boolean =>
      !touches(record, { uri: record.uri, line: range.start.line, endLine: range.end.line });
    this.#problems.set(uri, (this.#problems.get(uri) ?? []).filter(isOther));
  }

  #show(run: Run): void {
    if (!run.error || run.wasInterrupted) return;
    const { record, error } = run;
    const uri = vscode.Uri.parse(record.uri);
    const frames = error.traceback ?? [];
    const file = fileOf(uri);
    // The innermost frame of the document that is not a call to elsewhere in it: what the user can change.
    const own = frames.filter((frame) => frame.file === file);
    const inside = own.findLast(
      (frame) => (frame.line ?? 0) - 1 >= record.line && (frame.line ?? 0) - 1 <= record.endLine,
    );
    const at = inside ?? own.at(-1);
    const range = at ? rangeOf(at) : new vscode.Range(record.line, 0, record.endLine, Number.MAX_SAFE_INTEGER);
    const problem = new vscode.Diagnostic(range, messageOf(error), vscode.DiagnosticSeverity.Error);
    problem.source = "nrepl-py";
    problem.relatedInformation = frames.filter((frame) => frame !== at).flatMap(related);
    this.#problems.set(uri, [...(this.#problems.get(uri) ?? []), problem]);
  }

  /** What was changed may be right now; what is below moves. */
  #changed({ document, contentChanges }: vscode.TextDocumentChangeEvent): void {
    const problems = this.#problems.get(document.uri) ?? [];
    if (!problems.length || !contentChanges.length) return;
    const kept = problems.filter(({ range }) => !contentChanges.some((change) => change.range.intersection(range)));
    for (const { range, text } of contentChanges) {
      const grown = text.split("\n").length - 1 - (range.end.line - range.start.line);
      for (const problem of kept) {
        if (problem.range.start.line <= range.end.line) continue;
        const { start, end } = problem.range;
        problem.range = new vscode.Range(start.line + grown, start.character, end.line + grown, end.character);
      }
    }
    this.#problems.set(document.uri, kept);
  }
}

function messageOf(error: ErrorInfo): string {
  const notes = (error.notes ?? []).map((note) => `\n${note}`).join("");
  const cause = error.cause ? `\ncaused by ${error.cause.type}: ${error.cause.message}` : "";
  return `${headlineOf(error)}${notes}${cause}`;
}

/** Its last line, as Python prints it. */
export function headlineOf({ type, message }: ErrorInfo): string {
  return message ? `${type}: ${message}` : type;
}

function related(frame: Frame): vscode.DiagnosticRelatedInformation[] {
  const uri = uriOf(frame.file);
  if (!uri || !frame.line) return [];
  const where = new vscode.Location(uri, rangeOf(frame));
  return [
    new vscode.DiagnosticRelatedInformation(where, `in ${frame.function ?? "module"}: ${frame.source?.trim() ?? ""}`),
  ];
}

/** The file of a frame, where there is one to open. */
function uriOf(file: string): vscode.Uri | undefined {
  const open = vscode.workspace.textDocuments.find((document) => fileOf(document.uri) === file);
  if (open) return open.uri;
  return /^(\/|[A-Za-z]:\\)/.test(file) ? vscode.Uri.file(file) : undefined;
}

function rangeOf({ line, column, "end-line": endLine, "end-column": endColumn }: Frame): vscode.Range {
  const start = Math.max(0, (line ?? 1) - 1);
  const end = Math.max(start, (endLine ?? line ?? 1) - 1);
  return new vscode.Range(start, column ?? 0, end, endColumn ?? Number.MAX_SAFE_INTEGER);
}
