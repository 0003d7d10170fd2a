import { EventEmitter, Uri, type Memento } from "vscode";
import { beforeEach, describe, expect, it } from "vitest";
import { NreplError, type StreamMessage } from "nrepl-py-client";
import type { Link, Links } from "../../src/link.js";
import type { Owner } from "../../src/owner.js";
import type { Platform } from "../../src/platform.js";
import { Sessions } from "../../src/sessions.js";
import { memory } from "./memory.js";
import { given } from "./vscode.js";

/** A session's stream, which says what it is told to. */
class FakeAttachment {
  readonly ready = Promise.resolve({ "last-seq": 3, running: null });
  readonly #events: (StreamMessage | undefined)[] = [];
  #wake = () => {};
  say(message?: StreamMessage): void {
    this.#events.push(message);
    this.#wake();
  }
  async *[Symbol.asyncIterator]() {
    for (;;) {
      while (!this.#events.length) await new Promise<void>((resolve) => (this.#wake = resolve));
      const message = this.#events.shift();
      if (!message) return;
      yield message;
    }
  }
}

/** A server with these sessions. */
class FakeServer {
  readonly cloned: Record<string, unknown>[] = [];
  readonly attached: Record<string, FakeAttachment> = {};
  readonly since: unknown[] = [];
  readonly change = new EventEmitter<void>();
  names: string[] = [];
  refuses: (options: Record<string, unknown>) => string | undefined = () => undefined;
  fail!: (error: unknown) => void;
  readonly closed = new Promise<unknown>((resolve) => (this.fail = resolve));
  readonly link = {
    address: { url: "ws://here", token: "t", file: "/run/1.json" },
    isUp: true,
    onDidChange: this.change.event,
    closed: this.closed,
    reasonOf: async (error: unknown) => error,
    client: {
      listSessions: async () => this.names.map((name) => ({ id: name, name })),
      session: (id: string) => this.session(id),
      clone: async (options: Record<string, unknown>) => {
        const refusal = this.refuses(options);
        if (refusal) throw new NreplError("start-failed", refusal);
        this.cloned.push(options);
        return this.session(`id${this.cloned.length}`);
      },
    },
  } as unknown as Link;

  session(id: string) {
    return {
      id,
      attach: (options: { since?: number }) => {
        this.since.push(options.since);
        return (this.attached[id] = new FakeAttachment());
      },
    };
  }
}

const folder = { uri: Uri.file("/work/project"), name: "project", index: 0 };
const scripts: Owner = { key: "file:///work/project", name: "project", folder };
const notebook: Owner = { key: "file:///work/project/n.ipynb", name: "n.ipynb", folder };
const platform = { servers: { interpreter: async () => "/venv/bin/python" } } as unknown as Platform;

let server: FakeServer;
let kept: Memento;

function window(link: Link | undefined = server.link): Sessions {
  return new Sessions({ get: async () => link } as unknown as Links, platform, kept);
}

beforeEach(() => {
  server = new FakeServer();
  kept = memory();
  given.folders = [folder];
  given.told = [];
});

describe("an owner", () => {
  it("gets a session of its own, once, however often it is needed", async () => {
    const sessions = window();
    const [one, same, other] = await Promise.all([scripts, scripts, notebook].map((owner) => sessions.need(owner)));
    expect(one).toBe(same);
    expect(one).not.toBe(other);
    expect(server.cloned).toEqual([
      { name: "project", python: "/venv/bin/python", cwd: "/work/project" },
      { name: "n", python: "/venv/bin/python", cwd: "/work/project" },
    ]);
    expect(sessions.ofScripts.map(({ session }) => session)).toEqual([one]);
  });

  it("gets a name that no other session has", async () => {
    server.names = ["project", "project-2"];
    expect((await window().need(scripts)).name).toBe("project-3");
  });

  it("works elsewhere where its folder is not the sessions' to have", async () => {
    server.refuses = ({ cwd }) => (cwd ? "clone: this is the home directory" : undefined);
    await window().need(scripts);
    expect(server.cloned).toEqual([{ name: "project", python: "/venv/bin/python" }]);
    expect(given.told).toEqual(["The session works in an empty directory: This is the home directory."]);
  });

  it("gets none where none can start", async () => {
    server.refuses = () => "no interpreter /venv/bin/python";
    await expect(window().need(scripts)).rejects.toThrow("no interpreter");
  });

  it("gets another one when its session has ended", async () => {
    const sessions = window();
    const first = await sessions.need(scripts);
    server.attached[first.id]!.say();
    await expect.poll(() => sessions.at(scripts), { timeout: 60_000 }).toBeUndefined();
    expect(first.state).toBe("dead");
    expect(await sessions.need(scripts)).not.toBe(first);
  });
});

describe("after a reload", () => {
  it("it has its session again, from where that is wanted", async () => {
    const before = await window().need(scripts);
    const sessions = window();
    sessions.restore((id) => (id === before.id ? 2 : undefined));
    expect((await sessions.need(scripts)).id).toBe(before.id);
    expect(server.since).toEqual([0, 2]);
    expect(server.cloned).toHaveLength(1);
  });

  it("it has another one where the server is gone", async () => {
    await window().need(scripts);
    server = new FakeServer();
    (server.link.address as { url: string }).url = "ws://another";
    const sessions = window();
    sessions.restore(() => undefined);
    await sessions.need(scripts);
    expect(server.cloned).toHaveLength(1);
    expect(given.told).toEqual([]);
  });
});

describe("a session", () => {
  it("is busy from an eval's beginning to its end", async () => {
    const session = await window().need(scripts);
    const stream = server.attached[session.id]!;
    const states: string[] = [];
    session.onDidChange(() => states.push(session.state));
    stream.say({ id: "e", seq: 4, started: {} } as StreamMessage);
    stream.say({ id: "e", seq: 5, status: ["done"] } as StreamMessage);
    await expect.poll(() => states, { timeout: 60_000 }).toEqual(["busy", "ready"]);
    expect(session.seq).toBe(5);
  });

  it("whose interpreter dies says so, and is there again with the next one", async () => {
    const session = await window().need(scripts);
    server.attached[session.id]!.say({ event: "died", seq: 4, cause: { kind: "signal", signal: "SIGKILL" } });
    await expect.poll(() => session.state, { timeout: 60_000 }).toBe("dead");
    expect(given.told[0]).toMatch(/^The session's Python has ended \(SIGKILL\)/);
    server.attached[session.id]!.say({ event: "restarted", seq: 5 });
    await expect.poll(() => session.state, { timeout: 60_000 }).toBe("ready");
  });

  it("ends with its server, which is told once", async () => {
    const sessions = window();
    const all = [await sessions.need(scripts), await sessions.need(notebook)];
    const why: unknown[] = [];
    for (const session of all) session.onDidEnd((reason) => why.push(reason));
    const lost = new NreplError("connection-lost", "the connection was lost");
    server.fail(lost);
    await expect.poll(() => why, { timeout: 60_000 }).toEqual([lost, lost]);
    expect(given.told).toEqual(["The connection was lost. Start again to go on."]);
    expect(sessions.all).toEqual([]);
  });
});
