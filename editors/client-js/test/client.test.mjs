// The client against a real server: every method, over both codecs, and over connections that are cut.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import * as messagepack from "@msgpack/msgpack";
import WebSocketOfNode from "ws";
import { connect, Closed, ConnectionLost, EvalError, NoServer, NreplError, SlowConsumer } from "nrepl-py-client";
import { Proxy, startServer } from "./server.mjs";
import { seeded } from "./simulated.mjs";

// Node 20 has a WebSocket of its own with --experimental-websocket, later ones without.
const WebSocket = process.env.OWN_WEBSOCKET ? globalThis.WebSocket : WebSocketOfNode;
const codecs = { json: {}, msgpack: { msgpack: messagepack } };
const code = (expected) => (error) => error instanceof NreplError && error.code === expected;
const quick = { first: 0.01, most: 0.1, total: 60 };

let server;
before(async () => (server = await startServer()));
after(() => server.stop());

/** Connect for one test. */
async function connected(t, options = {}) {
  const client = await connect({ url: server.url, token: server.token, WebSocket, retry: quick, ...options });
  t.after(() => client.close());
  return client;
}

/** And a proxy in between, and a session that ends with the test. */
async function throughProxy(t, options = {}) {
  const { proxy } = server;
  t.after(() => proxy.reset());
  const told = { lost: [], down: [], events: [], late: [], up: 0 };
  const client = await connected(t, {
    url: proxy.url,
    onLost: (gap) => told.lost.push(gap),
    onDown: (reason) => told.down.push(reason),
    onEvent: (event) => told.events.push(event),
    onLate: (message) => told.late.push(message),
    onUp: () => (told.up += 1),
    ...options,
  });
  const session = await client.clone();
  t.after(async () => {
    const other = await connect({ url: server.url, token: server.token, WebSocket });
    await other
      .session(session.id)
      .close()
      .catch(() => {});
    other.close();
  });
  return { proxy, client, session, told };
}

/** Ask again where a busy machine did not answer in time, as the refusal says. */
async function patiently(ask) {
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      if (error.code !== "unavailable") throw error;
    }
  }
}

async function collect(iterable) {
  const messages = [];
  for await (const message of iterable) messages.push(message);
  return messages;
}

