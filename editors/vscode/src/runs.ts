/**
 * One run is one eval: where its code stands, what it says, how it ends. Who shows something listens here.
 *
 * What a run says comes by its session's stream. After a reload of the window that is read again from before the
 * run began, so that a run found again is fed as a new one is.
 */
import * as vscode from "vscode";
import type { ErrorInfo, EvalOptions, StreamMessage } from "nrepl-py-client";
import type { LiveSession } from "./session.js";

/** Where code stands: whole lines of a document, from 0, `endLine` the last one. */
export interface Place {
  uri: string;
  line: number;
  endLine: number;
}

/** What is remembered of a run across a reload. */
export interface RunRecord extends Place {
  id: string;
  session: string;
  /** The number of its session's last message before it. */
  since: number;
  /** When it was sent, in milliseconds since 1970. */
  begun: number;
  /** `text`: its result stands behind its lines; `cell`: below the cell, which is at `index` of `notebook`. */
  kind: "text" | "cell";
  /** What stood on its lines. */
  text: string;
  notebook?: string;
  index?: number;
}

export type NewRun = Omit<RunRecord, "id" | "session" | "since" | "begun"> & { code: string; options: EvalOptions };

/** Results are remembered of so many runs; their text is in the server's log. */
const REMEMBERED = 100;

const RUNS = "nreplPy.runs";

export class Run {
  value: string | undefined;
  mime: Record<string, unknown> = {};
  error: ErrorInfo | undefined;
  traceback: string | undefined;
  readonly status = new Set<string>();
  /** It could not be run, or was lost: why. */
  failure: unknown;
  hasBegun = false;
  isOver = false;
  readonly over: Promise<this>;
  #end!: (run: this) => void;

  constructor(
    readonly record: RunRecord,
    readonly session: LiveSession,
    /** Taken up again after a reload. */
    readonly isRestored: boolean,
  ) {
    this.over = new Promise((resolve) => (this.#end = resolve));
  }

  /** Whether the code ran to its end. */
  get ok(): boolean {
    const failed = ["interrupted", "cancelled", "session-died", "session-closed", "session-restarted", "timeout"];
    return !this.error && this.failure === undefined && !failed.some((status) => this.status.has(status));
  }

  /** It was interrupted, and raised nothing else on that. */
  get wasInterrupted(): boolean {
    const type = this.error?.type ?? "KeyboardInterrupt";
    return this.status.has("interrupted") && ["KeyboardInterrupt", "CancelledError"].includes(type);
  }

  take(message: StreamMessage): void {
    if (message.started) this.hasBegun = true;
    for (const status of message.status ?? []) this.status.add(status);
    if (message.value !== undefined) {
      this.value = message.value;
      this.mime = message.mime ?? {};
    }
    if (message.error) {
      this.error = message.error;
      this.traceback = message.err;
    }
  }

  end(): void {
    this.isOver = true;
    this.#end(this);
  }
}

export class Runs {
  /** It was sent, or found again. */
  readonly onStart: vscode.Event<Run>;
  readonly onMessage: vscode.Event<{ run: Run; message: StreamMessage }>;
  readonly onDone: vscode.Event<Run>;
  readonly #start = new vscode.EventEmitter<Run>();
  readonly #message = new vscode.EventEmitter<{ run: Run; message: StreamMessage }>();
  readonly #done = new vscode.EventEmitter<Run>();
  readonly #open = new Map<string, Run>();
  readonly #followed = new WeakSet<LiveSession>();
  #records: RunRecord[];

  constructor(private readonly memory: vscode.Memento) {
    this.#records = memory.get(RUNS, []);
    this.onStart = this.#start.event;
    this.onMessage = this.#message.event;
    this.onDone = this.#done.event;
  }

  /** Those that are not over, oldest first. */
  get open(): Run[] {
    return [...this.#open.values()];
  }

  /** Send it. */
  start(session: LiveSession, { code, options, ...place }: NewRun): Run {
    this.follow(session);
    const since = session.seq;
    let run: Run | undefined;
    const id = session.eval(code, options, (error) => run && this.#fail(run, error));
    run = this.#opened(new Run({ ...place, id, session: session.id, since, begun: Date.now() }, session, false));
    this.#remember([...this.#records.filter((record) => !touches(record, place)), run.record]);
    return run;
  }

  /** From where on what a session said is wanted again, for the runs that are remembered. */
  since(session: string): number | undefined {
    const wanted = this.#records.filter((record) => record.session === session).map((record) => record.since);
    return wanted.length ? Math.min(...wanted) : undefined;
  }

  /** Take up what is remembered of a session, before its stream is read again. */
  restore(session: LiveSession): void {
    this.follow(session);
    for (const record of this.#records.filter((one) => one.session === session.id)) {
      if (!this.#open.has(record.id)) this.#opened(new Run(record, session, true));
    }
  }

  /** Nothing is shown of it any more. */
  forget(run: Run): void {
    this.#remember(this.#records.filter((record) => record.id !== run.record.id));
  }

  /** Its lines are others now. */
  moved(): void {
    this.#remember(this.#records);
  }

  /** Give a session's messages to its runs. */
  follow(session: LiveSession): void {
    if (this.#followed.has(session)) return;
    this.#followed.add(session);
    session.onMessage((message) => this.#take(message));
    session.onDidEnd((why) => {
      for (const run of this.open) if (run.session === session) this.#fail(run, why);
    });
    void session.ready.then(
      () => this.#missed(session),
      () => {},
    );
  }

  #opened(run: Run): Run {
    this.#open.set(run.record.id, run);
    this.#start.fire(run);
    return run;
  }

  #take(message: StreamMessage): void {
    const run = message.id === undefined ? undefined : this.#open.get(message.id);
    if (!run || message.late) return;
    run.take(message);
    this.#message.fire({ run, message });
    if (message.status?.includes("done")) this.#over(run);
  }

  #fail(run: Run, error: unknown): void {
    if (run.isOver) return;
    run.failure = error;
    run.status.add("failed");
    this.#over(run);
  }

  #over(run: Run): void {
    this.#open.delete(run.record.id);
    run.end();
    this.#done.fire(run);
    if (run.failure !== undefined) this.forget(run);
  }

  /** All that was said meanwhile has come: what has not begun is gone from the log, unless the server has it queued. */
  #missed(session: LiveSession): void {
    for (const run of this.open) {
      const lost = run.session === session && run.isRestored && !run.hasBegun && session.state !== "busy";
      if (lost) this.#fail(run, "the server's log no longer says what became of it");
    }
  }

  #remember(records: RunRecord[]): void {
    this.#records = records.slice(-REMEMBERED);
    void this.memory.update(RUNS, this.#records);
  }
}

/** Whether two places have a line in common. */
export function touches(a: Place, b: Place): boolean {
  return a.uri === b.uri && a.line <= b.endLine && b.line <= a.endLine;
}
