/**
 * The protocol's client side, without any I/O: which message answers which request, and how a
 * connection that broke is taken up again.
 *
 *     down ──opened──▶ greeting ──hello answered──▶ up      `closed` leads from each of them back to down,
 *                                                           `abandon` to over, for good
 *
 * Requests get their ids here and stay open until a reply carries `done`: each ends exactly once. The
 * shell tells of its socket (`opened`, `received`, `closed`) and sends what `take` returns.
 *
 * After a reconnection: `hello`; then, for each session that is followed or has open evals, `attach` with
 * the last `seq` seen; then, when that is answered, the evals that nothing was heard of, once more. They
 * may have arrived the first time: `duplicate-id` says so, and then their messages come by the stream.
 * That order matters: an eval whose messages might all be gone from the log (`replay-gap`) is not sent
 * again, since its id might be free again and its code would run twice.
 */
import { PROTOCOL_VERSION } from "../../protocol.js";
import { ConnectionLost, NreplError, ReplayGap, errorOf } from "./errors.js";
import type { Gap, Message, Outgoing } from "./messages.js";
import { Requests, type Entry, type Handler } from "./requests.js";
import { Place, Streams, type Follower, type Stream } from "./stream.js";

export { MAX_OPEN, type Handler } from "./requests.js";
export type { Follower } from "./stream.js";

/** Who is told what answers no request. Calls must not throw. */
export interface Listener {
  /** `hello` was answered: requests are sent. */
  ready(hello: Message): void;
  /** `hello` was refused; everything has ended with this error. */
  refused(error: NreplError): void;
  /** An event of a session. */
  event(message: Message): void;
  /** Output after its eval's `done`, or that nobody can be named for; what other clients' evals say. */
  other(message: Message): void;
  /** Messages of a session are gone from the server's log before they were seen. */
  lost(gap: Gap): void;
}

/** An `attach` that is not answered yet. */
interface Attaching {
  stream: Stream;
  /** Whom it was for. */
  places: Place[];
  /** The session's evals wait for it. */
  resume: boolean;
}

export class Connection {
  #phase: "down" | "greeting" | "up" | "over" = "down";
  readonly #hello: Record<string, unknown>;
  readonly #listener: Listener;
  readonly #requests: Requests;
  readonly #streams = new Streams();
  readonly #attaching = new Map<string, Attaching>();
  readonly #leaving = new Map<string, Stream>();
  #greeting: string | undefined;
  #outgoing: Outgoing[] = [];
  #error: NreplError | undefined;

  /** `prefix`: random, so that no eval's id was ever used in a session. `hello`: its fields, `token` among them. */
  constructor(prefix: string, hello: Record<string, unknown>, listener: Listener) {
    this.#requests = new Requests(prefix);
    this.#hello = { ...hello, protocol: PROTOCOL_VERSION };
    this.#listener = listener;
  }

  get phase(): "down" | "greeting" | "up" | "over" {
    return this.#phase;
  }

  /** The ids of open requests, oldest first. */
  get open(): string[] {
    return this.#requests.all.map((entry) => entry.id);
  }

  /** The requests to send now, in this order. */
  take(): Outgoing[] {
    const outgoing = this.#outgoing;
    this.#outgoing = [];
    return outgoing;
  }

  // -- what callers want ------------------------------------------------------------------------

