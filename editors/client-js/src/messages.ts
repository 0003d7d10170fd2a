/** The protocol's messages as this library's callers see them, derived from the generated types. */
import type { ErrorCode, EvalReply, Op, Replies, Request as AnyRequest, SessionEvent, Status } from "../../protocol.js";

/** Any message of the server's. Fields that are not known yet are kept. */
export interface Message {
  id?: string;
  session?: string;
  seq?: number;
  status?: (Status | ErrorCode | (string & {}))[];
  message?: string;
  [field: string]: unknown;
}

/** A request, ready to be encoded. */
export interface Outgoing {
  op: string;
  id: string;
  [field: string]: unknown;
}

/** One message of an eval: `out`, `value`, `error`, … as the protocol has them, the last with `done` in `status`. */
export type EvalMessage = Omit<EvalReply, "status"> & { status?: string[]; missing?: [number, number] };

/** One message of a session's stream: of any eval, an event, or output that nobody can be named for. */
export type StreamMessage = Partial<Omit<EvalReply, "status">> &
  Partial<Omit<SessionEvent, "event">> & {
    event?: SessionEvent["event"];
    status?: string[];
    missing?: [number, number];
  };

/** Messages `from` to `to` of a session are gone. */
export interface Gap {
  session: string;
  from: number;
  to: number;
}

type Camel<Name extends string> = Name extends `${infer Head}-${infer Tail}`
  ? `${Head}${Capitalize<Camel<Tail>>}`
  : Name;

/** The fields of a request, in JavaScript's spelling: `kill-after` is `killAfter`. Maps inside them are as on the wire. */
export type Fields<Name extends Op, Without extends string = never> = {
  [Key in Exclude<keyof Extract<AnyRequest, { op: Name }>, "op" | "id" | Without> & string as Camel<Key>]?: Extract<
    AnyRequest,
    { op: Name }
  >[Key];
};

/** The last reply to a request. */
export type ReplyTo<Name extends string> = Name extends keyof Replies ? Replies[Name] : Message;

/** `killAfter` as the protocol spells it. */
export function kebab(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** Fields as they are sent: kebab-case, without those that are undefined or null. */
export function wire(fields: object): Record<string, unknown> {
  const given = Object.entries(fields).filter(([, value]) => value !== undefined && value !== null);
  return Object.fromEntries(given.map(([name, value]) => [kebab(name), value]));
}
