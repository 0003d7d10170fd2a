/** Frames and messages. Whichever the codec, messages are the same: bytes in them are Uint8Array. */
import type { Message, Outgoing } from "./messages.js";
import { NreplError } from "./errors.js";

/** What `@msgpack/msgpack` exports. */
export interface MessagePack {
  encode(value: unknown): Uint8Array;
  decode(bytes: Uint8Array): unknown;
}

export interface Codec {
  readonly subprotocol: string;
  encode(request: Outgoing): string | Uint8Array;
  decode(frame: string | ArrayBuffer): Message;
}

export const json: Codec = {
  subprotocol: "nrepl.v1.json",
  encode: (request) => JSON.stringify(checked(request), base64),
  decode(frame) {
    if (typeof frame !== "string") throw new Error("a binary frame, where text was agreed on");
    return withBytes(map(JSON.parse(frame)));
  },
};

export function msgpack({ encode, decode }: MessagePack): Codec {
  return {
    subprotocol: "nrepl.v1.msgpack",
    // @msgpack/msgpack may give a view of its own buffer, whose bytes are the next message's soon.
    encode: (request) => encode(checked(request)).slice(),
    decode(frame) {
      if (typeof frame === "string") throw new Error("a text frame, where MessagePack was agreed on");
      return map(decode(new Uint8Array(frame)));
    },
  };
}

/** Bytes of a frame; of text, as many as if it were ASCII. */
export function frameSize(frame: string | Uint8Array | ArrayBuffer): number {
  return typeof frame === "string" ? frame.length : frame.byteLength;
}

function map(value: unknown): Message {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Error("a frame that is no map");
  return value as Message;
}

/** Levels of maps and lists that a request may have; the server takes 64. */
const MAX_DEPTH = 60;

/** Refuse what the server could not read: its refusal would not name the request, which would wait for ever. */
function checked(request: Outgoing): Outgoing {
  for (const [name, value] of Object.entries(request)) {
    const must = unreadable(value, MAX_DEPTH);
    if (must) throw new NreplError("invalid-message", `${request.op}: '${name}' must be ${must}`);
  }
  return request;
}

/** What a value would have to be instead; undefined where it can be read. */
function unreadable(value: unknown, depth: number): string | undefined {
  if (typeof value === "string") return /\p{Surrogate}/u.test(value) ? "text without half surrogate pairs" : undefined;
  if (typeof value === "number") return Math.abs(value) < 2 ** 63 ? undefined : "a number within 64 bits";
  if (typeof value !== "object" || value === null || value instanceof Uint8Array) return undefined;
  if (depth === 0) return `nested at most ${MAX_DEPTH} deep`;
  const inside = Array.isArray(value) ? value : [...Object.keys(value), ...Object.values(value)];
  return inside.map((item) => unreadable(item, depth - 1)).find((must) => must !== undefined);
}

function base64(_key: string, value: unknown): unknown {
  return value instanceof Uint8Array
    ? { $bytes: btoa(Array.from(value, (byte) => String.fromCharCode(byte)).join("")) }
    : value;
}

function bytes(text: string): Uint8Array {
  const binary = atob(text);
  const found = new Uint8Array(binary.length);
  for (let at = 0; at < binary.length; at += 1) found[at] = binary.charCodeAt(at);
  return found;
}

/** A JSON message, with bytes for what stands for them. */
function withBytes(message: Message): Message {
  if ("data" in message) message.data = plain(message.data);
  if (isMap(message.mime)) bundle(message.mime);
  if (isMap(message.display) && isMap(message.display.mime)) bundle(message.display.mime);
  return message;
}

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Strings of other types than these are bytes. */
function bundle(mime: Record<string, unknown>): void {
  for (const [kind, value] of Object.entries(mime)) {
    const text = kind.startsWith("text/") || kind === "application/javascript" || /(\+xml|json)$/.test(kind);
    if (!text && typeof value === "string") mime[kind] = bytes(value);
  }
}

function plain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plain);
  if (!isMap(value)) return value;
  const keys = Object.keys(value);
  if (keys.length === 1 && typeof value.$bytes === "string") return bytes(value.$bytes);
  for (const key of keys) value[key] = plain(value[key]);
  return value;
}
