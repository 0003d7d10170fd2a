// A connection to an nrepl-py server: requests, and the replies that belong to each.
//
// Everything known here about the protocol is in protocol.md. Needs Node 20 and the package `ws`.

import { randomBytes } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import WebSocket from "ws";

// The server's address and token, from the connection file it wrote.
export function readConnectionFile(path) {
  if (process.platform !== "win32" && statSync(path).mode & 0o077) {
    throw new Error(`${path} can be read by others, so its token is no secret: refused`);
  }
  const { url, token } = JSON.parse(readFileSync(path, "utf8"));
  return { url, token };
}

export class Connection {
  #socket;
  #requests = new Map(); // id -> Request, while it is open
  #prefix = randomBytes(4).toString("hex"); // ids of evals must not come twice in a session
  #count = 0;

  constructor(socket) {
    this.#socket = socket;
    socket.on("message", (frame) => this.#receive(JSON.parse(frame)));
    socket.on("close", (code, reason) => this.#lost(new Error(`the server closed the connection: ${code} ${reason}`)));
  }

  static open({ url, token }) {
    const headers = { Authorization: `Bearer ${token}` };
    // Room for the largest frame that a server started with its defaults sends, and for images.
    const socket = new WebSocket(url, ["nrepl.v1.json"], { headers, maxPayload: 512 << 20 });
    return new Promise((resolve, reject) => {
      socket.once("open", () => resolve(new Connection(socket)));
      socket.once("error", (error) => reject(new Error(`no connection to ${url}: ${error.message}`)));
    });
  }

  // Send a request. Its replies come in the Request that this returns.
  start(op, fields = {}) {
    const request = new Request(`${this.#prefix}-${++this.#count}`);
    this.#requests.set(request.id, request);
    this.#socket.send(JSON.stringify({ op, id: request.id, ...fields }));
    return request;
  }

  // Send a request and wait for all its replies. One that is refused throws.
  async request(op, fields = {}) {
    const request = this.start(op, fields);
    const last = await request.done;
    if (last.status.includes("error")) throw new Error(`${op} was refused: ${last.message}`);
    return request;
  }

  close() {
    this.#socket.close();
  }

  #receive(message) {
    // Events, late output and replies to frames nobody could parse belong to no open request.
    const request = this.#requests.get(message.id);
    if (request === undefined || message.late) return;
    if (message.status?.includes("done")) this.#requests.delete(message.id);
    request.receive(message);
  }

  #lost(error) {
    for (const request of this.#requests.values()) request.fail(error);
    this.#requests.clear();
  }
}

export class Request {
  messages = [];
  #waiting = []; // {test, resolve, reject}

  constructor(id) {
    this.id = id;
    this.done = this.until((message) => message.status?.includes("done")); // the last message
    this.done.catch(() => {}); // whoever awaits it is told; nobody has to
  }

  // The first message, past or to come, that passes the test.
  until(test) {
    const found = this.messages.find(test);
    if (found) return Promise.resolve(found);
    return new Promise((resolve, reject) => this.#waiting.push({ test, resolve, reject }));
  }

  // All the text of one field: the cut between two `out` messages means nothing.
  text(field) {
    return this.messages.map((message) => message[field] ?? "").join("");
  }

  // The last value of a field that comes once: `value`, `data`, `error`.
  get(field) {
    return this.messages.findLast((message) => field in message)?.[field];
  }

  receive(message) {
    this.messages.push(message);
    const waiting = this.#waiting;
    this.#waiting = waiting.filter(({ test }) => !test(message));
    for (const { test, resolve } of waiting) if (test(message)) resolve(message);
    if (message.status?.includes("done")) this.fail(new Error(`ended too soon: ${JSON.stringify(message)}`));
  }

  fail(error) {
    for (const { reject } of this.#waiting) reject(error);
    this.#waiting = [];
  }
}