  /**
   * Open a request, sent now or when there is a connection; returns its id. `answers`: the eval that this
   * `stdin` is for, which asked for it; sent again after a lost connection if that eval still waits. Throws
   * `busy` where too many are open, and once the connection was given up the error it was given up for.
   */
  request(op: string, fields: Record<string, unknown>, handler: Handler, answers?: string): string {
    if (this.#error) throw this.#error;
    const entry = this.#requests.add(op, fields, handler, answers);
    if (entry.isEval && entry.session !== undefined) this.#streams.get(entry.session);
    this.#send(entry);
    return entry.id;
  }

  /** It cannot be sent, for this reason. */
  refuse(id: string, error: NreplError): void {
    this.#end(id, error);
  }

  /** Its frame has this many bytes. */
  sized(id: string, size: number): void {
    const entry = this.#requests.get(id);
    if (entry) entry.size = size;
  }

  /** Give a session's messages to `follower`: those after `since`, or from now on. Returns what ends that. */
  follow(ref: string, since: number | undefined, follower: Follower): () => void {
    if (this.#error) throw this.#error;
    const stream = this.#streams.get(ref);
    const place = new Place(follower, since);
    stream.places.add(place);
    this.#attachNew(stream);
    return () => {
      const current = this.#streams.find(ref);
      if (current?.places.delete(place)) this.#settle(current);
    };
  }

  /** Nobody here follows that session any more, and its events are not wanted. Its open evals are answered all the same. */
  unfollow(ref: string): void {
    const stream = this.#streams.find(ref);
    if (!stream) return;
    stream.wanted = false;
    stream.endPlaces();
    this.#settle(stream);
  }

  /** Ask something, so that a server that lives says something. */
  probe(): void {
    if (this.#phase === "up") this.#outgoing.push({ op: "is-complete", id: this.#requests.newId(), code: "" });
  }

  // -- what the shell tells ---------------------------------------------------------------------

  /** A socket is open: greet. */
  opened(): void {
    if (this.#phase !== "down") return;
    this.#phase = "greeting";
    this.#greeting = this.#requests.newId();
    this.#outgoing.push({ op: "hello", id: this.#greeting, ...this.#hello });
  }

  /**
   * The socket is gone. What can be taken up again stays open; the rest ends with `ConnectionLost`.
   * `tooLarge`: for a frame of ours, the server said, but not for which: it is the largest not answered.
   */
  closed(reason: string, tooLarge = false): void {
    if (this.#phase === "over") return;
    this.#phase = "down";
    this.#outgoing = [];
    this.#attaching.clear();
    this.#leaving.clear();
    for (const stream of this.#streams.all) stream.lost();
    const largest = tooLarge ? this.#requests.largestUnanswered : undefined;
    if (largest) {
      const why = `${largest.request.op}: a message of ${largest.size} bytes is more than the server takes`;
      this.#end(largest.id, new NreplError("invalid-message", why));
    }
    for (const entry of this.#requests.all.filter((one) => one.sent)) {
      entry.sent = false;
      entry.again = true;
      entry.attempts += 1;
      if (!entry.survives || entry.breaksConnections) {
        this.#end(entry.id, new ConnectionLost(`${reason}; what became of this ${entry.request.op} is not known`));
      }
    }
  }

  /** End everything, for this reason, and refuse what is asked from now on. */
  abandon(error: NreplError): void {
    if (this.#phase === "over") return;
    this.#phase = "over";
    this.#error = error;
    this.#outgoing = [];
    for (const entry of this.#requests.all) this.#end(entry.id, error);
    for (const stream of this.#streams.all) stream.endPlaces(error);
  }

  /** A message came; `size`: of its frame. */
  received(message: Message, size = 0): void {
    const id = typeof message.id === "string" ? message.id : "";
    const attaching = this.#attaching.get(id);
    const leaving = this.#leaving.get(id);
    const entry = this.#requests.get(id);
    if (id && id === this.#greeting) {
      this.#greeted(message);
    } else if (attaching) {
      this.#attaching.delete(id);
      this.#attached(attaching, message);
    } else if (leaving) {
      this.#leaving.delete(id);
      leaving.moving = false;
      this.#attachNew(leaving);
    } else if (typeof message.seq === "number" && typeof message.session === "string") {
      this.#streamed(message, message.seq, message.session, entry, size);
    } else if (entry) {
      this.#replied(entry, message, size);
    } else if (!message.status?.includes("done")) {
      this.#listener.other(message);
    }
  }

  // -- requests ---------------------------------------------------------------------------------

  #send(entry: Entry): void {
    if (this.#phase !== "up" || entry.sent || this.#streamOf(entry)?.resuming) return;
    entry.sent = true;
    this.#outgoing.push(entry.request);
  }

  #sendWaiting(): void {
    for (const entry of this.#requests.all) this.#send(entry);
  }

  #end(id: string, error?: NreplError): void {
    const entry = this.#requests.remove(id);
    if (!entry) return;
    entry.handler.end(error);
    const stream = entry.isEval ? this.#streamOf(entry) : undefined;
    if (stream) this.#settle(stream);
  }

  /** A reply that is no part of a session's stream. */
  #replied(entry: Entry, message: Message, size: number): void {
    if (entry.session !== undefined && message.session) this.#streams.name(entry.session, message.session);
    const error = errorOf(message);
    if (error && !(entry.again && this.#arrived(entry, error))) this.#end(entry.id, error);
    if (error) return;
    if (entry.request.op === "clone") this.#cloned(message);
    const closed = entry.request.op === "close" ? this.#streamOf(entry) : undefined;
    if (closed) this.#gone(closed);
    entry.handler.message(message, size);
    if (message.status?.includes("done")) this.#end(entry.id);
  }

  /** Whether the refusal of a request that was sent again says that it had arrived the first time. */
  #arrived(entry: Entry, error: NreplError): boolean {
    if (entry.isEval && error.code === "duplicate-id") return (entry.accepted = true);
    if (entry.request.op !== "close" || error.code !== "unknown-session") return false;
    this.#end(entry.id);
    return true;
  }

  // -- sessions ---------------------------------------------------------------------------------

  #streamOf(entry: Entry): Stream | undefined {
    return entry.session === undefined ? undefined : this.#streams.find(entry.session);
  }

  #evals(stream: Stream): Entry[] {
    return this.#requests.all.filter((entry) => entry.isEval && this.#streamOf(entry) === stream);
  }

  #cloned(message: Message): void {
    const stream = this.#streams.get(String(message["new-session"]));
    stream.wanted = stream.attached = stream.contiguous = true;
  }

  /** Leave a session that was attached only because its evals outlived their connection, or for followers who left. */
  #settle(stream: Stream): void {
    const needed = stream.wanted || stream.moving || stream.places.size > 0;
    if (this.#phase !== "up" || !stream.attached || needed || this.#evals(stream).some((entry) => entry.again)) return;
    stream.attached = stream.contiguous = false;
    stream.moving = true;
    const id = this.#requests.newId();
    this.#leaving.set(id, stream);
    this.#outgoing.push({ op: "detach", id, session: stream.ref });
  }

  /** A message of a session's stream. `entry`: of the request it names. */
  #streamed(message: Message, seq: number, session: string, entry: Entry | undefined, size: number): void {
    if (entry?.session !== undefined) this.#streams.name(entry.session, session);
    const stream = this.#streams.get(session);
    const own = entry && !message.late && message.event === undefined ? entry : undefined;
    stream.offer(message, seq, own !== undefined, size);
    if (seq <= stream.seen) return;
    if (stream.contiguous && seq > stream.seen + 1) this.#gap(stream, seq - 1);
    stream.seen = seq;
    if (own) this.#said(own, message, size);
    else if (message.event === undefined) this.#listener.other(message);
    else this.#happened(stream, message);
  }

  #said(entry: Entry, message: Message, size: number): void {
    entry.said(message, size);
    if (message.status?.includes("done")) this.#end(entry.id);
  }

  #happened(stream: Stream, message: Message): void {
    this.#listener.event(message);
    if (message.event === "closed") this.#gone(stream);
  }

  #gone(stream: Stream, error?: NreplError): void {
    this.#streams.remove(stream);
    stream.endPlaces(error);
  }

  /** What a session said up to `to` is gone; its evals that may have said some of it are told. */
  #gap(stream: Stream, to: number): void {
    const from = stream.seen + 1;
    stream.seen = to;
    stream.gapped = true;
    const evals = this.#evals(stream);
    if (stream.wanted || evals.some((entry) => entry.heard)) this.#listener.lost({ session: stream.ref, from, to });
    for (const entry of evals) {
      entry.missed({ id: entry.id, session: stream.ref, status: ["replay-gap"], missing: [from, to] });
    }
  }

