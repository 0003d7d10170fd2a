/** What an eval came to: its messages, gathered into one record. */
import type { Cause, DisplayBundle, ErrorInfo } from "../../protocol.js";
import { EvalError } from "./errors.js";
import type { EvalMessage } from "./messages.js";

/** Outcomes that `check` throws for beside errors of the code; the most telling first. */
const FAILURES = [
  "session-died",
  "session-closed",
  "session-restarted",
  "oom",
  "cpu-limit",
  "cancelled",
  "output-limit",
  "timeout",
  "interrupted",
];

export class EvalResult {
  /** The eval's request id. */
  readonly id: string;
  /** The session's id. */
  session: string | undefined;
  /** The text of each value sent, in order: with `values: "all"` those of all expressions. */
  readonly values: string[] = [];
  /** The last value itself, where `data: true` was asked and it is plain; bytes as Uint8Array. */
  data: unknown;
  /** The last value in the MIME types asked for; bytes as Uint8Array. */
  mime: Record<string, unknown> = {};
  /** What `display()` sent. */
  readonly displays: DisplayBundle[] = [];
  /** The error raised; its printed traceback is `traceback`, and part of `err` too. */
  error: ErrorInfo | undefined;
  traceback: string | undefined;
  /** What the code passed to `exit()`; undefined unless it raised SystemExit. */
  exitCode: number | undefined;
  /** Why the worker is gone, if it died. */
  cause: Cause | undefined;
  readonly #status = new Set<string>();
  readonly #out: string[] = [];
  readonly #err: string[] = [];

  constructor(id: string) {
    this.id = id;
  }

  /** The text of the last value; undefined where there was none. */
  get value(): string | undefined {
    return this.values.at(-1);
  }

  /** Everything written to standard output. */
  get out(): string {
    return this.#out.join("");
  }

  /** Everything written to standard error, the printed traceback included. */
  get err(): string {
    return this.#err.join("");
  }

  /** Every status that any message carried; `replay-gap` says that some of it was lost. */
  get status(): string[] {
    return [...this.#status];
  }

  /** Whether the code ran to its end: no error, not ended from outside, no exit code but 0. */
  get ok(): boolean {
    return !this.error && !this.exitCode && !this.#status.has("eval-error") && !this.#ended();
  }

  /** Throws `EvalError` unless `ok`; else returns this. */
  check(): this {
    if (this.ok) return this;
    const ended = this.#ended() ?? (this.exitCode ? `the code exited with code ${this.exitCode}` : "eval-error");
    throw new EvalError(this.traceback ?? (this.error ? `${this.error.type}: ${this.error.message}` : ended), this);
  }

  /** Gather one message. `collect`: keep texts, values and displays too, which may be many. */
  add(message: EvalMessage, collect: boolean): void {
    this.session = message.session ?? this.session;
    for (const status of message.status ?? []) this.#status.add(status);
    this.exitCode = message["exit-code"] ?? this.exitCode;
    this.cause = message.cause ?? this.cause;
    if (message.error) {
      this.error = message.error;
      this.traceback = message.err;
    }
    if (!collect) return;
    if (message.out !== undefined) this.#out.push(message.out);
    if (message.err !== undefined) this.#err.push(message.err);
    if (message.display) this.displays.push(message.display);
    if (message.value !== undefined) this.values.push(message.value);
    if (message.value !== undefined || "data" in message) {
      this.data = message.data;
      this.mime = message.mime ?? {};
    }
  }

  #ended(): string | undefined {
    return FAILURES.find((status) => this.#status.has(status));
  }
}
