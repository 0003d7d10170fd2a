/**
 * What can go wrong, each with a `code`. The server's refusals keep the protocol's own codes; beside
 * these there are the client's: `no-server`, `connection-lost`, `closed`, `slow-consumer`, `replay-gap`
 * and `eval-error`.
 */
import type { ErrorCode } from "../../protocol.js";
import type { EvalResult } from "./result.js";
import type { Message } from "./messages.js";

export type ClientErrorCode =
  | "no-server"
  | "connection-lost"
  | "closed"
  | "slow-consumer"
  | "replay-gap"
  | "eval-error";

/** The tree's root. `code` is what to decide by, `message` a sentence a person can act on. */
export class NreplError extends Error {
  /** One of these, or a code that a later version of the server has. */
  readonly code: ErrorCode | ClientErrorCode | (string & {});
  constructor(code: NreplError["code"], message: string) {
    super(message);
    this.name = new.target.name;
    this.code = code;
  }
}

/** Nothing that speaks the protocol answered at the URL. */
export class NoServer extends NreplError {
  constructor(message: string) {
    super("no-server", message);
  }
}

/** The connection ended before the request did, and it cannot be known, or no longer helped, what became of it. */
export class ConnectionLost extends NreplError {
  constructor(message: string) {
    super("connection-lost", message);
  }
}

/** This client was closed, by itself. */
export class Closed extends NreplError {
  constructor(message = "this client was closed") {
    super("closed", message);
  }
}

/** The server's log no longer has what was said meanwhile: how the eval ended is not to be known. */
export class ReplayGap extends NreplError {
  constructor(message: string) {
    super("replay-gap", message);
  }
}

/**
 * Messages came faster than the loop over them took them, and more than `maxBuffered` bytes waited.
 * The eval goes on; `session.attach({ since })` reads on from the server's log.
 */
export class SlowConsumer extends NreplError {
  /** The `seq` of the last message that the loop was given. */
  readonly since: number;
  constructor(since: number, bound: number) {
    super("slow-consumer", `more than ${bound} bytes of messages waited to be taken; attach since ${since} to go on`);
    this.since = since;
  }
}

/** The code raised, or was ended: thrown by `result.check()`. `message` is the printed traceback, or what ended it. */
export class EvalError extends NreplError {
  readonly result: EvalResult;
  constructor(message: string, result: EvalResult) {
    super("eval-error", message);
    this.result = result;
  }
}

/** The error that a last reply stands for; undefined where it is none. */
export function errorOf(message: Message): NreplError | undefined {
  const status = message.status ?? [];
  if (!status.includes("error")) return undefined;
  const code = status.find((one) => one !== "error" && one !== "done") ?? "internal";
  return new NreplError(code, message.message ?? code);
}
