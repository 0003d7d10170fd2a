/**
 * A server's sessions, over WebSockets that may come and go.
 *
 *     const client = await connect({ url, token });
 *     const session = await client.clone();
 *     const { value } = await session.eval("6 * 7");
 */
import type { DescribeReply, IsCompleteReply, SessionInfo } from "../../protocol.js";
import { json, msgpack, type MessagePack } from "./codec.js";
import { Connection, type Handler, type Listener } from "./connection.js";
import { Closed, NoServer, type NreplError } from "./errors.js";
import type { Evaluation } from "./evaluation.js";
import { wire, type Fields, type Gap, type Message, type ReplyTo, type StreamMessage } from "./messages.js";
import { Retry, type RetryOptions } from "./retry.js";
import { evaluate, Session, type EvalOptions, type SessionHost } from "./session.js";
import { Sockets, type SocketConstructor, type SocketLike } from "./socket.js";

/** Bytes of messages that may wait to be taken by one loop. */
export const MAX_BUFFERED = 64 << 20;

/** Bytes of `data` and `mime` taken in one message: as base64 it is within the 100 MiB that `ws` takes. */
export const MAX_VALUE = 64 << 20;

export interface ConnectOptions {
  /** `ws://127.0.0.1:PORT` or `wss://…`, as in the server's connection file. */
  url: string;
  /** Shown in the first message, never in the URL. */
  token?: string;
  /** `encode` and `decode` of `@msgpack/msgpack`: then MessagePack, else JSON. */
  msgpack?: MessagePack;
  /** Where the platform has no `WebSocket`, as Node 20: that of the package `ws`. */
  WebSocket?: SocketConstructor;
  /** As others see it in `clients` events. */
  clientName?: string;
  clientVersion?: string;
  /** Bytes of the largest frame taken; the server's default is 4 MiB. */
  maxFrame?: number;
  /** Bytes of `data` and `mime` taken beyond that in one message; default 64 MiB. */
  maxValue?: number;
  /** Bytes of messages that may wait for one `for await` loop; default 64 MiB. */
  maxBuffered?: number;
  /** When to try again after a lost connection, and for how long. */
  retry?: RetryOptions;
  /** An event of a session: `started`, `died`, `restarted`, `closed`, `clients`, `culling`. */
  onEvent?: (event: StreamMessage) => void;
  /** Output that came after its eval's `done`, or that nobody can be named for. */
  onLate?: (message: StreamMessage) => void;
  /** What evals of other clients say in sessions that were cloned here. */
  onOther?: (message: StreamMessage) => void;
  /** Messages are gone for good: the server's log no longer had them. */
  onLost?: (gap: Gap) => void;
  /** The connection broke; the next attempt is made in that many seconds, or never. Evals and attachments wait. */
  onDown?: (reason: NreplError, seconds: number | undefined) => void;
  /** Connected, again too. */
  onUp?: () => void;
}

type CloneOptions = Fields<"clone">;

export class Client {
  /** What the server said of itself: name and version. */
  server: Record<string, string> = {};
  principal = "";
  capabilities: ReadonlySet<string> = new Set();
  /** Resolves, to why, when this client is over: closed, or the server not reached for as long as `retry` says. */
  readonly closed: Promise<NreplError>;
  readonly #core: Connection;
  readonly #sockets: Sockets;
  readonly #host: SessionHost;
  #over!: (error: NreplError) => void;

  /** Use `connect`. */
  constructor(options: ConnectOptions, started: (client: Client) => void) {
    this.closed = new Promise((resolve) => (this.#over = resolve));
    const hello = wire({
      token: options.token,
      clientName: options.clientName ?? "nrepl-py-client",
      clientVersion: options.clientVersion,
      maxFrame: options.maxFrame,
      maxValue: options.maxValue ?? MAX_VALUE,
    });
    const listener: Listener = {
      ready: (reply) => {
        this.#greeted(reply);
        started(this);
        guarded(options.onUp);
      },
      refused: (error) => this.#end(error),
      event: (message) => guarded(() => options.onEvent?.(message as StreamMessage)),
      other: (message) =>
        guarded(() => {
          const late = message.late === true || message.id === undefined;
          (late ? options.onLate : options.onOther)?.(message as StreamMessage);
        }),
      lost: (gap) => guarded(() => options.onLost?.(gap)),
    };
    this.#core = new Connection(randomPrefix(), hello, listener);
    const Socket = options.WebSocket ?? (globalThis as { WebSocket?: SocketConstructor }).WebSocket;
    if (!Socket) throw new NoServer("this platform has no WebSocket: pass one, such as that of the package ws");
    const codec = options.msgpack ? msgpack(options.msgpack) : json;
    let greeted = false;
    const retry = new Retry(options.retry ?? {});
    this.#sockets = new Sockets(this.#core, Socket, options.url, codec, retry, {
      up: () => (greeted = true),
      down: (reason, seconds) => {
        // A first attempt that fails is the caller's to judge.
        if (!greeted) return this.#end(reason);
        guarded(() => options.onDown?.(reason, seconds));
      },
      over: (error) => this.#over(error),
    });
    this.#host = this.#makeHost(options.maxBuffered ?? MAX_BUFFERED);
    this.#sockets.open();
  }

