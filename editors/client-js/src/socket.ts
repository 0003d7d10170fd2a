/**
 * The shell around `Connection`: one WebSocket after another, until it is closed or gives up.
 *
 * A connection that is dead without saying so (a laptop that slept, a network that changed) is found out by
 * asking: browsers do not show pings. Silence is counted in ticks and not by the clock, so that a program that
 * was busy or asleep for long does not take its own absence for the server's.
 */
import { frameSize, type Codec } from "./codec.js";
import type { Connection } from "./connection.js";
import { ConnectionLost, NoServer, NreplError } from "./errors.js";
import type { Retry } from "./retry.js";

/** What is used of a WebSocket: the platform's own, or that of the package `ws`. */
export interface SocketLike {
  binaryType: string;
  readonly protocol: string;
  /** A string, or a Uint8Array: platforms and versions of TypeScript differ in how they spell that. */
  send(data: any): void;
  close(code?: number, reason?: string): void;
  addEventListener(type: string, listener: (event: any) => void): void;
}

export type SocketConstructor = new (url: string, protocols: string[]) => SocketLike;

/** Seconds for a server to accept a connection and answer `hello`; as long as it waits for that itself. */
const OPEN_SECONDS = 10;

/** Seconds of a tick. After two without a message something is asked, after two more the connection is given up. */
const TICK_SECONDS = 10;

/** Seconds that `close` may come after `error`, which it does at once or never. */
const AFTER_ERROR_SECONDS = 0.1;

/** Codes that the server closes with and that a further attempt would meet again. */
const FATAL = new Map([
  [1002, "internal"],
  [1003, "internal"],
  [4401, "unauthorized"],
]);
const TOO_LARGE = 1009;

export interface Watcher {
  /** A connection stands. */
  up(): void;
  /** An attempt failed, or the connection broke; the next attempt is made in that many seconds, or never. */
  down(reason: NreplError, seconds: number | undefined): void;
  /** There will be no other. */
  over(error: NreplError): void;
}

type Timer = ReturnType<typeof setTimeout>;

export class Sockets {
  readonly #core: Connection;
  readonly #Socket: SocketConstructor;
  readonly #url: string;
  readonly #codec: Codec;
  readonly #retry: Retry;
  readonly #watcher: Watcher;
  #socket: SocketLike | undefined;
  #timer: Timer | undefined;
  #ticker: Timer | undefined;
  #silent = 0;

  constructor(core: Connection, Socket: SocketConstructor, url: string, codec: Codec, retry: Retry, watcher: Watcher) {
    this.#core = core;
    this.#Socket = Socket;
    this.#url = url;
    this.#codec = codec;
    this.#retry = retry;
    this.#watcher = watcher;
  }

  /** Try to connect, now. */
  open(): void {
    this.#stopTimers();
    let socket: SocketLike;
    try {
      socket = new this.#Socket(this.#url, [this.#codec.subprotocol]);
    } catch (error) {
      this.#giveUp(new NoServer(`no WebSocket to ${this.#url}: ${describe(error)}`));
      return;
    }
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
    let why = "";
    const current = (): boolean => this.#socket === socket;
    socket.addEventListener("open", () => {
      if (!current()) return;
      this.#core.opened();
      this.flush();
    });
    socket.addEventListener("message", (event: { data: string | ArrayBuffer }) => {
      if (current()) this.#received(event.data);
    });
    socket.addEventListener("error", (event: { message?: string }) => {
      why = event.message ?? "";
      // `close` comes next and says more, but in Node 20 not where no connection was made.
      setTimeout(() => current() && this.drop(why), AFTER_ERROR_SECONDS * 1000);
    });
    socket.addEventListener("close", (event: { code: number; reason: string }) => {
      if (current()) this.#lost(event.code, event.reason || why);
    });
    this.#timer = setTimeout(
      () => this.drop(`${this.#url} did not answer within ${OPEN_SECONDS} s`),
      OPEN_SECONDS * 1000,
    );
  }

  /** `hello` was answered. */
  greeted(): void {
    this.#retry.reset();
    this.#watcher.up();
    this.#stopTimers();
    this.#silent = 0;
    this.#ticker = setInterval(() => this.#tick(), TICK_SECONDS * 1000);
    (this.#ticker as { unref?: () => void }).unref?.(); // in Node, the socket keeps the program alive and this need not
  }

  /** Send what the connection has decided to. */
  flush(): void {
    for (const request of this.#core.take()) {
      try {
        const frame = this.#codec.encode(request);
        this.#core.sized(request.id, frameSize(frame));
        this.#socket?.send(frame);
      } catch (error) {
        this.#core.refuse(
          request.id,
          error instanceof NreplError
            ? error
            : new NreplError("invalid-message", `${request.op} cannot be encoded: ${describe(error)}`),
        );
      }
    }
  }

  /** Leave this connection, dead or alive, and try another. */
  drop(reason: string): void {
    const socket = this.#socket;
    if (!socket) return;
    this.#lost(1006, reason);
    socket.close();
  }

  /** Waiting for the next attempt: make it now. */
  retryNow(): void {
    if (!this.#socket && this.#core.phase === "down") this.open();
  }

  /** No more connections. */
  close(): void {
    this.#stopTimers();
    const socket = this.#socket;
    this.#socket = undefined;
    socket?.close(1000);
  }

  #received(frame: string | ArrayBuffer): void {
    this.#silent = 0;
    let message;
    try {
      message = this.#codec.decode(frame);
    } catch (error) {
      this.#giveUp(new NreplError("internal", `the server broke the protocol: ${describe(error)}`));
      return;
    }
    this.#core.received(message, frameSize(frame));
    this.flush();
  }

  #lost(code: number, reason: string): void {
    this.#socket = undefined;
    this.#stopTimers();
    const greeted = this.#core.phase === "up";
    const said = reason || (code === 1006 ? "" : `code ${code}`);
    const error =
      greeted || code !== 1006
        ? new ConnectionLost(`the connection to ${this.#url} was lost${said ? `: ${said}` : ""}`)
        : new NoServer(`no server answers at ${this.#url}${said ? `: ${said}` : ""}`);
    this.#core.closed(error.message, code === TOO_LARGE);
    if (this.#core.phase === "over") return;
    const fatal = FATAL.get(code);
    if (fatal) return this.#giveUp(new NreplError(fatal, `the server closed the connection: ${said}`));
    const seconds = this.#retry.next();
    this.#watcher.down(error, seconds);
    if (this.#core.phase !== "down" || this.#socket) return; // closed, or tried again, by who was told
    if (seconds === undefined) return this.#giveUp(error);
    this.#timer = setTimeout(() => this.open(), seconds * 1000);
  }

  #giveUp(error: NreplError): void {
    this.close();
    this.#core.abandon(error);
    this.#watcher.over(error);
  }

  #tick(): void {
    this.#silent += 1;
    if (this.#silent === 2) {
      this.#core.probe();
      this.flush();
    } else if (this.#silent === 4) {
      this.drop("the server was silent");
    }
  }

  #stopTimers(): void {
    clearTimeout(this.#timer);
    clearInterval(this.#ticker);
  }
}

export function describe(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