for (const [name, options] of Object.entries(codecs)) {
  describe(name, () => {
    test("hello, describe, sessions", async (t) => {
      const client = await connected(t, { clientName: "tests", ...options });
      assert.equal(client.principal, "owner");
      assert.ok(client.capabilities.has("eval"));
      assert.equal((await client.describe()).limits["max-depth-levels"], 64);
      const session = await client.clone({ name: `named-${name}`, env: { COLOUR: "blue" } });
      assert.match(session.info.version, /^3\./);
      assert.ok((await client.listSessions()).some((one) => one.id === session.id && one.name === `named-${name}`));
      const byName = client.session(`named-${name}`);
      assert.equal((await byName.eval("import os; os.environ['COLOUR']")).value, "'blue'");
      await byName.close();
      await assert.rejects(session.eval("1"), code("unknown-session"));
    });

    test("an eval is a promise of its result and an iterable of its messages", async (t) => {
      const client = await connected(t, options);
      const session = await client.clone();
      const run = session.eval("import sys\nprint('Grüße 🐍')\nprint('no', file=sys.stderr)\n6 * 7");
      const messages = await collect(run);
      assert.equal(messages.map((one) => one.out ?? "").join(""), "Grüße 🐍\n");
      assert.ok(messages.at(-1).status.includes("done"));
      const result = await run;
      assert.deepEqual([result.out, result.err, result.value, result.ok], ["Grüße 🐍\n", "no\n", "42", true]);
      assert.deepEqual((await session.eval("1\n2", { values: "all" })).values, ["1", "2"]);
      assert.equal((await session.eval("None")).value, undefined);
      assert.equal((await session.loadFile("/w/a.py", "WIDTH = 80\n")).ok, true);
      assert.equal((await session.eval("WIDTH")).value, "80");
      assert.equal((await client.eval("6 * 7")).value, "42");
      await session.close();
    });

    test("errors of the code are in the result, and thrown by check", async (t) => {
      const session = await (await connected(t, options)).clone();
      const result = await session.eval("def f():\n  return 1 / 0\nf()", { file: "/w/a.py", line: 10 });
      assert.equal(result.ok, false);
      assert.equal(result.error.type, "ZeroDivisionError");
      assert.deepEqual(
        result.error.traceback.map((frame) => frame.line),
        [12, 11],
      );
      assert.match(result.traceback, /^Traceback[^]*ZeroDivisionError/);
      await assert.rejects(
        session.eval("1 / 0").check(),
        (error) => error instanceof EvalError && error.result.error.type === "ZeroDivisionError",
      );
      assert.equal((await session.eval("exit(3)")).exitCode, 3);
      await session.close();
    });

    test("plain data, MIME types and displays, with bytes as bytes", async (t) => {
      const session = await (await connected(t, options)).clone();
      const { data } = await session.eval("{'n': [1, 2.5, None], 'raw': b'\\x00\\x01', '$bytes': 'x'}", { data: true });
      assert.deepEqual({ ...data, raw: [...data.raw] }, { n: [1, 2.5, null], raw: [0, 1], $bytes: "x" });
      const rich =
        "class R:\n  def _repr_png_(self): return b'\\x89PNG'\n  def _repr_html_(self): return '<b>'\n  def __repr__(self): return 'R'\n";
      const { mime } = await session.eval(`${rich}R()`, { mime: ["image/png", "text/html"] });
      assert.deepEqual([[...mime["image/png"]], mime["text/html"]], [[0x89, 0x50, 0x4e, 0x47], "<b>"]);
      const { displays } = await session.eval("display(R())");
      assert.deepEqual([...displays[0].mime["image/png"]], [0x89, 0x50, 0x4e, 0x47]);
      await session.close();
    });

    test("input is asked for, and a password is said to be one", async (t) => {
      const session = await (await connected(t, options)).clone();
      const asked = [];
      const onInput = async ({ prompt, password }) => {
        asked.push([prompt, password]);
        return password ? "secret" : "Zoë";
      };
      const { value } = await session.eval("import getpass\n(input('name? '), getpass.getpass('word? '))", { onInput });
      assert.equal(value, "('Zoë', 'secret')");
      assert.deepEqual(asked, [
        ["name? ", false],
        ["word? ", true],
      ]);
      assert.equal((await session.eval("input()", { onInput: () => null })).error.type, "EOFError");
      assert.equal((await session.eval("input()")).error.type, "EOFError", "nobody is there to be asked");
      const run = session.eval("input()", { allowStdin: true });
      for await (const message of run) if (message.status?.includes("need-input")) await run.stdin("by hand\n");
      assert.equal((await run).value, "'by hand'");
      const alone = (await connected(t, options)).eval("input()", { onInput: () => "alone" });
      assert.equal((await alone).value, "'alone'");
      await session.close();
    });

    test("interrupts, of one eval and of the queue", async (t) => {
      const session = await (await connected(t, options)).clone();
      const run = session.eval("print('on')\nwhile True: pass");
      const waits = session.eval("1");
      for await (const message of run) {
        if (message.out) assert.deepEqual((await waits.interrupt()).status, ["done"]);
        if (message.out) assert.ok((await run.interrupt()).stages.includes("sigint"));
      }
      assert.ok((await run).status.includes("interrupted"));
      assert.ok((await waits).status.includes("cancelled"));
      assert.ok((await session.interrupt()).status.includes("session-idle"));
      await session.close();
    });

    test("what is deaf to interrupts is killed where that was asked for, and restart gives a fresh worker", async (t) => {
      const session = await (await connected(t, options)).clone();
      const run = session.eval(
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\nprint('deaf', flush=True)\nwhile True: pass",
      );
      for await (const message of run) {
        if (message.out) assert.deepEqual((await run.interrupt({ killAfter: 0.05 })).stages, ["sigint", "kill"]);
      }
      assert.ok((await run).status.includes("session-restarted"));
      await session.eval("x = 1");
      const { epoch } = await session.restart();
      assert.equal(epoch, 3);
      assert.equal((await session.eval("x")).error.type, "NameError");
      await session.close();
    });

    test("a copy of a live session, and a restart from it", async (t) => {
      const client = await connected(t, options);
      const session = await client.clone();
      await session.eval("x = [1]");
      const snapshot = await client.clone({ session: session.id });
      await session.eval("x.append(2)");
      assert.equal((await snapshot.eval("x")).value, "[1]");
      await session.restart({ from: snapshot.id });
      assert.equal((await session.eval("x")).value, "[1]");
      await snapshot.close();
      await session.close();
    });

    test("leaving the loop early interrupts the eval", async (t) => {
      const session = await (await connected(t, options)).clone();
      const run = session.eval("while True: print('x')");
      for await (const message of run) if (message.out) break;
      assert.ok((await run).status.includes("interrupted"));
      assert.equal((await session.eval("1")).value, "1");
      await session.close();
    });

    test("completions, signatures, lookups and completeness, at offsets into the string", async (t) => {
      const session = await (await connected(t, options)).clone();
      await session.eval("import os\ndef area(width, height=1): return width * height");
      const before = "'🐍🐍'; os.path.isf";
      const [completion] = await patiently(() => session.completions(before));
      assert.deepEqual([completion.candidate, completion.start], ["isfile", before.indexOf("isf")]);
      const [amid] = await patiently(() => session.completions(`${before} + 1`, before.length));
      assert.equal(amid.candidate, "isfile");
      assert.equal((await patiently(() => session.signature("area(2, ")))[0].active, 1);
      assert.equal((await patiently(() => session.lookup("area"))).type, "function");
      const where = { code: "'🐍'; area(1)", cursor: "'🐍'; area".length };
      assert.equal((await patiently(() => session.lookup(where))).name, "area");
      assert.equal(await patiently(() => session.lookup("no_such_name")), undefined);
      assert.deepEqual(
        await patiently(() => session.isComplete("def f():")).then(({ state, indent }) => [state, indent]),
        ["incomplete", "    "],
      );
      await session.close();
    });

    test("an attachment sees what others ask, from where it was told", async (t) => {
      const session = await (await connected(t, options)).clone();
      await session.eval("print('before')");
      const client = await connected(t, options);
      const observed = client.session(session.id).attach({ since: 0 });
      const { "last-seq": last } = await observed.ready;
      assert.ok(last >= 3);
      const live = client.session(session.id).attach();
      await live.ready;
      await session.eval("print('after')");
      await session.close();
      const all = await collect(observed);
      assert.deepEqual(
        all.map((one) => one.seq),
        all.map((_, at) => at + 1),
        "each once and in order",
      );
      assert.match(all.map((one) => one.out ?? "").join(""), /before\nafter\n/);
      assert.equal(all.at(-1).event, "closed");
      const later = await collect(live);
      assert.doesNotMatch(later.map((one) => one.out ?? "").join(""), /before/);
      assert.match(later.map((one) => one.out ?? "").join(""), /after/);
    });

    test("a connection cut again and again loses nothing and runs nothing twice", { timeout: 100_000 }, async (t) => {
      const { proxy, session, told } = await throughProxy(t, options);
      const random = seeded(7);
      const attached = session.attach({ since: 0 });
      await session.eval("ran = []");
      const numbers = [...Array(30).keys()];
      proxy.cutAfter(Array.from({ length: 20 }, () => Math.floor(random() * 20_000)));
      const runs = numbers.map((number) =>
        session.eval(`ran.append(${number})\nfor n in range(500): print(${number}, n, flush=n % 50 == 0)`),
      );
      const results = await Promise.all(runs);
      results.forEach((result, number) => {
        assert.equal(result.out, Array.from({ length: 500 }, (_, n) => `${number} ${n}\n`).join(""));
        assert.deepEqual(result.status, ["done"]);
      });
      assert.equal((await session.eval("ran")).value, `[${numbers.join(", ")}]`);
      assert.ok(told.down.length >= 10, `cut ${told.down.length} times`);
      assert.equal(told.lost.length, 0);
      proxy.cutAfter([]); // where the end of the session is not heard, its stream ends with `unknown-session`
      await session.close();
      const seqs = (await collect(attached)).map((one) => one.seq);
      assert.deepEqual(
        seqs,
        seqs.map((_, at) => at + 1),
        "each once and in order",
      );
    });

    test("an eval goes on while nobody is connected; its answer to input arrives later", async (t) => {
      const { proxy, session, told } = await throughProxy(t, options);
      let asked;
      const question = new Promise((resolve) => (asked = resolve));
      let answer;
      const onInput = () =>
        new Promise((resolve) => {
          answer = resolve;
          asked();
        });
      const run = session.eval("name = input('? ')\nprint('hello', name)", { onInput });
      await question;
      const down = new Promise((resolve) => (told.down.push = (reason) => resolve(reason)));
      proxy.break();
      await down;
      answer("Ada");
      proxy.mend();
      assert.equal((await run).out, "hello Ada\n");
    });
  });
}

