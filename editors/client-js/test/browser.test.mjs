// The package in a page of a real browser, as it was built: no bundler, the platform's own WebSocket.
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import http from "node:http";
import path from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { startServer } from "./server.mjs";

const PACKAGE = fileURLToPath(new URL("..", import.meta.url));
const MSGPACK = "node_modules/@msgpack/msgpack/dist.esm";
const EXECUTABLE = process.env.CHROMIUM ?? "/usr/bin/chromium";

let files;
let server;
let browser;
let page;
const problems = [];

/** The package's files, and a page that can import them. */
async function serveFiles() {
  const serving = http.createServer(async (request, response) => {
    const { pathname } = new URL(request.url, "http://x");
    const isPage = pathname === "/";
    const file = path.join(PACKAGE, path.normalize(pathname));
    try {
      const body = isPage ? "<!doctype html><title>test</title><link rel=icon href=data:,>" : await readFile(file);
      response.writeHead(200, { "content-type": isPage ? "text/html" : "text/javascript" }).end(body);
    } catch {
      response.writeHead(404).end();
    }
  });
  serving.listen(0, "127.0.0.1");
  await once(serving, "listening");
  return serving;
}

before(async () => {
  files = await serveFiles();
  const origin = `http://127.0.0.1:${files.address().port}`;
  server = await startServer("--allow-origin", origin);
  browser = await chromium.launch({ executablePath: EXECUTABLE, args: ["--no-sandbox"] });
  page = await browser.newPage();
  page.on("pageerror", (error) => problems.push(error.message));
  await page.goto(origin);
});

after(async () => {
  await browser?.close();
  await server?.stop();
  files?.close();
});

for (const codec of ["json", "msgpack"]) {
  test(`a page over ${codec}: clone, eval, error, input, interrupt, close`, { timeout: 60_000 }, async () => {
    const story = await page.evaluate(
      async ({ url, token, codec, msgpack }) => {
        const { connect } = await import("/dist/client-js/src/index.js");
        const { encode, decode } = await import(msgpack);
        const client = await connect({ url, token, ...(codec === "msgpack" ? { msgpack: { encode, decode } } : {}) });
        const session = await client.clone();
        const messages = [];
        const run = session.eval("print('Grüße')\n6 * 7");
        for await (const message of run) messages.push(message);
        const { value } = await run;
        const failed = await session.eval("1 / 0");
        const asked = [];
        const onInput = ({ prompt, password }) => (asked.push([prompt, password]), "Zoë");
        const answered = await session.eval("import getpass\ninput('a? ') + getpass.getpass('b? ')", { onInput });
        const loop = session.eval("print('on')\nwhile True: pass");
        let stages = [];
        for await (const message of loop) if (message.out) stages = (await loop.interrupt()).stages;
        const { status } = await loop;
        const raw = await session.eval("b'\\x00\\xff'", { data: true });
        await session.close();
        client.close();
        return {
          out: messages.map((one) => one.out ?? "").join(""),
          value,
          error: failed.error.type,
          answer: answered.value,
          asked,
          stages,
          status,
          bytes: [...raw.data],
        };
      },
      { url: server.url, token: server.token, codec, msgpack: `/${MSGPACK}/index.mjs` },
    );
    assert.deepEqual(story, {
      out: "Grüße\n",
      value: "42",
      error: "ZeroDivisionError",
      answer: "'ZoëZoë'",
      asked: [
        ["a? ", false],
        ["b? ", true],
      ],
      stages: ["sigint"],
      status: ["interrupted", "done"],
      bytes: [0, 255],
    });
    assert.deepEqual(problems, []);
  });

  test(`a page over ${codec} loses its connection amid an eval and misses nothing`, { timeout: 60_000 }, async (t) => {
    const { proxy } = server;
    t.after(() => proxy.reset());
    proxy.cutAfter([5_000, 20_000, 300, 10_000, 7_000]);
    const story = await page.evaluate(
      async ({ url, token, codec, msgpack }) => {
        const { connect } = await import("/dist/client-js/src/index.js");
        const { encode, decode } = await import(msgpack);
        const lost = [];
        let down = 0;
        const client = await connect({
          url,
          token,
          ...(codec === "msgpack" ? { msgpack: { encode, decode } } : {}),
          retry: { first: 0.01, most: 0.1 },
          onLost: (gap) => lost.push(gap),
          onDown: () => (down += 1),
        });
        const session = await client.clone();
        const seqs = [];
        let out = "";
        const run = session.eval("for n in range(8000): print(n, flush=n % 5 == 0)");
        for await (const message of run) {
          seqs.push(message.seq);
          out += message.out ?? "";
        }
        const { status } = await run;
        await session.close();
        client.close();
        return { out, seqs, status, lost, down };
      },
      { url: proxy.url, token: server.token, codec, msgpack: `/${MSGPACK}/index.mjs` },
    );
    assert.equal(story.out, Array.from({ length: 8000 }, (_, n) => `${n}\n`).join(""));
    assert.ok(
      story.seqs.every((seq, at) => at === 0 || seq > story.seqs[at - 1]),
      "each once and in order",
    );
    assert.deepEqual(story.status, ["done"]);
    assert.deepEqual(story.lost, []);
    assert.ok(story.down >= 5, `cut ${story.down} times`);
  });
}

test("a page of another origin is refused, and told no more than that", { timeout: 60_000 }, async () => {
  const strangers = await serveFiles();
  const stranger = await browser.newPage();
  await stranger.goto(`http://127.0.0.1:${strangers.address().port}`);
  const code = await stranger.evaluate(
    async ({ url, token }) => {
      const { connect } = await import("/dist/client-js/src/index.js");
      return connect({ url, token }).then(
        () => "connected",
        (error) => error.code,
      );
    },
    { url: server.url, token: server.token },
  );
  assert.equal(code, "no-server");
  await stranger.close();
  strangers.close();
});
