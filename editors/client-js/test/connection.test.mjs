// The sans-I/O part: by itself, and in random schedules of cuts, replays and gaps against a simulated server.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Connection, MAX_OPEN } from "nrepl-py-client/connection";
import { NreplError } from "nrepl-py-client";
import { recorder, request, schedule } from "./schedule.mjs";

const ITERATIONS = Number(process.env.SCHEDULES ?? 3000);
const SEED = Number(process.env.SEED ?? 1);

function up(listener = recorder().listener) {
  const core = new Connection("p", { token: "t" }, listener);
  greet(core);
  return core;
}

/** Open, and answer `hello`; what is sent then. */
function greet(core) {
  core.opened();
  const [hello] = core.take();
  assert.equal(hello.op, "hello");
  core.received({ id: hello.id, status: ["done"] });
}

test("hello comes first, with the token and the protocol's version, and nothing before its answer", () => {
  const core = new Connection("p", { token: "t" }, recorder().listener);
  core.request("describe", {}, request());
  assert.deepEqual(core.take(), []);
  core.opened();
  const sent = core.take();
  assert.deepEqual(
    sent.map(({ op, token, protocol }) => ({ op, token, protocol })),
    [{ op: "hello", token: "t", protocol: 1 }],
  );
  core.received({ id: sent[0].id, status: ["done"] });
  assert.deepEqual(
    core.take().map((one) => one.op),
    ["describe"],
  );
});

test("a refused hello ends everything with its error", () => {
  const { told, listener } = recorder();
  const core = new Connection("p", {}, listener);
  const asked = request();
  core.request("describe", {}, asked);
  core.opened();
  const [{ id }] = core.take();
  core.received({ id, status: ["error", "unauthorized", "done"], message: "no" });
  assert.equal(asked.said.ends[0].code, "unauthorized");
  assert.equal(told.refused[0].message, "no");
  assert.throws(
    () => core.request("describe", {}, request()),
    (error) => error.code === "unauthorized",
  );
});

test("replies go to their request until done, and no further", () => {
  const { told, listener } = recorder();
  const core = up(listener);
  const asked = request();
  const id = core.request("eval", { code: "1" }, asked);
  core.received({ id, seq: 1, out: "a" });
  core.received({ id, seq: 2, status: ["done"] });
  core.received({ id, seq: 3, out: "late", late: true });
  assert.deepEqual(
    asked.said.messages.map((one) => one.seq),
    [1, 2],
  );
  assert.deepEqual(asked.said.ends, [undefined]);
  assert.deepEqual(
    told.other.map((one) => one.out),
    ["late"],
  );
  assert.deepEqual(core.open, []);
});

test("events, late output and other clients' evals are told apart from replies", () => {
  const { told, listener } = recorder();
  const core = up(listener);
  const asked = request();
  const id = core.request("eval", { session: "s", code: "1" }, asked);
  core.received({ session: "s", seq: 1, event: "started", epoch: 1 });
  core.received({ session: "s", seq: 2, id, started: {} });
  core.received({ session: "s", seq: 3, id, late: true, out: "of an eval before, with the same id" });
  core.received({ session: "s", seq: 4, id: "else", out: "x" });
  core.received({ session: "s", seq: 5, out: "nobody's" });
  assert.deepEqual(
    told.events.map((one) => one.event),
    ["started"],
  );
  assert.deepEqual(
    told.other.map((one) => one.seq),
    [3, 4, 5],
  );
  assert.deepEqual(
    asked.said.messages.map((one) => one.seq),
    [2],
  );
});

test("a refusal ends the request with its code", () => {
  const core = up();
  const asked = request();
  const id = core.request("lookup", { session: "s", sym: "x" }, asked);
  core.received({ id, status: ["error", "not-found", "done"], message: "nothing is known" });
  assert.ok(asked.said.ends[0] instanceof NreplError);
  assert.equal(asked.said.ends[0].code, "not-found");
  assert.deepEqual(asked.said.messages, []);
});