test("a wrong token, no server, no WebSocket: each says so at once", async () => {
  await assert.rejects(connect({ url: server.url, token: "wrong", WebSocket }), code("unauthorized"));
  const proxy = await Proxy.open();
  const { url } = proxy;
  await proxy.close(); // nobody's port
  await assert.rejects(
    connect({ url, token: server.token, WebSocket }),
    (error) => error instanceof NoServer && error.message.includes(url),
  );
  await assert.rejects(connect({ url: "no url", WebSocket }), NoServer);
  if (globalThis.WebSocket === undefined) await assert.rejects(connect({ url }), /no WebSocket/);
});

test("a client that was closed says so, and its sessions live on", async (t) => {
  const client = await connected(t);
  const session = await client.clone();
  const run = session.eval("import time; time.sleep(0.2); x = 1");
  client.close();
  await assert.rejects(run, Closed);
  await assert.rejects(session.eval("1"), Closed);
  await assert.rejects(collect(session.eval("1")), Closed);
  assert.ok((await client.closed) instanceof Closed);
  const again = (await connected(t)).session(session.id);
  assert.equal((await again.eval("x")).value, "1");
  await again.close();
});

test("what is not to be had after a cut says so: a transient eval, a clone", async (t) => {
  const { proxy, client } = await throughProxy(t);
  const run = client.eval("print('on')\nwhile True: pass");
  for await (const message of run) {
    if (!message.out) continue;
    proxy.cut();
    break;
  }
  await assert.rejects(run, ConnectionLost);
  assert.equal((await client.describe()).versions.protocol.min ?? 1, 1);
});

