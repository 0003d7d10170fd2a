/** The open requests of a client: what is known of each, and what becomes of it when its connection is lost. */
import { NreplError } from "./errors.js";
import type { Message, Outgoing } from "./messages.js";

/** Open requests, sent or waiting for a connection: the server takes 128 evals in a session's queue. */
export const MAX_OPEN = 1000;

/** Bytes of a frame that every server takes: the least that `max-frame` may be. */
const ALWAYS_TAKEN = 64 << 10;

/** Connections that a larger one is sent on, each of which breaks: by then it is what breaks them. */
const MAX_ATTEMPTS = 3;

/** What a request's replies are given to. Calls must not throw. */
export interface Handler {
  /** A reply, the last one included; not an error. `size`: of its frame. */
  message(message: Message, size: number): void;
  /** Once, after the last one: without an error where that carried `done`. */
  end(error?: NreplError): void;
}

/** What changes nothing, or nothing more the second time: sent again when its reply may be lost. */
const AGAIN = new Set([
  "describe",
  "ls-sessions",
  "completions",
  "signature",
  "lookup",
  "is-complete",
  "close",
  "detach",
]);
const EVALS = new Set(["eval", "load-file"]);

/** Stands in an eval's messages for those that are gone. */
export interface GapMessage extends Message {
  missing: [from: number, to: number];
}

export class Entry {
  readonly request: Outgoing;
  readonly handler: Handler;
  /** The eval that this is input for, where that asked. */
  readonly answers: string | undefined;
  /** On this connection. */
  sent = false;
  /** On an earlier one too. */
  again = false;
  /** Bytes of its frame. */
  size = 0;
  /** Connections that were lost before anything was heard of it. */
  attempts = 0;
  /** An eval's: the server has it. */
  accepted = false;
  /** An eval's: it has begun. */
  heard = false;
  /** An eval's: it waits for input. */
  waits = false;
  /** An eval's: how often it has asked for input. An answer's: which of these times it is for. */
  question = 0;
  /** An eval's: nothing came of it since these messages went missing. */
  #doubt: GapMessage | undefined;

  constructor(request: Outgoing, handler: Handler, answers: string | undefined) {
    this.request = request;
    this.handler = handler;
    this.answers = answers;
  }

  get id(): string {
    return this.request.id;
  }

  /** The session it names, by id or name. */
  get session(): string | undefined {
    const { session } = this.request;
    return typeof session === "string" ? session : undefined;
  }

  get isEval(): boolean {
    return EVALS.has(this.request.op);
  }

  /** Whether it outlives the connection it was sent on: it can be taken up again, or sent again without harm. */
  get survives(): boolean {
    const { op } = this.request;
    if (this.isEval) return this.session !== undefined; // one without a session ends with its connection
    return AGAIN.has(op) || this.answers !== undefined || (op === "interrupt" && "interrupt-id" in this.request);
  }

  /** An eval's: nothing came of it since messages of its session went missing, so it may have run, or ended, in these. */
  get doubtful(): boolean {
    return this.#doubt !== undefined;
  }

  /** Whether it is so large, and was lost so often, that the connections may well have been lost for it. */
  get breaksConnections(): boolean {
    return !this.accepted && this.size > ALWAYS_TAKEN && this.attempts >= MAX_ATTEMPTS;
  }

  /** A message of its stream came. One that it cannot have begun with says that what it began with is lost. */
  said(message: Message, size: number): void {
    const status = message.status ?? [];
    if (message.started !== undefined) this.queued();
    this.runs();
    if (status.includes("need-input")) {
      this.waits = true;
      this.question += 1;
    }
    if (status.includes("input-done")) this.waits = false;
    this.handler.message(message, size);
  }

  /** Messages of its session are gone, as `gap` says: some of its own, if it had begun. */
  missed(gap: GapMessage): void {
    if (!this.heard && !this.again) return; // it was asked for on this connection, where nothing is missed
    this.waits = false; // or for something else than it did
    const from = this.heard ? gap.missing[0] : (this.#doubt ?? gap).missing[0];
    this.#doubt = { ...gap, missing: [from, gap.missing[1]] };
    if (this.heard) this.handler.message(gap, 0);
  }

  /** The server has it, and it has not begun: nothing of it is missing. */
  queued(): void {
    this.accepted = true;
    this.#doubt = undefined;
  }

  /** It has begun, and not ended. */
  runs(): void {
    if (!this.heard && this.#doubt) this.handler.message(this.#doubt, 0);
    this.heard = this.accepted = true;
    this.#doubt = undefined;
  }
}

export class Requests {
  readonly #prefix: string;
  readonly #open = new Map<string, Entry>();
  #count = 0;

  /** `prefix`: random, so that no eval's id was ever used in a session. */
  constructor(prefix: string) {
    this.#prefix = prefix;
  }

  /** All that are open, oldest first. */
  get all(): Entry[] {
    return [...this.#open.values()];
  }

  newId(): string {
    this.#count += 1;
    return `${this.#prefix}-${this.#count}`;
  }

  /** Throws `busy` where too many are open. */
  add(op: string, fields: Record<string, unknown>, handler: Handler, answers: string | undefined): Entry {
    if (this.#open.size >= MAX_OPEN)
      throw new NreplError("busy", `${MAX_OPEN} requests are open; wait for some to end`);
    const entry = new Entry({ op, id: this.newId(), ...fields }, handler, answers);
    entry.question = this.#open.get(answers ?? "")?.question ?? 0;
    this.#open.set(entry.id, entry);
    return entry;
  }

  get(id: string): Entry | undefined {
    return this.#open.get(id);
  }

  /** It is open no more; undefined where it was not. */
  remove(id: string): Entry | undefined {
    const entry = this.#open.get(id);
    this.#open.delete(id);
    return entry;
  }

  /** Whether the eval still waits for this answer. */
  isAwaited(answer: Entry): boolean {
    const asked = this.#open.get(answer.answers ?? "");
    return asked !== undefined && asked.waits && asked.question === answer.question;
  }

  /** Of those that the server has not answered yet, the one with the largest frame. */
  get largestUnanswered(): Entry | undefined {
    const unanswered = this.all.filter((entry) => entry.sent && !entry.accepted);
    return unanswered.reduce<Entry | undefined>((a, b) => (a && a.size >= b.size ? a : b), undefined);
  }
}