  // -- attaching, and going on ------------------------------------------------------------------

  #greeted(message: Message): void {
    this.#greeting = undefined;
    const error = errorOf(message);
    if (error) {
      this.abandon(error);
      this.#listener.refused(error);
      return;
    }
    this.#phase = "up";
    this.#listener.ready(message);
    for (const stream of this.#streams.all) {
      if (stream.wanted || this.#evals(stream).some((entry) => entry.again)) this.#attach(stream, true);
      else this.#attachNew(stream);
    }
    this.#sendWaiting();
  }

  /** Attach for those that no `attach` of this connection covers. */
  #attachNew(stream: Stream): void {
    if (this.#phase !== "up" || stream.moving) return;
    if ([...stream.places].some((place) => !place.asked)) this.#attach(stream, false);
  }

  /** `resume`: for the session's evals as well, which wait for the answer. */
  #attach(stream: Stream, resume: boolean): void {
    const since = stream.since(resume);
    const live = stream.attached || this.#evals(stream).some((entry) => entry.sent);
    for (const place of stream.places) {
      place.seeking ||= live && !place.asked;
      place.asked = true;
    }
    stream.moving = true;
    stream.resuming ||= resume;
    stream.contiguous ||= resume;
    const id = this.#requests.newId();
    this.#attaching.set(id, { stream, places: [...stream.places], resume });
    this.#outgoing.push({ op: "attach", id, session: stream.ref, ...(since === undefined ? {} : { since }) });
  }

  #attached(attaching: Attaching, reply: Message): void {
    const error = errorOf(reply);
    if (error) return this.#unattached(attaching, error);
    const { ref } = attaching.stream;
    if (reply.session) this.#streams.name(ref, reply.session);
    const stream = this.#streams.get(reply.session ?? ref);
    const last = Number(reply["last-seq"]);
    if (stream.contiguous && stream.seen < last) this.#gap(stream, last);
    const gap = stream.gapped || (reply.status ?? []).includes("replay-gap");
    stream.seen = Math.max(stream.seen, last);
    stream.attached = stream.contiguous = true;
    stream.moving = false;
    for (const place of attaching.places) if (stream.places.has(place)) place.answered(reply, last);
    if (attaching.resume) this.#resumed(stream, gap, reply);
    this.#attachNew(stream);
    this.#settle(stream);
  }

  /** All that was said meanwhile has come, or is gone: what became of the evals, and of answers to them? */
  #resumed(stream: Stream, gap: boolean, reply: Message): void {
    const open = new Set(Array.isArray(reply.open) ? reply.open : [reply.running]);
    for (const entry of this.#evals(stream).filter((one) => one.again)) {
      if (entry.id === reply.running) {
        this.#runs(entry, reply["waiting-for-input"] === true);
      } else if (open.has(entry.id)) {
        entry.queued();
      } else if (entry.doubtful || (gap && !entry.heard)) {
        const unknown = entry.heard ? "how it ended" : "whether it ran";
        this.#end(entry.id, new ReplayGap(`the session's log no longer says ${unknown}`));
      }
      entry.sent = entry.accepted;
    }
    for (const entry of this.#requests.all) {
      if (entry.answers === undefined || !entry.again || this.#streamOf(entry) !== stream) continue;
      if (!this.#requests.isAwaited(entry)) this.#end(entry.id); // it was given, or is wanted no more
    }
    stream.resuming = stream.gapped = false;
    this.#sendWaiting();
  }

  /** The server says that it runs, and whether it waits for input: it may have said so in what is gone. */
  #runs(entry: Entry, waits: boolean): void {
    entry.runs();
    if (entry.waits === waits) return;
    // What for is not known: what is typed had better not be shown.
    const asked = waits ? { status: ["need-input"], prompt: "", password: true } : { status: ["input-done"] };
    entry.said({ id: entry.id, ...asked }, 0);
  }

  #unattached({ stream, places, resume }: Attaching, error: NreplError): void {
    stream.moving = false;
    for (const place of places) if (!place.attached && stream.places.delete(place)) place.follower.end(error);
    if (!resume) {
      this.#attachNew(stream);
      return this.#settle(stream);
    }
    const closed = error.code === "unknown-session";
    const why = closed
      ? error
      : new ConnectionLost(`the session's messages cannot be taken up again: ${error.message}`);
    stream.resuming = false;
    for (const entry of this.#evals(stream)) if (entry.again) this.#end(entry.id, why);
    // The event that said so came while nobody was there to see it.
    if (closed && stream.wanted) this.#listener.event({ session: stream.ref, event: "closed" });
    this.#gone(stream, why);
    this.#sendWaiting();
  }
}
