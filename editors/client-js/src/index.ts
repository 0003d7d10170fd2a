/** A client of nrepl-py servers: sessions of live Python, from a browser, Node or VS Code. */
export { connect, Client, MAX_BUFFERED, MAX_VALUE } from "./client.js";
export type { ConnectOptions, SocketConstructor, SocketLike } from "./client.js";
export { Session } from "./session.js";
export type { EvalOptions } from "./session.js";
export { Evaluation } from "./evaluation.js";
export type { InputRequest, InterruptOptions, OnInput } from "./evaluation.js";
export { Attachment } from "./attachment.js";
export { EvalResult } from "./result.js";
export { Closed, ConnectionLost, EvalError, NoServer, NreplError, ReplayGap, SlowConsumer } from "./errors.js";
export type { ClientErrorCode } from "./errors.js";
export type { EvalMessage, Fields, Gap, Message, ReplyTo, StreamMessage } from "./messages.js";
export type { MessagePack } from "./codec.js";
export type { RetryOptions } from "./retry.js";
export { codePoints, offsetOf } from "./positions.js";
export * from "../../protocol.js";
