// A server's side of the protocol, reduced to what resuming rests on: sessions with a numbered, bounded
// log, evals whose ids are taken while they are open or logged, `attach` with replay, and connections that
// carry frames with delay and can be cut at any moment. Driven by a test, step by step; no time, no I/O.

/** A small generator of repeatable chance (mulberry32). */
export function seeded(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

export class SimulatedSession {
  constructor(id, bound) {
    this.id = id;
    this.bound = bound; // messages kept
    this.log = []; // the newest messages
    this.last = 0;
    this.all = []; // every message ever, which no client can ask for
    this.queue = []; // open evals, the first one runs
    this.attached = new Set();
    this.answers = []; // [the seq of the question, the answer]
    this.ran = new Map(); // eval id -> how often its code began to run
  }

  say(message, asker) {
    const said = { ...message, session: this.id, seq: ++this.last };
    this.log.push(said);
    this.all.push(said);
    while (this.log.length > this.bound && !this.isOnItsWay(this.log[0])) this.log.shift();
    for (const connection of new Set([...this.attached, ...(asker ? [asker] : [])])) connection.send(said);
  }

  knows(id) {
    return this.queue.some((one) => one.id === id) || this.log.some((one) => one.id === id);
  }

  /**
   * Whether this message, or a request for its eval, is on its way: a log is larger than what a connection may
   * leave unread (it is dropped for more), so it forgets neither a message nor an id before they have arrived.
   */
  isOnItsWay({ id, seq }) {
    return this.server.connections.some(
      (one) => one.toClient.some((message) => message.seq === seq) || one.toServer.some((request) => request.id === id),
    );
  }

  get first() {
    return this.last - this.log.length + 1;
  }

  /** The running eval says its next message. */
  step() {
    const running = this.queue[0];
    if (!running) return;
    const { id, asker } = running;
    if (running.said === 0) {
      this.ran.set(id, (this.ran.get(id) ?? 0) + 1);
      this.say({ id, started: { code: running.code } }, asker);
    } else if (running.waits) {
      return;
    } else if (running.asked < running.asks) {
      running.asked += 1;
      if (running.input.length) {
        this.answers.push([0, running.input.shift()]);
        return;
      }
      this.say({ id, status: ["need-input"], prompt: "? " }, asker);
      running.waits = this.last;
      return;
    } else if (running.said <= running.length) {
      this.say({ id, out: `${id}:${running.said}` }, asker);
    } else {
      this.queue.shift();
      this.say({ id, value: running.code, status: ["done"] }, asker);
    }
    running.said += 1;
  }

  /** What was typed: the answer to a question, or to the next one. */
  input(running, text) {
    if (!running.waits) return running.input.push(text);
    this.answers.push([running.waits, text]);
    running.waits = 0;
    return this.say({ id: running.id, status: ["input-done"] }, running.asker);
  }

  /** Somebody else's output. */
  noise() {
    this.say({ out: "noise" });
  }
}

export class SimulatedConnection {
  constructor(server) {
    this.server = server;
    this.toServer = [];
    this.toClient = [];
    this.cut = false;
  }

  send(message) {
    if (!this.cut) this.toClient.push(structuredClone(message));
  }

  /** The server reads a request, as it may even after the client has given the connection up. */
  read() {
    const request = this.toServer.shift();
    if (request) this.server.handle(this, request);
  }
}

export class SimulatedServer {
  constructor() {
    this.sessions = new Map();
    this.connections = [];
  }

  add(session) {
    session.server = this;
    this.sessions.set(session.id, session);
    return session;
  }

  handle(connection, request) {
    // An answer that arrives after its connection was given up may be read twice: of that nothing is promised.
    if (connection.cut && request.op === "stdin") return undefined;
    const reply = (fields) => connection.send({ id: request.id, ...fields });
    const refuse = (code) => reply({ status: ["error", code, "done"], message: code });
    const session = this.sessions.get(request.session);
    if (request.op === "hello") return reply({ status: ["done"], principal: "owner" });
    if (request.op === "describe") return reply({ status: ["done"], ops: {} });
    if (!session) return refuse("unknown-session");
    switch (request.op) {
      case "eval": {
        if (session.knows(request.id)) return refuse("duplicate-id");
        const [length, asks] = JSON.parse(request.code);
        const asker = connection.cut ? undefined : connection;
        const started = { said: 0, asked: 0, waits: 0, input: [] };
        session.queue.push({ id: request.id, code: request.code, length, asks, asker, ...started });
        return undefined;
      }
      case "attach": {
        const { since } = request;
        if (since !== undefined && since > session.last) return refuse("bad-since");
        const gap = since !== undefined && since + 1 < session.first && since < session.last;
        for (const message of session.log) if (since !== undefined && message.seq > since) connection.send(message);
        if (!connection.cut) session.attached.add(connection);
        const running = session.queue[0]?.said > 0 ? session.queue[0] : undefined;
        return reply({
          session: session.id,
          "first-seq": session.first,
          "last-seq": session.last,
          epoch: 1,
          running: running?.id ?? null,
          queued: Math.max(0, session.queue.length - 1),
          open: session.queue.map((one) => one.id),
          "waiting-for-input": Boolean(running?.waits),
          status: gap ? ["replay-gap", "done"] : ["done"],
        });
      }
      case "detach":
        session.attached.delete(connection);
        return reply({ status: ["done"] });
      case "stdin": {
        const running = session.queue[0];
        if (!running?.said) return reply({ status: ["session-idle", "done"] });
        session.input(running, request.stdin);
        return reply({ session: session.id, status: ["done"] });
      }
      default:
        return refuse("unknown-op");
    }
  }

  connect() {
    this.connections.push(new SimulatedConnection(this));
    return this.connections.at(-1);
  }

  /** The client is gone, or a network between says so. */
  disconnect(connection) {
    connection.cut = true;
    connection.toClient = [];
    for (const session of this.sessions.values()) {
      session.attached.delete(connection);
      for (const one of session.queue) if (one.asker === connection) one.asker = undefined;
    }
  }
}