test("a lost connection: what can be asked again is, what cannot ends, an eval is taken up", () => {
  const core = up();
  const [evaluation, transient, describe, clone, stdin, aimed, blunt] = Array.from({ length: 7 }, request);
  const id = core.request("eval", { session: "s", code: "1" }, evaluation);
  core.request("eval", { code: "1" }, transient);
  core.request("describe", {}, describe);
  core.request("clone", {}, clone);
  core.request("stdin", { session: "s", stdin: "x" }, stdin);
  core.request("interrupt", { session: "s", "interrupt-id": id }, aimed);
  core.request("interrupt", { session: "s" }, blunt);
  core.take();
  core.received({ session: "s", seq: 7, id, started: {} });
  core.closed("gone");
  for (const lost of [transient, clone, stdin, blunt]) assert.equal(lost.said.ends[0].code, "connection-lost");
  for (const kept of [evaluation, describe, aimed]) assert.deepEqual(kept.said.ends, []);
  greet(core);
  const [attach, ...rest] = core.take();
  assert.deepEqual([attach.op, attach.session, attach.since], ["attach", "s", 7]);
  assert.deepEqual(
    rest.map((one) => one.op),
    ["describe"],
    "what concerns the session waits until it is taken up",
  );
  core.received({ session: "s", seq: 7, id, started: {} }); // a repeat
  core.received({ session: "s", seq: 8, id, out: "x" });
  core.received({ id: attach.id, session: "s", "last-seq": 8, running: id, status: ["done"] });
  assert.deepEqual(
    core.take().map((one) => one.op),
    ["interrupt"],
    "the eval was heard, so it is not sent again",
  );
  core.received({ session: "s", seq: 9, id, status: ["done"] });
  assert.deepEqual(
    evaluation.said.messages.map((one) => one.seq),
    [7, 8, 9],
  );
  assert.deepEqual(evaluation.said.ends, [undefined]);
});

test("a session attached for its evals alone is left again when they have ended", () => {
  const core = up();
  const id = core.request("eval", { session: "s", code: "1" }, request());
  core.take();
  core.received({ session: "s", seq: 1, id, started: {} });
  core.closed("gone");
  greet(core);
  const [attach] = core.take();
  core.received({ id: attach.id, session: "s", "last-seq": 1, running: id, status: ["done"] });
  assert.deepEqual(core.take(), []);
  core.received({ session: "s", seq: 2, id, status: ["done"] });
  assert.deepEqual(
    core.take().map((one) => one.op),
    ["detach"],
  );
});

test("an eval that nothing was heard of is sent again, and duplicate-id then is no refusal", () => {
  const core = up();
  const asked = request();
  const id = core.request("eval", { session: "s", code: "1" }, asked);
  core.take();
  core.closed("gone");
  greet(core);
  const [attach] = core.take();
  core.received({ id: attach.id, session: "s", "last-seq": 0, running: null, queued: 1, status: ["done"] });
  assert.deepEqual(
    core.take().map((one) => [one.op, one.id]),
    [["eval", id]],
  );
  core.received({ id, session: "s", status: ["error", "duplicate-id", "done"], message: "known" });
  assert.deepEqual(asked.said.ends, []);
  core.received({ id, session: "s", seq: 1, status: ["done"] });
  assert.deepEqual(asked.said.ends, [undefined]);
});

test("duplicate-id is a refusal the first time", () => {
  const core = up();
  const asked = request();
  const id = core.request("eval", { session: "s", code: "1" }, asked);
  core.received({ id, session: "s", status: ["error", "duplicate-id", "done"], message: "known" });
  assert.equal(asked.said.ends[0].code, "duplicate-id");
});

test("after a gap an eval that nothing was heard of is not sent again: it might run twice", () => {
  const core = up();
  const asked = request();
  core.request("eval", { session: "s", code: "1" }, asked);
  core.take();
  core.closed("gone");
  greet(core);
  const [attach] = core.take();
  core.received({ session: "s", seq: 900, out: "noise" });
  core.received({ id: attach.id, session: "s", "last-seq": 900, running: null, status: ["replay-gap", "done"] });
  assert.equal(asked.said.ends[0].code, "replay-gap");
  assert.deepEqual(
    core.take().map((one) => one.op),
    ["detach"],
  );
});

test("after a gap an eval that the server says it has goes on, and misses nothing if it had not begun", () => {
  const core = up();
  const asked = request();
  const id = core.request("eval", { session: "s", code: "1" }, asked);
  core.take();
  for (const last of [900, 1900]) {
    core.closed("gone");
    greet(core);
    const [attach, ...rest] = core.take();
    assert.deepEqual(rest, []);
    core.received({ session: "s", seq: last, out: "noise" });
    const gap = { "last-seq": last, running: "another", open: ["another", id], status: ["replay-gap", "done"] };
    core.received({ id: attach.id, session: "s", ...gap });
    assert.deepEqual(core.take(), []);
  }
  core.received({ session: "s", seq: 1901, id, started: {} });
  core.received({ session: "s", seq: 1902, id, status: ["done"] });
  assert.deepEqual(
    asked.said.messages.map((one) => one.seq),
    [1901, 1902],
  );
  assert.deepEqual(asked.said.ends, [undefined]);
});

