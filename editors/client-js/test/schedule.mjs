// Random schedules of cuts, replays and gaps, and what must hold in all of them.
import assert from "node:assert/strict";
import { SimulatedServer, SimulatedSession, seeded } from "./simulated.mjs";

/** Who is told what answers no request, and what it was told. */
export function recorder() {
  const told = { events: [], other: [], lost: [], ready: 0, refused: [] };
  const listener = {
    ready: () => (told.ready += 1),
    refused: (error) => told.refused.push(error),
    event: (message) => told.events.push(message),
    other: (message) => told.other.push(message),
    lost: (gap) => told.lost.push(gap),
  };
  return { told, listener };
}

/** A request's handler, and what it was given. */
export function request() {
  const said = { messages: [], ends: [] };
  return { said, message: (message) => said.messages.push(message), end: (error) => said.ends.push(error) };
}

/**
 * One client against a simulated server, in an order that chance decides: no eval runs twice, each ends once, what
 * it says comes once and in order, and what is missing is told. Returns how often what happened.
 */
export function schedule(seed, Connection) {
  const random = seeded(seed);
  const pick = (items) => items[Math.floor(random() * items.length)];
  const bound = pick([4, 12, 1000]);
  const server = new SimulatedServer();
  const session = server.add(new SimulatedSession("s", bound));
  const { told, listener } = recorder();
  const core = new Connection(`r${seed}`, {}, listener);
  const evals = [];
  const followers = [];
  const counts = { cuts: 0, gaps: 0, lost: 0, done: 0, resent: 0 };
  const old = []; // connections the client has left, with requests still on their way
  let connection;
  if (random() < 0.5) {
    connect(); // the reply to its clone makes the client want all of it
    drain();
    const id = core.request("clone", {}, request());
    core.take();
    core.received({ id, "new-session": "s", status: ["done"] });
    session.attached.add(connection);
  }

  function flush() {
    for (const one of core.take()) connection?.toServer.push(structuredClone(one));
  }
  function connect() {
    connection = server.connect();
    core.opened();
    flush();
  }
  function cut() {
    counts.cuts += 1;
    server.disconnect(connection);
    if (random() < 0.5) old.push(connection);
    connection = undefined;
    core.closed("cut");
  }
  function deliver() {
    const message = connection?.toClient.shift();
    if (message) core.received(message, 1);
    flush();
  }
  function drain() {
    while (connection.toServer.length || connection.toClient.length) {
      connection.read();
      deliver();
    }
  }
  function start() {
    const one = { ...request(), asks: random() < 0.2 ? 1 + Math.floor(random() * 2) : 0 };
    const answer = (message) => {
      one.said.messages.push(message);
      if (message.status?.includes("need-input")) {
        core.request("stdin", { session: "s", stdin: `${message.seq ?? "?"}` }, request(), one.id);
      }
    };
    one.id = core.request(
      "eval",
      { session: "s", code: JSON.stringify([Math.floor(random() * 4), one.asks]) },
      { message: answer, end: one.end },
    );
    evals.push(one);
  }
  function follow() {
    const one = { items: [], ends: [], since: random() < 0.5 ? undefined : Math.floor(random() * (session.last + 1)) };
    one.leave = core.follow("s", one.since, {
      message: (message) => one.items.push(message),
      gap: (from, to) => one.items.push({ gap: [from, to] }),
      ready: (reply) => (one.from = one.since ?? reply["last-seq"]),
      end: (error) => one.ends.push(error),
    });
    followers.push(one);
  }

  const actions = [
    [5, () => connection?.read()],
    [8, deliver],
    [4, () => session.step()],
    [1, () => session.noise()],
    [2, () => connection ?? connect()],
    [random() < 0.5 ? 1 : 0.1, () => connection && cut()],
    [0.7, () => evals.length < 6 && start()],
    [0.3, () => followers.length < 3 && follow()],
    [0.1, () => pick(followers)?.leave()],
    [0.3, () => old.length && (old[0].toServer.length ? old[0].read() : old.shift())],
  ];
  const total = actions.reduce((sum, [weight]) => sum + weight, 0);
  for (let step = 0; step < 150; step += 1) {
    let at = random() * total;
    actions.find(([weight]) => (at -= weight) < 0)?.[1]();
    flush();
  }
  // Let it end: no more cuts, everything is delivered.
  while (old.length) old[0].toServer.length ? old[0].read() : old.shift();
  connection ?? connect();
  for (let rounds = 0; rounds < 500; rounds += 1) {
    drain();
    session.step();
    const [running] = session.queue;
    // Given up here after a gap, and it ran all the same: somebody else answers it.
    if (running?.waits && evals.some((one) => one.id === running.id && one.said.ends.length))
      session.input(running, "?");
  }
  drain();

  for (const one of evals) {
    assert.equal(one.said.ends.length, 1, `eval ${one.id} ended ${one.said.ends.length} times`);
    assert.ok((session.ran.get(one.id) ?? 0) <= 1, `eval ${one.id} ran twice`);
    const seqs = one.said.messages.filter((message) => message.seq).map((message) => message.seq);
    assert.deepEqual(
      seqs,
      [...new Set(seqs)].sort((a, b) => a - b),
      `eval ${one.id}: each once and in order`,
    );
    const all = session.all.filter((message) => message.id === one.id).map((message) => message.seq);
    const gaps = one.said.messages.filter((message) => message.missing).map((message) => message.missing);
    const error = one.said.ends[0];
    if (error === undefined) {
      counts.done += 1;
      const missing = all.filter((seq) => !seqs.includes(seq));
      assert.ok(
        missing.every((seq) => gaps.some(([from, to]) => from <= seq && seq <= to)),
        `eval ${one.id} misses ${missing} without a word`,
      );
      assert.ok(one.said.messages.at(-1).status.includes("done"));
    } else {
      counts.lost += 1;
      assert.equal(error.code, "replay-gap", `eval ${one.id}: ${error.message}`);
      assert.ok(bound < 1000, "nothing is lost while the log holds it");
    }
    counts.gaps += gaps.length;
  }
  for (const one of followers.filter((each) => each.from !== undefined)) {
    let next = one.from + 1;
    for (const item of one.items) {
      const [from, to] = item.gap ?? [item.seq, item.seq];
      assert.equal(from, next, `a follower since ${one.from} was given ${JSON.stringify(item)} where ${next} was next`);
      next = to + 1;
      if (item.gap) assert.ok(bound < 1000, "nothing is lost while the log holds it");
    }
    assert.deepEqual(one.ends, []);
  }
  for (const [question, answer] of session.answers) {
    assert.ok(
      answer === `${question}` || answer === "?",
      `the question ${question} was answered with that to ${answer}`,
    );
  }
  assert.deepEqual(core.open, []);
  assert.deepEqual(told.refused, []);
  const seen = [...told.other, ...told.events].map((message) => message.seq);
  assert.deepEqual(seen, [...new Set(seen)], "what answers nothing comes once");
  return counts;
}
