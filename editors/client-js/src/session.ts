/** A session, by its id or name: what can be asked of it. */
import type { Completion, IsCompleteReply, Signature, SymbolInfo } from "../../protocol.js";
import { Attachment } from "./attachment.js";
import type { Handler } from "./connection.js";
import { NreplError } from "./errors.js";
import { Evaluation, type InterruptOptions, type OnInput } from "./evaluation.js";
import { type Fields, type ReplyTo } from "./messages.js";
import { codePoints, offsetOf } from "./positions.js";
import type { Follower } from "./stream.js";

/** What `eval` takes beside the code: the protocol's options, and what is this library's. */
export type EvalOptions = Fields<"eval", "code" | "session"> & {
  /** Asked each time the code reads input. Without it `allowStdin` is false, and reads get EOFError. */
  onInput?: OnInput;
  /** False: the result keeps no output, displays or values, for evals that say much and are looped over. */
  collect?: boolean;
};

/** What a session needs of its client. */
export interface SessionHost {
  readonly maxBuffered: number;
  request<Name extends string>(op: Name, fields?: object, answers?: string): Promise<ReplyTo<Name>>;
  /** Open a request; its replies go to `handler`. */
  open(op: string, fields: object, handler: Handler): string;
  follow(ref: string, since: number | undefined, follower: Follower): () => void;
  unfollow(ref: string): void;
  report(error: unknown): void;
}

/** Start an eval; without `session` in a fresh worker that ends with it, or with the connection. */
export function evaluate(
  host: SessionHost,
  op: "eval" | "load-file",
  session: string | undefined,
  code: string,
  options: EvalOptions,
): Evaluation {
  const { onInput, collect, ...fields } = options;
  const request = { ...fields, session, code, allowStdin: fields.allowStdin ?? onInput !== undefined };
  const evaluation = {
    maxBuffered: host.maxBuffered,
    open: (handler: Handler) => host.open(op, request, handler),
    interrupt: (id: string, how: InterruptOptions) => host.request("interrupt", { session, interruptId: id, ...how }),
    stdin: async (id: string, text: string, answer: boolean) => {
      const to = session === undefined ? { eval: id } : { session };
      await host.request("stdin", { ...to, stdin: text }, answer ? id : undefined);
    },
    report: (error: unknown) => host.report(error),
  };
  return new Evaluation(evaluation, onInput, collect ?? true);
}

export class Session {
  /** Its id, or the name it was asked for by. */
  readonly id: string;
  /** What `clone` said of it. */
  readonly info: Readonly<Record<string, unknown>>;
  readonly #host: SessionHost;

  constructor(host: SessionHost, id: string, info: Record<string, unknown> = {}) {
    this.#host = host;
    this.id = id;
    this.info = info;
  }

  /**
   * Evaluate: `await` it for the result, `for await` over it for the messages as they come, or both.
   * It goes on through lost connections, and runs at most once.
   */
  eval(code: string, options: EvalOptions = {}): Evaluation {
    return evaluate(this.#host, "eval", this.id, code, options);
  }

  /** Evaluate the contents of `file` as that file, from its first line. */
  loadFile(file: string, code: string, options: Omit<EvalOptions, "file" | "line" | "column"> = {}): Evaluation {
    return evaluate(this.#host, "load-file", this.id, code, { ...options, file });
  }

  /**
   * Interrupt the eval `id`, else the running one; `all` cancels the queue too. Answered when it has
   * ended: `stages` says what was done, `status` may have `session-idle`, `interrupt-id-mismatch` or `still-running`.
   */
  interrupt(options: InterruptOptions & { id?: string; all?: boolean } = {}): Promise<ReplyTo<"interrupt">> {
    const { id, ...fields } = options;
    return this.#host.request("interrupt", { session: this.id, interruptId: id, ...fields });
  }

  /** Append to the input of the running eval; "" is one end of file. */
  async stdin(text: string): Promise<void> {
    await this.#host.request("stdin", { session: this.id, stdin: text });
  }

  /** What may stand at the cursor (by default the end). Offsets, `start` of the answer too, are into the string. */
  async completions(
    code: string,
    cursor = code.length,
    options: { module?: string; file?: string } = {},
  ): Promise<Completion[]> {
    const { completions } = await this.#ask("completions", code, cursor, options);
    return completions.map((one) => ({ ...one, start: offsetOf(code, one.start) }));
  }

  /** The signatures of the call around the cursor (by default the end). */
  async signature(code: string, cursor = code.length, options: { module?: string } = {}): Promise<Signature[]> {
    return (await this.#ask("signature", code, cursor, options)).signatures;
  }

  /** What a name is, by itself or as the one at the cursor in some code; undefined where the session knows nothing of it. */
  async lookup(
    what: string | { code: string; cursor: number },
    options: { module?: string } = {},
  ): Promise<SymbolInfo | undefined> {
    const fields = typeof what === "string" ? { sym: what } : { ...what, cursor: codePoints(what.code, what.cursor) };
    try {
      return (await this.#host.request("lookup", { session: this.id, ...fields, ...options })).info;
    } catch (error) {
      if (error instanceof NreplError && error.code === "not-found") return undefined;
      throw error;
    }
  }

  /** Whether a REPL should run this, or let the user go on typing: with `indent`. */
  isComplete(code: string): Promise<IsCompleteReply> {
    return this.#host.request("is-complete", { session: this.id, code });
  }

  /** A fresh worker under the same id, or with `from` a copy of that session. */
  restart(options: { from?: string } = {}): Promise<ReplyTo<"restart">> {
    return this.#host.request("restart", { session: this.id, ...options });
  }

  /**
   * Everything that the session says, to whomever: after the message number `since` (0: all there is), else
   * from now on. It goes on through lost connections; where messages are gone from the server's log there is one of
   * `status: ["replay-gap"]` with `missing: [from, to]` in their place.
   */
  attach(options: { since?: number } = {}): Attachment {
    const { since } = options;
    const follow = (follower: Follower): (() => void) => this.#host.follow(this.id, since, follower);
    return new Attachment(follow, since ?? 0, this.#host.maxBuffered);
  }

  /** End all that `attach` began here, and what is told of a session that was cloned here. Open evals go on. */
  detach(): void {
    this.#host.unfollow(this.id);
  }

  /** End the session, and its open evals with it. */
  async close(): Promise<void> {
    await this.#host.request("close", { session: this.id });
  }

  #ask<Name extends "completions" | "signature">(
    op: Name,
    code: string,
    cursor: number,
    options: object,
  ): Promise<ReplyTo<Name>> {
    return this.#host.request(op, { session: this.id, code, cursor: codePoints(code, cursor), ...options });
  }
}
