// The small parts: when to try again, what waits for a loop, frames, positions; and the shell, with a socket of ours.
import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { connect, codePoints, offsetOf, SlowConsumer } from "nrepl-py-client";
import { json, msgpack } from "../dist/client-js/src/codec.js";
import { Inbox } from "../dist/client-js/src/inbox.js";
import { kebab, wire } from "../dist/client-js/src/messages.js";
import { EvalResult } from "../dist/client-js/src/result.js";
import { Retry } from "../dist/client-js/src/retry.js";
import * as messagepack from "@msgpack/msgpack";

// -- when to try again --------------------------------------------------------------------------

test("the first attempt is made at once, later ones more and more rarely, within their bounds", () => {
  for (const chance of [0, 0.5, 0.999]) {
    const retry = new Retry({}, () => chance);
    const waits = Array.from({ length: 12 }, () => retry.next());
    assert.equal(waits[0], 0);
    waits.slice(1).forEach((wait, at) => {
      const bound = Math.min(0.2 * 2 ** at, 10);
      assert.ok(wait >= bound / 2 && wait <= bound, `attempt ${at + 2}: ${wait}`);
    });
  }
});

test("it gives up after what was asked for, and begins anew once it was connected", () => {
  const retry = new Retry({ first: 1, most: 1, total: 3 }, () => 1);
  const take = () => {
    const waits = [];
    for (let wait = retry.next(); wait !== undefined; wait = retry.next()) waits.push(wait);
    return waits;
  };
  assert.deepEqual(take(), [0, 1, 1, 1]);
  assert.equal(retry.next(), undefined);
  retry.reset();
  assert.deepEqual(take(), [0, 1, 1, 1]);
  assert.equal(new Retry({ total: 0 }).next(), undefined, "no second attempt where none is wanted");
});

// -- what waits for a loop ----------------------------------------------------------------------

test("an inbox gives what was put, in order, then its end", async () => {
  const inbox = new Inbox(1e7);
  const early = [inbox.next(), inbox.next()];
  for (let n = 0; n < 5000; n += 1) assert.ok(inbox.put(n, 1));
  inbox.end();
  const got = await Promise.all(early);
  for (let next = await inbox.next(); !next.done; next = await inbox.next()) got.push(next);
  assert.deepEqual(
    got.map((one) => one.value),
    Array.from({ length: 5000 }, (_, n) => n),
  );
  assert.equal((await inbox.next()).done, true);
});

test("an inbox has a bound, a large message has room in an empty one, and what waits is given before an error", async () => {
  const inbox = new Inbox(1000);
  assert.ok(inbox.put("large", 5000));
  assert.ok(!inbox.put("one more", 1));
  inbox.end(new Error("over"));
  assert.ok(inbox.put("after its end", 1), "and nobody has to care");
  assert.equal((await inbox.next()).value, "large");
  await assert.rejects(inbox.next(), /over/);
  assert.equal((await inbox.next()).done, true, "once");
});

test("an inbox that is cleared ends for those who wait", async () => {
  const inbox = new Inbox(1000);
  const waiting = inbox.next();
  inbox.clear();
  assert.equal((await waiting).done, true);
});

// -- frames, fields, positions, results ---------------------------------------------------------

test("fields are spelt as the protocol spells them, and those without a value are left out", () => {
  assert.equal(kebab("interruptId"), "interrupt-id");
  assert.deepEqual(wire({ killAfter: 0, file: undefined, module: null, data: false }), {
    "kill-after": 0,
    data: false,
  });
});

test("both codecs give the same message for the same bytes", () => {
  const raw = new Uint8Array([0, 255, 128]);
  const sent = {
    id: "1",
    data: { a: [raw, { $bytes: "AA==", b: 1 }] },
    mime: { "image/png": raw, "image/svg+xml": "<svg/>", "application/json": "x" },
  };
  const binary = { ...sent };
  const text = JSON.stringify({
    ...sent,
    data: { a: [{ $bytes: "AP+A" }, { $bytes: "AA==", b: 1 }] },
    mime: { ...sent.mime, "image/png": "AP+A" },
  });
  const frame = messagepack.encode(binary);
  assert.deepEqual(
    json.decode(text),
    msgpack(messagepack).decode(frame.buffer.slice(frame.byteOffset, frame.byteOffset + frame.byteLength)),
  );
});

