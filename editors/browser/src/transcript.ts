/**
 * What a session said, as cells: one for each eval, in the order in which they were asked for. No DOM, no I/O.
 *
 * Everything comes from the session's stream, whoever asked for it, so that two pages on one session, or one that
 * was loaded again, show the same.
 */
import type { Cause, ClientInfo } from "../../protocol.ts";
import type { StreamMessage } from "../../client-js/src/messages.ts";
import { Lines } from "./lines.ts";

/** Things beside text that one cell shows; of more, the oldest go. */
const MAX_RICH = 100;

/** Cells kept; of more, the oldest go. */
const MAX_CELLS = 400;

export interface TextPart {
  kind: "text";
  lines: Lines;
}

/** What `display()` showed, or a value: data of each MIME type. */
export interface RichPart {
  kind: "rich";
  mime: Record<string, unknown>;
  /** It was replaced so many times. */
  version: number;
  id: string | undefined;
}

export interface ValuePart {
  kind: "value";
  lines: Lines;
}

export interface ErrorPart {
  kind: "error";
  lines: Lines;
}

export type Part = TextPart | RichPart | ValuePart | ErrorPart;
export type State = "sent" | "running" | "done";

export interface Question {
  prompt: string;
  password: boolean;
}

export class Cell {
  state: State = "sent";
  parts: Part[] = [];
  /** What it waits for. */
  question: Question | undefined;
  /** How it ended, in words; empty where all went well. */
  outcome = "";
  failed = false;
  /** Displays that are no longer kept. */
  droppedRich = 0;
  /** The eval's id; undefined for what nobody can be named for. */
  id: string | undefined;
  code: string;
  /** Who asked for it, where that was not this page. */
  by: string | undefined;

  constructor(id: string | undefined, code: string, by?: string) {
    this.id = id;
    this.code = code;
    this.by = by;
  }

  /** Be about another eval: it is run again. */
  again(id: string, code: string): void {
    Object.assign(this, new Cell(id, code));
  }

  text(text: string, err: boolean): void {
    const last = this.parts.at(-1);
    if (last?.kind === "text") return last.lines.append(text, err);
    const lines = new Lines();
    lines.append(text, err);
    this.parts.push({ kind: "text", lines });
  }

  add(part: Part): void {
    this.parts.push(part);
    if (part.kind !== "rich" || this.parts.filter((one) => one.kind === "rich").length <= MAX_RICH) return;
    this.parts.splice(
      this.parts.findIndex((one) => one.kind === "rich"),
      1,
    );
    this.droppedRich += 1;
  }
}

/** Whom a transcript tells. */
export interface Watcher {
  /** A cell is there, before `before` or at the end. */
  added(cell: Cell): void;
  changed(cell: Cell): void;
  removed(cell: Cell): void;
  /** Something happened to the session. */
  note(text: string): void;
  clients(clients: ClientInfo[], count: number): void;
  /** The session is no more. */
  closed(): void;
}

export class Transcript {
  readonly cells: Cell[] = [];
  readonly #byId = new Map<string, Cell>();
  readonly #shown = new Map<string, { cell: Cell; part: RichPart }>();
  readonly #watcher: Watcher;
  readonly #me: string;

  /** `me`: this page, as `started` names it. */
  constructor(watcher: Watcher, me: string) {
    this.#watcher = watcher;
    this.#me = me;
  }

  /** The cell that runs, or has waited longest for that. */
  get open(): Cell | undefined {
    return this.cells.find((cell) => cell.state === "running") ?? this.cells.find((cell) => cell.state === "sent");
  }

  /** This page asked for an eval; `cell`: in that one, again. */
  asked(id: string, code: string, cell?: Cell): Cell {
    if (cell) {
      if (cell.id) this.#byId.delete(cell.id);
      cell.again(id, code);
      this.#byId.set(id, cell);
      this.#watcher.changed(cell);
      return cell;
    }
    return this.#add(new Cell(id, code));
  }

  /** An eval of this page's was refused, or it is not known what became of it. */
  refused(id: string, sentence: string): void {
    const cell = this.#byId.get(id);
    if (!cell || cell.state === "done") return;
    this.#end(cell, sentence, true);
  }

  /** The next message of the session's stream. */
  take(message: StreamMessage): void {
    if (message.event) return this.#event(message);
    if (message.missing) {
      const [from, to] = message.missing;
      this.#watcher.note(`${to - from + 1} messages are gone: the server's log no longer had them.`);
      return;
    }
    const cell = this.#cell(message);
    const status = message.status ?? [];
    if (message.started && cell.state === "sent") cell.state = "running";
    if (message.out !== undefined) cell.text(message.out, false);
    if (message.error) this.#error(cell, message);
    else if (message.err !== undefined) cell.text(message.err, true);
    if (message.display) this.#display(cell, message.display);
    if (message.value !== undefined) this.#value(cell, message.value, message.mime);
    if (status.includes("need-input"))
      cell.question = { prompt: message.prompt ?? "", password: message.password === true };
    if (status.includes("input-done")) cell.question = undefined;
    if (status.includes("truncated")) cell.text("[cut: it was longer than the print quota]\n", true);
    if (status.includes("done")) this.#end(cell, outcome(status, message), failed(status, message));
    else this.#watcher.changed(cell);
  }

