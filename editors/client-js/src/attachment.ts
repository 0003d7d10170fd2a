/** A session's whole stream, from some number on: an async iterable that outlives connections. */
import { SlowConsumer, type NreplError } from "./errors.js";
import { Inbox } from "./inbox.js";
import type { Message, ReplyTo, StreamMessage } from "./messages.js";
import type { Follower } from "./stream.js";

export class Attachment implements AsyncIterable<StreamMessage, undefined> {
  /** What `attach` was answered when it was first: `last-seq`, `running`, `waiting-for-input`, … Rejects where it was refused. */
  readonly ready: Promise<ReplyTo<"attach">>;
  readonly #inbox: Inbox<StreamMessage>;
  readonly #leave: () => void;
  #seq: number;

  /** `follow`: begin, and return what ends it. `since`: as the caller gave it. */
  constructor(follow: (follower: Follower) => () => void, since: number, maxBuffered: number) {
    this.#seq = since;
    this.#inbox = new Inbox(maxBuffered);
    let settle!: { resolve(reply: ReplyTo<"attach">): void; reject(error: unknown): void };
    this.ready = new Promise((resolve, reject) => (settle = { resolve, reject }));
    this.ready.catch(() => {}); // the loop is told too
    const put = (message: StreamMessage, size: number, seq: number): void => {
      if (this.#inbox.put(message, size)) {
        this.#seq = seq;
      } else {
        this.#inbox.end(new SlowConsumer(this.#seq, maxBuffered));
        this.#leave();
      }
    };
    this.#leave = follow({
      message: (message: Message, size) => put(message as StreamMessage, size, message.seq ?? this.#seq),
      gap: (from, to) => put({ status: ["replay-gap"], missing: [from, to] }, 0, to),
      ready: (reply) => settle.resolve(reply as unknown as ReplyTo<"attach">),
      end: (error?: NreplError) => {
        this.#inbox.end(error);
        settle.reject(error ?? new Error("left before it was attached"));
      },
    });
  }

  /** The messages, one at a time; ends with the session. Leaving the loop detaches. */
  [Symbol.asyncIterator](): AsyncIterator<StreamMessage, undefined> {
    return {
      next: () => this.#inbox.next(),
      return: async () => {
        this.leave();
        return { value: undefined, done: true };
      },
    };
  }

  /** Take no more. */
  leave(): void {
    this.#inbox.clear();
    this.#leave();
  }
}
