/**
 * One session's stream as this client has seen it: what is new, what is a repeat, what is missing.
 *
 * `seen` is the last number that the session's evals and listeners were given. A message at or below
 * it is a repeat, for them. Followers, who may have begun elsewhere, have a `cursor` each by the same
 * rule. A replay starts at the lowest number anybody stands at, so it never jumps over anyone.
 */
import type { Message } from "./messages.js";
import type { NreplError } from "./errors.js";

/** Someone who is given every message of a session from some point on. Calls must not throw. */
export interface Follower {
  message(message: Message, size: number): void;
  /** Messages `from` to `to` are gone; what follows is after them. */
  gap(from: number, to: number): void;
  /** Attached, for the first time: the reply of `attach`. */
  ready(reply: Message): void;
  /** No more will come. */
  end(error?: NreplError): void;
}

/** A follower's place. */
export class Place {
  readonly follower: Follower;
  /** The last number it was given, or wants no more; undefined: it begins where it is attached. */
  cursor: number | undefined;
  /** It was attached on some connection. */
  ready = false;
  /** An `attach` of this connection covers it. */
  asked = false;
  /** And was answered. */
  attached = false;
  /** Its replay was asked for on a connection where messages were on their way: they are not it. */
  seeking = false;

  constructor(follower: Follower, since: number | undefined) {
    this.follower = follower;
    this.cursor = since;
  }

  /** Take a message if it is the next one. `early`: it may have been on its way before a replay that is sought. */
  offer(message: Message, seq: number, early: boolean, size: number): void {
    const { cursor } = this;
    if (!this.asked || cursor === undefined || seq <= cursor) return;
    if (this.seeking && early && seq !== cursor + 1) return;
    this.skip(seq - 1);
    this.cursor = seq;
    this.follower.message(message, size);
  }

  /** Nothing up to this number will come any more. */
  skip(to: number): void {
    if (this.cursor !== undefined && this.cursor < to) {
      this.follower.gap(this.cursor + 1, to);
      this.cursor = to;
    }
  }

  /** `attach` was answered: what it replayed has come. */
  answered(reply: Message, last: number): void {
    this.seeking = false;
    this.attached = true;
    if (this.cursor === undefined) this.cursor = last;
    else this.skip(last);
    if (!this.ready) {
      this.ready = true;
      this.follower.ready(reply);
    }
  }
}

export class Stream {
  /** How the server is told which session it is: its id, or a name until that is known. */
  readonly ref: string;
  seen = 0;
  /** The client wants all of it, also without followers: it cloned the session. */
  wanted = false;
  /** This connection is attached. */
  attached = false;
  /** From `seen` on every number will come, so that a hole is a loss. */
  contiguous = false;
  /** An `attach` or `detach` is not answered yet. Another one waits for that, so that what each brings is known apart. */
  moving = false;
  /** It is an `attach` that goes on after a lost connection: requests to this session wait for its end. */
  resuming = false;
  /** A hole was found since then. */
  gapped = false;
  readonly places = new Set<Place>();

  constructor(ref: string) {
    this.ref = ref;
  }

  /** End those who follow. */
  endPlaces(error?: NreplError): void {
    const places = [...this.places];
    this.places.clear();
    for (const place of places) place.follower.end(error);
  }

  /** The connection is gone. */
  lost(): void {
    this.attached = this.contiguous = this.moving = this.resuming = this.gapped = false;
    for (const place of this.places) place.asked = place.attached = place.seeking = false;
  }

  /**
   * Where an `attach` has to begin so that nobody misses anything; undefined: live. `resume`: what
   * the session's evals are given depends on it too, since this connection did not ask for them.
   */
  since(resume: boolean): number | undefined {
    const cursors = [...this.places].map((place) => place.cursor).filter((cursor) => cursor !== undefined);
    if (resume) cursors.push(this.seen);
    return cursors.length ? Math.min(...cursors) : undefined;
  }

  /**
   * Whether a message may have been sent before a replay that was asked for just now: it is the next one
   * of those that come live. `own`: it is of an eval of this connection, which comes without moving.
   */
  mayBeLive(seq: number, own: boolean): boolean {
    return seq > this.seen && (this.contiguous ? seq === this.seen + 1 : own);
  }

  /** Give a message to those who follow. */
  offer(message: Message, seq: number, own: boolean, size: number): void {
    const early = this.mayBeLive(seq, own);
    for (const place of [...this.places]) place.offer(message, seq, early, size);
  }
}

/** The streams of the sessions that a client has to do with, by id; by name where that is not known yet. */
export class Streams {
  readonly #streams = new Map<string, Stream>();
  readonly #ids = new Map<string, string>();

  get all(): Stream[] {
    return [...this.#streams.values()];
  }

  find(ref: string): Stream | undefined {
    return this.#streams.get(this.#ids.get(ref) ?? ref);
  }

  /** As `find`; one that is not there yet is made. */
  get(ref: string): Stream {
    const id = this.#ids.get(ref) ?? ref;
    const stream = this.#streams.get(id) ?? new Stream(id);
    this.#streams.set(id, stream);
    return stream;
  }

  /** A reply tells the id of a session that was asked for by name. */
  name(ref: string, id: string): void {
    if (ref === id || this.#ids.get(ref) === id) return;
    const named = this.#streams.get(ref);
    this.#ids.set(ref, id);
    if (!named) return;
    this.#streams.delete(ref);
    const stream = this.get(id);
    for (const place of named.places) stream.places.add(place);
    stream.moving ||= named.moving;
    stream.resuming ||= named.resuming;
    stream.attached ||= named.attached;
  }

  remove(stream: Stream): void {
    this.#streams.delete(stream.ref);
    for (const [name, id] of this.#ids) if (id === stream.ref) this.#ids.delete(name);
  }
}