  #cell(message: StreamMessage): Cell {
    const { id, started } = message;
    const known = id === undefined ? this.cells.at(-1) : this.#byId.get(id);
    if (known && (id !== undefined || known.id === undefined)) {
      if (started && known.by === undefined && !known.code) known.code = started.code;
      return known;
    }
    const by = started?.client === this.#me ? undefined : started ? (started.client ?? "another client") : undefined;
    const cell = new Cell(id, started?.code ?? "", id === undefined ? "nobody in particular" : by);
    if (id === undefined) cell.state = "done";
    else if (!started) cell.state = "running";
    return this.#add(cell);
  }

  #add(cell: Cell): Cell {
    this.cells.push(cell);
    if (cell.id) this.#byId.set(cell.id, cell);
    this.#watcher.added(cell);
    while (this.cells.length > MAX_CELLS && this.cells[0]!.state === "done") this.#remove(this.cells.shift()!);
    return cell;
  }

  #remove(cell: Cell): void {
    if (cell.id) this.#byId.delete(cell.id);
    for (const [name, { cell: shownIn }] of this.#shown) if (shownIn === cell) this.#shown.delete(name);
    this.#watcher.removed(cell);
  }

  #error(cell: Cell, message: StreamMessage): void {
    const lines = new Lines();
    lines.append(message.err ?? `${message.error!.type}: ${message.error!.message}\n`);
    cell.add({ kind: "error", lines });
  }

  #value(cell: Cell, value: string, mime: Record<string, unknown> | undefined): void {
    if (mime && Object.keys(mime).length) {
      cell.add({ kind: "rich", mime: { "text/plain": value, ...mime }, version: 0, id: undefined });
      return;
    }
    const lines = new Lines();
    lines.append(value);
    cell.add({ kind: "value", lines });
  }

  #display(cell: Cell, display: NonNullable<StreamMessage["display"]>): void {
    if (display.clear) cell.parts = [];
    const name = display["display-id"];
    if (!Object.keys(display.mime).length) return;
    const shown = name === undefined ? undefined : this.#shown.get(name);
    if (display.update && shown) {
      shown.part.mime = display.mime;
      shown.part.version += 1;
      this.#watcher.changed(shown.cell);
      return;
    }
    const part: RichPart = { kind: "rich", mime: display.mime, version: 0, id: name };
    cell.add(part);
    if (name !== undefined) this.#shown.set(name, { cell, part });
  }

  #end(cell: Cell, said: string, failed: boolean): void {
    cell.state = "done";
    cell.question = undefined;
    cell.outcome = said;
    cell.failed = failed;
    this.#watcher.changed(cell);
  }

  #event(message: StreamMessage): void {
    const why = describe(message.cause);
    if (message.event === "clients") this.#watcher.clients(message.clients ?? [], message.count ?? 0);
    if (message.event === "died") {
      const next = message["crash-loop"] ? "Restart it to try again." : "The next cell starts a fresh one.";
      this.#watcher.note(`The session's process died${why}. ${next}`);
    }
    if (message.event === "restarted") this.#watcher.note("It was started afresh, or rolled back.");
    if (message.event === "culling") this.#watcher.note(`The session ends in ${message.seconds} s unless it is used.`);
    if (message.event === "closed") {
      this.#watcher.note(`The session is closed${why}.`);
      this.#watcher.closed();
    }
  }
}

const OUTCOMES: [string, string][] = [
  ["session-died", "its process died"],
  ["session-closed", "the session was closed"],
  ["cancelled", "cancelled: it never ran"],
  ["oom", "out of memory"],
  ["cpu-limit", "it used all the processor time it may have"],
  ["output-limit", "it said more than it may"],
  ["timeout", "timed out"],
  ["session-restarted", "ended by a restart"],
  ["interrupted", "interrupted"],
  ["replay-gap", "it is not known how it ended"],
];

function outcome(status: string[], message: StreamMessage): string {
  const found = OUTCOMES.find(([name]) => status.includes(name));
  if (found) return found[1] + describe(message.cause);
  if (message["exit-code"] !== undefined) return `exit(${message["exit-code"]}): the session goes on`;
  return status.includes("eval-error") ? "failed" : "";
}

function failed(status: string[], message: StreamMessage): boolean {
  return status.includes("eval-error") || !!message["exit-code"] || OUTCOMES.some(([name]) => status.includes(name));
}

function describe(cause: Cause | undefined): string {
  if (!cause) return "";
  const { kind, code, signal, by } = cause;
  const detail = [signal, code === undefined || code === null ? undefined : `exit code ${code}`, by && `by ${by}`];
  return ` (${[kind, ...detail.filter(Boolean)].join(", ")})`;
}
