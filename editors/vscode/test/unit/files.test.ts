import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { find, servers } from "../../src/servers/files.js";

let place: string;

beforeEach(() => {
  place = fs.mkdtempSync(path.join(os.tmpdir(), "files-"));
});

afterEach(() => fs.rmSync(place, { recursive: true }));

/** When this process began, as a connection file says it. */
function started(): string {
  const stat = fs.readFileSync("/proc/self/stat", "latin1");
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19]!;
}

function write(name: string, fields: object = {}, mode = 0o600): string {
  const file = path.join(place, name);
  const whole = {
    url: "ws://127.0.0.1:1",
    token: "t",
    pid: process.pid,
    "pid-start": started(),
    cwd: place,
    started: 1,
  };
  fs.writeFileSync(file, JSON.stringify({ ...whole, ...fields }), { mode });
  return file;
}

describe("connection files", () => {
  it("of servers that run are found, the newest first", () => {
    write("a.json", { started: 1 });
    write("b.json", { started: 2 });
    expect(servers(place).map((server) => server.started)).toEqual([2, 1]);
  });

  it("of processes that have ended, or are others by now, are not", () => {
    write("a.json", { "pid-start": "1" });
    write("b.json", { pid: 2 ** 22 + 1 });
    expect(servers(place)).toEqual([]);
  });

  it("that others could have read or written, or are none, are not believed", () => {
    fs.chmodSync(write("open.json"), 0o644);
    fs.symlinkSync(write("real.txt"), path.join(place, "link.json"));
    fs.writeFileSync(path.join(place, "half.json"), '{"url": "ws:', { mode: 0o600 });
    write("typed.json", { token: 1 });
    expect(servers(place)).toEqual([]);
    write("good.json");
    fs.chmodSync(place, 0o755);
    expect(servers(place)).toEqual([]);
  });

  it("are none where there is no directory", () => {
    expect(servers(path.join(place, "none"))).toEqual([]);
  });
});

describe("the server of a directory", () => {
  it("is the nearest above it, and of several the newest", () => {
    const inner = path.join(place, "inner");
    fs.mkdirSync(path.join(inner, "most"), { recursive: true });
    write("outer.json", { started: 3 });
    write("old.json", { cwd: inner, started: 1 });
    write("new.json", { cwd: inner, started: 2 });
    const all = servers(place);
    expect(find(path.join(inner, "most"), all)?.started).toBe(2);
    expect(find(place, all)?.started).toBe(3);
    expect(find(path.dirname(place), all)).toBeUndefined();
  });
});