test("a frame of the other kind, or that is no map, is refused; so is what no codec carries", () => {
  const packs = msgpack(messagepack);
  assert.throws(() => json.decode(new ArrayBuffer(1)));
  assert.throws(() => packs.decode("{}"));
  for (const text of ["[]", "1", "null", "{"]) assert.throws(() => json.decode(text));
  for (const codec of [json, packs]) {
    let deep = [];
    for (let level = 0; level < 70; level += 1) deep = [deep];
    for (const value of [Number.NaN, Infinity, 2 ** 64, "\ud800", { env: ["\udfff"] }, { "\ud800": 1 }, deep]) {
      assert.throws(
        () => codec.encode({ op: "eval", id: "1", code: value }),
        (error) => error.code === "invalid-message",
      );
    }
  }
});

test("offsets into a string and code points are converted both ways", () => {
  const text = "a🐍é🐍";
  const offsets = [0, 1, 3, 4, 6];
  offsets.forEach((offset, count) => {
    assert.equal(codePoints(text, offset), count);
    assert.equal(offsetOf(text, count), offset);
  });
  assert.equal(codePoints(text, 99), 4, "beyond the end is the end");
  assert.equal(offsetOf(text, 99), 6);
});

test("a result that collects nothing still says how it ended", () => {
  const result = new EvalResult("1");
  result.add({ id: "1", out: "much" }, false);
  result.add(
    { id: "1", err: "Traceback", error: { type: "E", module: null, message: "m" }, status: ["eval-error", "done"] },
    false,
  );
  assert.deepEqual([result.out, result.ok, result.traceback], ["", false, "Traceback"]);
  assert.throws(() => result.check(), /Traceback/);
  const killed = new EvalResult("2");
  killed.add({ id: "2", status: ["session-died", "done"] }, true);
  assert.throws(() => killed.check(), /session-died/);
});

// -- the shell ----------------------------------------------------------------------------------

/** A WebSocket whose other end is the test. */
function sockets() {
  const made = [];
  class Socket {
    binaryType = "blob";
    sent = [];
    #listeners = {};
    constructor(url, protocols) {
      Object.assign(this, { url, protocols });
      made.push(this);
    }
    addEventListener(type, listener) {
      this.#listeners[type] = listener;
    }
    send(frame) {
      this.sent.push(JSON.parse(frame));
    }
    close() {
      this.closedByClient = true;
    }
    tell(type, event = {}) {
      this.#listeners[type](event);
    }
    say(message) {
      this.tell("message", { data: JSON.stringify(message) });
    }
    greet() {
      this.tell("open");
      this.say({
        id: this.sent.at(-1).id,
        status: ["done"],
        server: { name: "s" },
        principal: "p",
        capabilities: ["eval"],
      });
    }
  }
  return { made, Socket };
}

async function connected(options = {}) {
  const { made, Socket } = sockets();
  const connecting = connect({ url: "ws://x", token: "t", WebSocket: Socket, ...options });
  made[0].greet();
  return { made, client: await connecting };
}

test("the token goes into hello, and nowhere else", async () => {
  const { made, client } = await connected();
  assert.deepEqual([made[0].url, made[0].protocols], ["ws://x", ["nrepl.v1.json"]]);
  assert.equal(made[0].sent[0].token, "t");
  assert.deepEqual([client.server.name, client.principal, [...client.capabilities]], ["s", "p", ["eval"]]);
  client.close();
  assert.ok(made[0].closedByClient);
});

test("a silent connection is asked, and given up if it stays silent", async (t) => {
  mock.timers.enable({ apis: ["setTimeout", "setInterval"] });
  t.after(() => mock.timers.reset());
  const down = [];
  const { made, client } = await connected({ onDown: (reason) => down.push(reason.message) });
  mock.timers.tick(10_000);
  made[0].say({ session: "s", seq: 1, event: "started" });
  mock.timers.tick(10_000);
  assert.equal(made[0].sent.length, 1, "it has spoken meanwhile");
  mock.timers.tick(10_000);
  assert.equal(made[0].sent.at(-1).op, "is-complete");
  made[0].say({ id: made[0].sent.at(-1).id, state: "complete", status: ["done"] });
  mock.timers.tick(30_000);
  assert.deepEqual(down, []);
  mock.timers.tick(10_000);
  assert.match(down[0], /silent/);
  mock.timers.tick(1);
  assert.equal(made.length, 2, "the next attempt");
  made[0].tell("close", { code: 1006, reason: "" });
  made[0].say({ session: "s", seq: 2, event: "died" });
  assert.equal(down.length, 1, "what the old one says means nothing any more");
  client.close();
});

test("a server that accepts and says nothing is none", async (t) => {
  mock.timers.enable({ apis: ["setTimeout", "setInterval"] });
  t.after(() => mock.timers.reset());
  const { made, Socket } = sockets();
  const connecting = connect({ url: "ws://x", WebSocket: Socket });
  made[0].tell("open");
  mock.timers.tick(10_000);
  await assert.rejects(connecting, (error) => error.code === "no-server" && /10 s/.test(error.message));
});