test("a server that does not come back is given up, and everything ends", async (t) => {
  const { proxy, client, session } = await throughProxy(t, { retry: { first: 0.001, most: 0.002, total: 0.01 } });
  const run = session.eval("input()", { allowStdin: true });
  const attached = session.attach();
  await attached.ready;
  proxy.break();
  await assert.rejects(run, NoServer);
  await assert.rejects(collect(attached), NoServer);
  assert.ok((await client.closed) instanceof NoServer);
  await assert.rejects(client.describe(), NoServer);
});

test("events and late output are told apart", async (t) => {
  let late;
  const said = new Promise((resolve) => (late = resolve));
  const { session, told } = await throughProxy(t, { onLate: late });
  const waits = "import threading\ngo = threading.Event()\ndef late():\n  go.wait()\n  print('later')";
  const { id } = await session.eval(`${waits}\nthreading.Thread(target=late).start()`);
  await session.eval("go.set()"); // not before the first one has ended
  const message = await said;
  assert.deepEqual([message.id, message.late, message.out], [id, true, "later\n"]);
  await session.close();
  assert.deepEqual(
    told.events.map((one) => one.event),
    ["started", "closed"],
  );
});

test("a loop that does not keep up is told where to go on, and the result is whole", async (t) => {
  const { session } = await throughProxy(t, { maxBuffered: 200_000 });
  const run = session.eval("for n in range(3000): print(n, flush=True)");
  const iterator = run[Symbol.asyncIterator]();
  let since = 0;
  const result = await run; // meanwhile nothing is taken
  let out = "";
  await assert.rejects(
    async () => {
      for (;;) out += (await iterator.next()).value.out ?? "";
    },
    (error) => error instanceof SlowConsumer && (since = error.since) > 0,
  );
  const first = out.length;
  for (let ended = false; !ended; ) {
    try {
      for await (const message of session.attach({ since })) {
        since = message.seq;
        out += message.out ?? "";
        if ((ended = message.status?.includes("done") ?? false)) break;
      }
    } catch (error) {
      assert.equal(error.since, since, "it says which message was the last one given");
    }
  }
  assert.ok(first < out.length);
  assert.equal(result.out, Array.from({ length: 3000 }, (_, n) => `${n}\n`).join(""));
  assert.equal(out, result.out);
});

test("a frame that is too large is refused, and the connection is taken up again", async (t) => {
  const { session } = await throughProxy(t);
  const goes = session.eval("import time; time.sleep(0.1); 'goes on'");
  await assert.rejects(session.eval(`'${"x".repeat(5_000_000)}'`), code("invalid-message"));
  assert.equal((await goes).value, "'goes on'");
});

test("what no codec carries is refused before it is sent", async (t) => {
  for (const options of Object.values(codecs)) {
    const session = await (await connected(t, options)).clone();
    await assert.rejects(session.eval("'\ud800'"), code("invalid-message"));
    await assert.rejects(session.eval("1", { timeout: Number.NaN }), code("invalid-message"));
    await session.close();
  }
});

test("a callback that throws breaks nothing", async (t) => {
  const thrown = [];
  const listener = (error) => thrown.push(error.message);
  const others = process.listeners("uncaughtException");
  process.removeAllListeners("uncaughtException");
  process.on("uncaughtException", listener);
  t.after(() => {
    process.removeListener("uncaughtException", listener);
    for (const one of others) process.on("uncaughtException", one);
  });
  const { session } = await throughProxy(t, {
    onEvent: () => {
      throw new Error("of an event");
    },
  });
  const result = await session.eval("input()", {
    onInput: () => {
      throw new Error("of input");
    },
  });
  assert.ok(result.status.includes("interrupted"));
  assert.equal((await session.eval("1")).value, "1");
  assert.deepEqual(thrown, ["of an event", "of input"]);
});
