/**
 * One eval, from its request to `done`: an async iterable of its messages and a promise of its result.
 *
 * Both may be used, in any order. The result gathers whatever comes, whether or not it is looped over.
 */
import { SlowConsumer, type NreplError } from "./errors.js";
import { Inbox } from "./inbox.js";
import type { EvalMessage, Message, ReplyTo } from "./messages.js";
import { EvalResult } from "./result.js";
import type { Handler } from "./connection.js";

export interface InputRequest {
  prompt: string;
  /** What is typed must not be shown. */
  password: boolean;
  /** Aborted when the answer is wanted no more: someone else gave it, or the eval ended. */
  signal: AbortSignal;
}

/** A line of input (a newline is added if it has none), or null for end of file. */
export type OnInput = (request: InputRequest) => string | null | Promise<string | null>;

/** What an eval needs of its client. */
export interface EvalHost {
  readonly maxBuffered: number;
  /** Open the request; returns its id. */
  open(handler: Handler): string;
  interrupt(id: string, options: InterruptOptions): Promise<ReplyTo<"interrupt">>;
  /** `answer`: the eval asked for it. */
  stdin(id: string, text: string, answer: boolean): Promise<void>;
  /** A callback of the caller's threw. */
  report(error: unknown): void;
}

export interface InterruptOptions {
  /** Seconds after which the worker is killed, if it still runs; without it, state is never destroyed. */
  killAfter?: number;
}

export class Evaluation implements AsyncIterable<EvalMessage, undefined>, Promise<EvalResult> {
  readonly [Symbol.toStringTag] = "Evaluation";
  /** The eval's id, under which its messages are in the session's stream. */
  readonly id: string;
  readonly #host: EvalHost;
  readonly #inbox: Inbox<EvalMessage>;
  readonly #result: Promise<EvalResult>;
  readonly #onInput: OnInput | undefined;
  #asking: AbortController | undefined;
  #seq = 0;
  #over = false;

  constructor(host: EvalHost, onInput: OnInput | undefined, collect: boolean) {
    this.#host = host;
    this.#onInput = onInput;
    this.#inbox = new Inbox(host.maxBuffered);
    let settle!: { resolve(result: EvalResult): void; reject(error: NreplError): void };
    this.#result = new Promise((resolve, reject) => (settle = { resolve, reject }));
    this.#result.catch(() => {}); // whoever waits is told; nobody has to
    let result: EvalResult | undefined;
    const end = (error?: NreplError): void => {
      this.#over = true;
      this.#asking?.abort();
      this.#inbox.end(error);
      if (error) settle.reject(error);
      else settle.resolve(result ?? new EvalResult(this.id));
    };
    const message = (message: Message, size: number): void => {
      result ??= new EvalResult(this.id);
      result.add(message as EvalMessage, collect);
      this.#take(message, size);
    };
    let id = "";
    try {
      id = host.open({ message, end });
    } catch (error) {
      end(error as NreplError); // closed, or too many are open
    }
    this.id = id;
  }

  /**
   * The messages, one at a time, from the first: the last has `done` in its `status`. Leaving the loop early
   * interrupts the eval. Throws what refused or lost it, and `SlowConsumer` where more than `maxBuffered` bytes
   * waited to be taken.
   */
  [Symbol.asyncIterator](): AsyncIterator<EvalMessage, undefined> {
    return {
      next: () => this.#inbox.next(),
      return: async () => {
        this.#inbox.clear();
        if (!this.#over) this.interrupt().catch(() => {});
        return { value: undefined, done: true };
      },
    };
  }

  then<A = EvalResult, B = never>(
    onFulfilled?: ((result: EvalResult) => A | PromiseLike<A>) | null,
    onRejected?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return this.#result.then(onFulfilled, onRejected);
  }

  catch<B = never>(onRejected?: ((reason: unknown) => B | PromiseLike<B>) | null): Promise<EvalResult | B> {
    return this.#result.catch(onRejected);
  }

  finally(onFinally?: (() => void) | null): Promise<EvalResult> {
    return this.#result.finally(onFinally);
  }

  /** The result, or `EvalError` unless the code ran to its end. */
  async check(): Promise<EvalResult> {
    return (await this.#result).check();
  }

  /** Interrupt this eval and no other. Answered when it has ended; `stages` says what was done. */
  interrupt(options: InterruptOptions = {}): Promise<ReplyTo<"interrupt">> {
    return this.#host.interrupt(this.id, options);
  }

  /** Append to this eval's input, with its newline; "" is one end of file. */
  stdin(text: string): Promise<void> {
    return this.#host.stdin(this.id, text, false);
  }

  #take(message: Message, size: number): void {
    const status = message.status ?? [];
    // What is asked now, or was in what is gone, is not what was asked before.
    if (["need-input", "input-done", "replay-gap"].some((one) => status.includes(one))) this.#asking?.abort();
    if (status.includes("need-input") && this.#onInput) void this.#ask(message, this.#onInput);
    if (this.#inbox.put(message as EvalMessage, size)) this.#seq = message.seq ?? this.#seq;
    else this.#inbox.end(new SlowConsumer(this.#seq, this.#host.maxBuffered));
  }

  async #ask(message: Message, onInput: OnInput): Promise<void> {
    const asking = (this.#asking = new AbortController());
    const { signal } = asking;
    try {
      const line = await onInput({ prompt: String(message.prompt ?? ""), password: message.password === true, signal });
      if (!signal.aborted)
        await this.#host.stdin(this.id, line === null ? "" : line.endsWith("\n") ? line : `${line}\n`, true);
    } catch (error) {
      if (signal.aborted) return;
      this.#host.report(error);
      this.interrupt().catch(() => {}); // or it would wait for ever
    }
  }
}