test("a gap is told, in its place, and an eval whose end is in it ends", () => {
  const { told, listener } = recorder();
  const core = up(listener);
  const [ended, runs] = [request(), request()];
  const first = core.request("eval", { session: "s", code: "1" }, ended);
  const second = core.request("eval", { session: "s", code: "2" }, runs);
  core.take();
  core.received({ session: "s", seq: 1, id: first, started: {} });
  core.closed("gone");
  greet(core);
  const [attach] = core.take();
  core.received({ session: "s", seq: 10, id: second, out: "after" });
  core.received({ id: attach.id, session: "s", "last-seq": 10, running: second, status: ["replay-gap", "done"] });
  assert.deepEqual(told.lost, [{ session: "s", from: 2, to: 9 }]);
  assert.deepEqual(ended.said.messages.at(-1).missing, [2, 9]);
  assert.equal(ended.said.ends[0].code, "replay-gap");
  assert.deepEqual(
    runs.said.messages.map((one) => one.missing ?? one.out),
    [[2, 9], "after"],
    "it began in the gap",
  );
  core.received({ session: "s", seq: 11, id: second, status: ["done"] });
  assert.deepEqual(runs.said.ends, [undefined]);
});

test("an answer to input is given again only if the eval still waits", () => {
  for (const [replay, again] of [
    [[], ["stdin"]],
    [[{ status: ["input-done"] }], []],
  ]) {
    const core = up();
    const id = core.request("eval", { session: "s", code: "input()" }, request());
    core.take();
    core.received({ session: "s", seq: 1, id, status: ["need-input"], prompt: "? " });
    const answer = request();
    core.request("stdin", { session: "s", stdin: "x\n" }, answer, id);
    core.take();
    core.closed("gone");
    assert.deepEqual(answer.said.ends, []);
    greet(core);
    const [attach] = core.take();
    replay.forEach((message, at) => core.received({ session: "s", seq: 2 + at, id, ...message }));
    const waits = replay.length === 0;
    core.received({
      id: attach.id,
      session: "s",
      "last-seq": 1 + replay.length,
      running: id,
      "waiting-for-input": waits,
      status: ["done"],
    });
    assert.deepEqual(
      core.take().map((one) => one.op),
      again,
    );
    assert.deepEqual(answer.said.ends, again.length ? [] : [undefined]);
  }
});

test("a request to wait for input that is in a gap is told, and what is typed for it not shown", () => {
  const core = up();
  const asked = request();
  const id = core.request("eval", { session: "s", code: "input()" }, asked);
  core.take();
  core.received({ session: "s", seq: 1, id, started: {} });
  core.closed("gone");
  greet(core);
  const [attach] = core.take();
  core.received({ session: "s", seq: 10, out: "noise" });
  core.received({
    id: attach.id,
    session: "s",
    "last-seq": 10,
    running: id,
    "waiting-for-input": true,
    status: ["replay-gap", "done"],
  });
  const { status, password } = asked.said.messages.at(-1);
  assert.deepEqual([status, password], [["need-input"], true]);
});

test("a session that is gone ends what was open in it", () => {
  const core = up();
  const asked = request();
  const follower = { ends: [], message() {}, gap() {}, ready() {}, end: (error) => follower.ends.push(error) };
  const id = core.request("eval", { session: "s", code: "1" }, asked);
  core.follow("s", 0, follower);
  core.take();
  core.received({ session: "s", seq: 1, id, started: {} });
  core.closed("gone");
  greet(core);
  const [attach] = core.take();
  core.received({ id: attach.id, status: ["error", "unknown-session", "done"], message: "none" });
  assert.equal(asked.said.ends[0].code, "unknown-session");
  assert.equal(follower.ends[0].code, "unknown-session");
});

test("a session that was closed while nobody was connected is said to be", () => {
  const { told, listener } = recorder();
  const core = up(listener);
  const id = core.request("clone", {}, request());
  core.take();
  core.received({ id, "new-session": "s", status: ["done"] });
  core.closed("gone");
  greet(core);
  const [attach] = core.take();
  core.received({ id: attach.id, status: ["error", "unknown-session", "done"], message: "none" });
  assert.deepEqual(told.events, [{ session: "s", event: "closed" }]);
  core.closed("gone");
  greet(core);
  assert.deepEqual(core.take(), [], "and forgotten");
});