test("after a lost connection it tries again, at once when told so, and resumes", async (t) => {
  mock.timers.enable({ apis: ["setTimeout", "setInterval"] });
  t.after(() => mock.timers.reset());
  const waits = [];
  const { made, client } = await connected({
    onDown: (_, seconds) => waits.push(seconds),
    retry: { first: 4, total: 60 },
  });
  const described = client.describe();
  made[0].tell("close", { code: 1001, reason: "restart" });
  mock.timers.tick(0);
  made[1].tell("close", { code: 1006, reason: "" });
  assert.equal(made.length, 2);
  client.retryNow();
  assert.equal(made.length, 3);
  client.retryNow();
  assert.equal(made.length, 3, "it is trying already");
  made[2].greet();
  const asked = made[2].sent.at(-1);
  assert.equal(asked.op, "describe");
  made[2].say({ id: asked.id, limits: {}, status: ["done"] });
  assert.deepEqual((await described).limits, {});
  assert.equal(waits[0], 0);
  assert.ok(waits[1] >= 2 && waits[1] <= 4);
  client.close();
});

test("a token that no longer stands, or a server that breaks the protocol, is not tried again", async () => {
  for (const [break_, expected] of [
    [(socket) => socket.tell("close", { code: 4401, reason: "revoked" }), "unauthorized"],
    [(socket) => socket.tell("message", { data: "no json" }), "internal"],
    [(socket) => socket.tell("message", { data: new ArrayBuffer(1) }), "internal"],
  ]) {
    const { made, client } = await connected();
    const described = client.describe();
    break_(made[0]);
    await assert.rejects(described, (error) => error.code === expected);
    assert.equal((await client.closed).code, expected);
    assert.equal(made.length, 1);
  }
});

test("an eval's loop has a bound of its own", async () => {
  const { made, client } = await connected({ maxBuffered: 1000 });
  const run = client.eval("…");
  const { id } = made[0].sent.at(-1);
  for (let seq = 1; seq <= 10; seq += 1) made[0].say({ id, seq, out: "x".repeat(200) });
  const got = [];
  await assert.rejects(
    async () => {
      for await (const message of run) got.push(message.seq);
    },
    (error) => error instanceof SlowConsumer && error.since === got.at(-1),
  );
  assert.ok(got.length > 0 && got.length < 10);
  made[0].say({ id, seq: 11, status: ["done"] });
  assert.equal((await run).out.length, 2000);
  client.close();
});

test("an answer that is wanted no more is not sent", async () => {
  const { made, client } = await connected();
  let asked;
  const run = client.eval("input()", {
    onInput: (request) => new Promise((resolve) => (asked = { ...request, resolve })),
  });
  const { id } = made[0].sent.at(-1);
  made[0].say({ id, seq: 1, status: ["need-input"], prompt: "? ", password: true });
  assert.deepEqual([asked.prompt, asked.password, asked.signal.aborted], ["? ", true, false]);
  made[0].say({ id, seq: 2, status: ["input-done"] });
  assert.ok(asked.signal.aborted);
  asked.resolve("too late");
  made[0].say({ id, seq: 3, status: ["done"] });
  await run;
  assert.equal(made[0].sent.filter((one) => one.op === "stdin").length, 0);
  client.close();
});

test("a question that may have been answered in what is gone is not answered again", async () => {
  const { made, client } = await connected({ retry: { first: 0.001 } });
  const asked = [];
  const onInput = (request) => new Promise((resolve) => asked.push({ ...request, resolve }));
  const run = client.session("s").eval("input()", { onInput });
  const { id } = made[0].sent.at(-1);
  made[0].say({ id, session: "s", seq: 1, status: ["need-input"], prompt: "name? ", password: false });
  made[0].tell("close", { code: 1006, reason: "" });
  while (made.length < 2) await new Promise((resolve) => setTimeout(resolve));
  made[1].greet();
  const attach = made[1].sent.at(-1);
  made[1].say({ session: "s", seq: 9, out: "of others" });
  const now = { "last-seq": 9, running: id, "waiting-for-input": true, status: ["replay-gap", "done"] };
  made[1].say({ id: attach.id, session: "s", ...now });
  assert.deepEqual(
    asked.map(({ prompt, password, signal }) => [prompt, password, signal.aborted]),
    [
      ["name? ", false, true],
      ["", true, false],
    ],
  );
  asked[0].resolve("Ada");
  made[1].say({ id, session: "s", seq: 10, status: ["done"] });
  assert.deepEqual((await run).status, ["need-input", "replay-gap", "done"]);
  assert.equal(made[1].sent.filter((one) => one.op === "stdin").length, 0);
  client.close();
});
