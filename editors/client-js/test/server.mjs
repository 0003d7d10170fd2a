// A real server, `python -m nrepl_py serve`, and a proxy before it that cuts connections.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));
const VENV = path.join(ROOT, ".venv", "bin", "python");
const PYTHON = process.env.NREPL_PYTHON ?? (existsSync(VENV) ? VENV : "python3");

/** Start one; `arguments_` are further ones of `serve`. It ends with `stop`. */
export async function startServer(...arguments_) {
  const proxy = await Proxy.open();
  const home = mkdtempSync(path.join(tmpdir(), "njs-"));
  const file = path.join(home, "server.json");
  const command = [
    "-m",
    "nrepl_py",
    "serve",
    "--sandbox",
    "process",
    "--connection-file",
    file,
    "--allow-host",
    proxy.host,
    ...arguments_,
  ];
  const child = spawn(PYTHON, command, { cwd: ROOT, stdio: ["ignore", "pipe", "pipe"] });
  const ended = once(child, "exit");
  let said = "";
  child.stderr.on("data", (chunk) => (said += chunk));
  await new Promise((resolve, reject) => {
    child.stdout.on("data", (chunk) => String(chunk).includes("nREPL server started") && resolve());
    child.on("error", reject);
    ended.then(() => reject(new Error(`the server ended: ${said}`)));
  });
  const { url, token } = JSON.parse(readFileSync(file, "utf8"));
  proxy.target = new URL(url);
  return {
    url,
    token,
    proxy,
    async stop() {
      await proxy.close();
      child.kill("SIGTERM");
      await ended;
      rmSync(home, { recursive: true });
    },
  };
}

/** A TCP proxy before a server, which can end its connections at any moment. */
export class Proxy {
  /** The server's URL. */
  target;
  #listening;
  #pairs = new Set();
  #refuses = false;
  #limits = [];

  static async open() {
    const proxy = new Proxy();
    proxy.#listening = net.createServer((client) => proxy.#accept(client));
    proxy.#listening.listen(0, "127.0.0.1");
    await once(proxy.#listening, "listening");
    return proxy;
  }

  get host() {
    return `127.0.0.1:${this.#listening.address().port}`;
  }

  get url() {
    return `ws://${this.host}`;
  }

  #accept(client) {
    if (this.#refuses) return client.destroy();
    const server = net.connect(Number(this.target.port), this.target.hostname);
    const pair = { client, server };
    this.#pairs.add(pair);
    const end = () => {
      this.#pairs.delete(pair);
      client.destroy();
      server.destroy();
    };
    for (const socket of [client, server]) socket.on("error", end).on("close", end);
    client.on("data", (chunk) => server.write(chunk));
    server.on("data", (chunk) => this.#pass(chunk, client));
    return undefined;
  }

  #pass(chunk, client) {
    const limit = this.#limits[0] ?? Infinity;
    if (chunk.length < limit) {
      if (this.#limits.length) this.#limits[0] -= chunk.length;
      client.write(chunk);
      return;
    }
    this.#limits.shift();
    client.write(chunk.subarray(0, limit));
    this.cut();
  }

  /** Cut each time when so many bytes of the server's have passed, amid a frame as likely as not. */
  cutAfter(limits) {
    this.#limits = limits;
  }

  /** End all connections, with what is on its way in them. */
  cut() {
    for (const { client, server } of [...this.#pairs]) {
      client.destroy();
      server.destroy();
    }
  }

  /** Cut, and accept none until `mend`. */
  break() {
    this.#refuses = true;
    this.cut();
  }

  mend() {
    this.#refuses = false;
  }

  /** Pass everything on again, to and from new connections. */
  reset() {
    this.#limits = [];
    this.cut();
    this.mend();
  }

  async close() {
    this.break();
    this.#listening.close();
    await once(this.#listening, "close");
  }
}