  /** A new session, in a worker of its own; with `session` a copy of that one's live state. */
  async clone(options: CloneOptions = {}): Promise<Session> {
    const reply = await this.request("clone", options);
    return new Session(this.#host, reply["new-session"], reply.info);
  }

  /** A session that exists already, by id or name. Not checked here: what is asked of it is refused where there is none. */
  session(ref: string): Session {
    return new Session(this.#host, ref);
  }

  /** Evaluate in a fresh worker that ends with the eval, or with the connection. */
  eval(code: string, options: EvalOptions = {}): Evaluation {
    return evaluate(this.#host, "eval", undefined, code, options);
  }

  /** What the server is and can do. */
  describe(): Promise<DescribeReply> {
    return this.request("describe");
  }

  /** The principal's sessions; `all`: everybody's, with the capability `admin`. */
  async listSessions(options: { all?: boolean } = {}): Promise<SessionInfo[]> {
    return (await this.request("ls-sessions", options)).sessions;
  }

  /** Whether a REPL should run this, by the grammar of the server's own Python. */
  isComplete(code: string): Promise<IsCompleteReply> {
    return this.request("is-complete", { code });
  }

  /** Any op, for those that have no method here; the last reply. `killAfter` is sent as `kill-after`. */
  request<Name extends string>(op: Name, fields: object = {}): Promise<ReplyTo<Name>> {
    return this.#host.request(op, fields);
  }

  /** Do not wait for the next attempt to connect: the page is visible again, the network is back. */
  retryNow(): void {
    this.#sockets.retryNow();
  }

  /** Leave. What is open here ends with `Closed`; sessions live on, and so do their evals. */
  close(): void {
    this.#end(new Closed());
  }

  #end(error: NreplError): void {
    this.#sockets.close();
    this.#core.abandon(error);
    this.#over(error);
  }

  #greeted(reply: Message): void {
    this.#sockets.greeted();
    this.server = (reply.server ?? {}) as Record<string, string>;
    this.principal = String(reply.principal ?? "");
    this.capabilities = new Set(reply.capabilities as string[] | undefined);
  }

  #makeHost(maxBuffered: number): SessionHost {
    const open = (op: string, fields: object, handler: Handler, answers?: string): string => {
      const id = this.#core.request(op, wire(fields), handler, answers);
      this.#sockets.flush();
      return id;
    };
    return {
      maxBuffered,
      open,
      request: <Name extends string>(op: Name, fields: object = {}, answers?: string) =>
        new Promise<ReplyTo<Name>>((resolve, reject) => {
          let last: Message = {};
          const message = (message: Message): void => void (last = message);
          const end = (error?: NreplError): void => (error ? reject(error) : resolve(last as ReplyTo<Name>));
          open(op, fields, { message, end }, answers);
        }),
      follow: (ref, since, follower) => {
        const leave = this.#core.follow(ref, since, follower);
        this.#sockets.flush();
        return () => {
          leave();
          this.#sockets.flush();
        };
      },
      unfollow: (ref) => {
        this.#core.unfollow(ref);
        this.#sockets.flush();
      },
      report,
    };
  }
}

/** Connect to a server. Rejects with `NoServer`, or with what refuses the token or this version of the protocol. */
export function connect(options: ConnectOptions): Promise<Client> {
  return new Promise((resolve, reject) => void new Client(options, resolve).closed.then(reject));
}

function guarded(callback: (() => void) | undefined): void {
  try {
    callback?.();
  } catch (error) {
    report(error);
  }
}

/** A callback of the caller's threw: that is no message's fault, so it is thrown where nothing of ours is in between. */
function report(error: unknown): void {
  setTimeout(() => {
    throw error;
  });
}

function randomPrefix(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(6)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export type { SocketConstructor, SocketLike };
