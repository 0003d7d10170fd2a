/** One session, as the window sees it: everything it says, its state, and what can be asked of it. */
import * as vscode from "vscode";
import type { EvalOptions, Session, SessionInfo, StreamMessage } from "nrepl-py-client";
import type { Link } from "./link.js";

export type State = "ready" | "busy" | "dead" | "lost";

export class LiveSession {
  /** Everything that it says, to whomever. */
  readonly onMessage: vscode.Event<StreamMessage>;
  /** Its state changed. */
  readonly onDidChange: vscode.Event<void>;
  /** It is over: closed, or its server is gone. */
  readonly onDidEnd: vscode.Event<unknown>;
  /** The number of the last message seen. */
  seq: number;
  isOver = false;
  readonly #message = new vscode.EventEmitter<StreamMessage>();
  readonly #change = new vscode.EventEmitter<void>();
  readonly #end = new vscode.EventEmitter<unknown>();
  readonly #up: vscode.Disposable;
  #running: string | undefined;
  #isDead = false;

  /** `since`: the last message that is not wanted; undefined: begin where it stands. */
  constructor(
    readonly link: Link,
    readonly session: Session,
    /** As the user knows it. */
    readonly name: string,
    since?: number,
  ) {
    this.onMessage = this.#message.event;
    this.onDidChange = this.#change.event;
    this.onDidEnd = this.#end.event;
    this.seq = since ?? 0;
    this.#up = link.onDidChange(() => this.#change.fire());
    this.ready = this.#follow(since);
    this.ready.catch(() => {}); // who waits is told, and the end says it too
  }

  /** It is followed; rejects where there is no such session. */
  readonly ready: Promise<void>;

  get id(): string {
    return this.session.id;
  }

  get state(): State {
    if (!this.link.isUp) return "lost";
    if (this.#isDead || this.isOver) return "dead";
    return this.#running === undefined ? "ready" : "busy";
  }

  /** Start an eval and return its id; what it says comes by `onMessage`. `refused` is called where it cannot be had, or is lost. */
  eval(code: string, options: EvalOptions, refused: (error: unknown) => void): string {
    const evaluation = this.session.eval(code, { ...options, allowStdin: true, collect: false });
    void (async () => {
      for await (const _ of evaluation); // its messages come by the session's stream, in one order with all others
    })().catch(async (error) => refused(await this.link.reasonOf(error)));
    return evaluation.id;
  }

  /** Another client, or the user, has ended it. */
  over(why: unknown): void {
    if (this.isOver) return;
    this.isOver = true;
    this.#up.dispose();
    this.#end.fire(why);
    this.#change.fire();
  }

  async #follow(since: number | undefined): Promise<void> {
    const attachment = this.session.attach(since === undefined ? {} : { since });
    void this.#listen(attachment);
    const reply = await attachment.ready;
    this.seq = Math.max(this.seq, reply["last-seq"]);
    this.#running = reply.running ?? undefined;
    this.#change.fire();
  }

  async #listen(messages: AsyncIterable<StreamMessage>): Promise<void> {
    try {
      for await (const message of messages) this.#take(message);
      this.over("the session was closed");
    } catch (error) {
      this.over(await this.link.reasonOf(error));
    }
  }

  #take(message: StreamMessage): void {
    this.seq = message.seq ?? this.seq;
    const before = this.state;
    if (message.started) this.#running = message.id;
    if (message.event === "started" || message.event === "restarted") this.#isDead = false;
    if (message.event === "died") this.#isDead = true;
    if (message.event === "restarted" || message.event === "died") this.#running = undefined;
    if (message.status?.includes("done") && message.id === this.#running) this.#running = undefined;
    this.#message.fire(message);
    if (this.state !== before) this.#change.fire();
  }
}

/** What a session is called: by its name, else by the beginning of its id. */
export function nameOf(info: Pick<SessionInfo, "id" | "name">): string {
  return info.name ?? info.id.slice(0, 8);
}
