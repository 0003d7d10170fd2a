/**
 * A value's hover: its whole text, and its picture. Markdown and HTML are shown as text: rendered, they could name
 * pictures elsewhere, and so tell others what a session without network knows.
 */
import * as vscode from "vscode";
import type { Run } from "./runs.js";

/** Types asked of values beside their text, for a hover. */
export const HOVER_MIME = ["image/png", "image/jpeg", "image/gif", "image/svg+xml", "text/markdown", "text/html"];

/** Characters of a value shown; the output has it all. VS Code shows no hover of more than 100,000. */
const MOST_TEXT = 20_000;
const MOST_PICTURE = 75_000;

/** What a hover says of a run; undefined where there is nothing beside the text behind its line. */
export function hoverOf(run: Run): vscode.MarkdownString | undefined {
  const hover = new vscode.MarkdownString();
  const picture = pictureOf(run.mime);
  if (picture) hover.appendMarkdown(`${picture}\n\n`);
  if (run.traceback) hover.appendCodeblock(cut(stripAnsi(run.traceback)), "text");
  if (run.value !== undefined) hover.appendCodeblock(cut(run.value), "python");
  for (const language of ["markdown", "html"]) {
    const text = run.mime[`text/${language}`];
    if (typeof text === "string") hover.appendCodeblock(cut(text), language);
  }
  return hover.value ? hover : undefined;
}

function pictureOf(mime: Record<string, unknown>): string | undefined {
  for (const [type, data] of Object.entries(mime)) {
    if (!type.startsWith("image/")) continue;
    const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
    if (!(bytes instanceof Uint8Array)) continue;
    if (bytes.length > MOST_PICTURE)
      return `(a picture of ${bytes.length} bytes is too large for a hover: run it in a notebook)`;
    return `![value](data:${type};base64,${base64(bytes)})`;
  }
  return undefined;
}

function base64(bytes: Uint8Array): string {
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
}

/** Without the escape sequences of a terminal's colours. */
export function stripAnsi(text: string): string {
  return text.replace(/\x1b\[[0-9;?]*[ -/]*[@-~]/g, "");
}

function cut(text: string): string {
  return text.length > MOST_TEXT ? `${text.slice(0, MOST_TEXT)}\n… ${text.length - MOST_TEXT} characters more` : text;
}