test("a server without attach: evals that were sent are lost, and said to be", () => {
  const core = up();
  const asked = request();
  core.request("eval", { session: "s", code: "1" }, asked);
  core.take();
  core.closed("gone");
  const later = request();
  core.request("eval", { session: "s", code: "2" }, later);
  greet(core);
  const [attach] = core.take();
  core.received({ id: attach.id, status: ["error", "unknown-op", "done"], message: "no op 'attach'" });
  assert.equal(asked.said.ends[0].code, "connection-lost");
  assert.deepEqual(
    core.take().map((one) => one.code),
    ["2"],
    "what was never sent is sent now",
  );
});

test("a session is known by its name and by its id", () => {
  const core = up();
  const asked = request();
  const id = core.request("eval", { session: "work", code: "1" }, asked);
  core.take();
  core.received({ session: "s", seq: 5, id, started: {} });
  core.closed("gone");
  greet(core);
  const [attach] = core.take();
  assert.deepEqual([attach.session, attach.since], ["s", 5]);
});

test("a frame that is too large ends the request it was, and no other", () => {
  const core = up();
  const [small, large] = [request(), request()];
  const ids = [
    core.request("eval", { session: "s", code: "1" }, small),
    core.request("eval", { session: "s", code: "…" }, large),
  ];
  core.take();
  core.sized(ids[0], 100);
  core.sized(ids[1], 9_000_000);
  core.closed("gone", true);
  assert.equal(large.said.ends[0].code, "invalid-message");
  assert.deepEqual(small.said.ends, []);
});

test("a large request that each connection breaks under is not sent for ever, and a small one is not blamed", () => {
  const core = up();
  const [small, large] = [request(), request()];
  const ids = [small, large].map((one) => core.request("eval", { session: "s", code: "…" }, one));
  for (let attempt = 1; attempt <= 4; attempt += 1) {
    const sent = core.take().filter((one) => one.op === "eval");
    assert.deepEqual(
      sent.map((one) => one.id),
      attempt <= 3 ? ids : ids.slice(0, 1),
    );
    core.sized(ids[0], 60_000);
    core.sized(ids[1], 70_000);
    core.closed("reset");
    greet(core);
    const [attach] = core.take();
    core.received({ id: attach.id, session: "s", "last-seq": 0, running: null, open: [], status: ["done"] });
  }
  assert.deepEqual(small.said.ends, []);
  assert.equal(large.said.ends[0].code, "connection-lost");
});

test("closing again after a lost reply is no error", () => {
  const core = up();
  const asked = request();
  core.request("close", { session: "s" }, asked);
  core.take();
  core.closed("gone");
  greet(core);
  const [{ id }] = core.take();
  core.received({ id, status: ["error", "unknown-session", "done"], message: "none" });
  assert.deepEqual(asked.said.ends, [undefined]);
});

test("the number of open requests is bounded", () => {
  const core = new Connection("p", {}, recorder().listener);
  for (let count = 0; count < MAX_OPEN; count += 1) core.request("describe", {}, request());
  assert.throws(
    () => core.request("describe", {}, request()),
    (error) => error.code === "busy",
  );
});

test("giving up ends each request once", () => {
  const core = up();
  const asked = request();
  core.request("describe", {}, asked);
  core.abandon(new NreplError("closed", "over"));
  core.abandon(new NreplError("closed", "again"));
  core.closed("gone");
  assert.deepEqual(
    asked.said.ends.map((error) => error.message),
    ["over"],
  );
});

// -- random schedules ---------------------------------------------------------------------------

test(`${ITERATIONS} random schedules of cuts, replays and gaps`, () => {
  const sums = {};
  for (let seed = SEED; seed < SEED + ITERATIONS; seed += 1) {
    let counts;
    try {
      counts = schedule(seed, Connection);
    } catch (error) {
      error.message = `seed ${seed}: ${error.message}`;
      throw error;
    }
    for (const [name, count] of Object.entries(counts)) sums[name] = (sums[name] ?? 0) + count;
  }
  // The schedules are worth something only if they do what they are for.
  assert.ok(sums.cuts > ITERATIONS && sums.done > ITERATIONS && sums.gaps > 0 && sums.lost > 0, JSON.stringify(sums));
});
