import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { Uri, type WorkspaceFolder } from "vscode";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { localServers, program } from "../../src/servers/local.js";
import { given } from "./vscode.js";

let place: string;
let folder: WorkspaceFolder;
const PATH = process.env["PATH"];

beforeEach(() => {
  place = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), "local-")));
  folder = { uri: { fsPath: path.join(place, "folder") } as Uri, name: "folder", index: 0 };
  fs.mkdirSync(folder.uri.fsPath);
  process.env["PATH"] = path.join(place, "path");
  process.env["XDG_RUNTIME_DIR"] = place;
});

afterEach(() => {
  fs.rmSync(place, { recursive: true });
  process.env["PATH"] = PATH;
  given.settings = {};
  given.extensions = {};
});

/** A program that does that. */
function make(file: string, script = "exit 0"): string {
  const whole = path.join(place, file);
  fs.mkdirSync(path.dirname(whole), { recursive: true });
  fs.writeFileSync(whole, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  return whole;
}

/** The Python extension, in which that interpreter is selected. */
function select(python: string): void {
  const environments = {
    getActiveEnvironmentPath: () => ({ path: python }),
    resolveEnvironment: async () => ({ executable: { uri: { fsPath: python } } }),
  };
  given.extensions["ms-python.python"] = { activate: async () => ({ environments }) };
}

const servers = () => localServers({ fsPath: path.join(place, "log") } as Uri);

describe("the program", () => {
  it("is looked for in the selected environment, then in .venv, then on PATH; but what is set counts first", async () => {
    expect(await program(folder)).toBeUndefined();
    const onPath = make("path/nrepl-py");
    expect(await program(folder)).toBe(onPath);
    const inVenv = make("folder/.venv/bin/nrepl-py");
    expect(await program(folder)).toBe(inVenv);
    select(make("selected/bin/python"));
    expect(await program(folder)).toBe(inVenv);
    const beside = make("selected/bin/nrepl-py");
    expect(await program(folder)).toBe(beside);
    given.settings["command"] = "tools/nrepl-py";
    expect(await program(folder)).toBe(path.join(folder.uri.fsPath, "tools/nrepl-py"));
  });

  it("where there is none, that is said, and what to do", async () => {
    const starting = servers().start(folder, folder.uri.fsPath);
    await expect(starting).rejects.toThrow(
      /not in \.venv of the folder.*"python3" -m pip install nrepl-py.*nreplPy\.command/,
    );
  });

  it("that cannot be started, or ends at once, is told with what it said", async () => {
    given.settings["command"] = path.join(place, "missing");
    await expect(servers().start(folder, folder.uri.fsPath)).rejects.toThrow(/missing cannot be started: .*ENOENT/);
    given.settings["command"] = make("broken", "echo 'nrepl-py: no such setting' >&2; exit 2");
    await expect(servers().start(folder, folder.uri.fsPath)).rejects.toThrow(
      /serve did not start: nrepl-py: no such setting$/,
    );
  });
});

describe("the interpreter", () => {
  it("is the one set, the one selected, or that of .venv", async () => {
    const { interpreter } = servers();
    expect(await interpreter(folder)).toBeUndefined();
    const inVenv = make("folder/.venv/bin/python");
    expect(await interpreter(folder)).toBe(inVenv);
    select("/selected/bin/python");
    expect(await interpreter(folder)).toBe("/selected/bin/python");
    given.settings["python"] = "python3.12";
    expect(await interpreter(folder)).toBe("python3.12");
  });

  it("is none of a Python extension that is broken", async () => {
    given.extensions["ms-python.python"] = { activate: () => Promise.reject(new Error("broken")) };
    expect(await servers().interpreter(folder)).toBeUndefined();
  });
});

describe("a server", () => {
  it("is found once it has written its connection file, and outlives us", async () => {
    const file = path.join(place, "nrepl-py", "1.json");
    fs.mkdirSync(path.dirname(file), { mode: 0o700 });
    given.settings["serveArguments"] = ["--sandbox", "process"];
    const contents = `{"url": "ws://127.0.0.1:7", "token": "t", "pid": '$$', "pid-start": "'$start'", "cwd": "'$PWD'", "started": '$(date +%s).9'}`;
    given.settings["command"] = make(
      "serving",
      `PATH=/usr/bin:/bin; start=$(cut -d' ' -f22 /proc/$$/stat); umask 077; echo "$@" > ${place}/asked; echo '${contents}' > ${file}; exec sleep 60`,
    );
    const address = await servers().start(folder, folder.uri.fsPath);
    expect(address).toMatchObject({ url: "ws://127.0.0.1:7", token: "t", file });
    const asked = fs.readFileSync(path.join(place, "asked"), "utf8");
    expect(asked).toBe("serve --log-level error --unused 3600 --sandbox process\n");
    expect(servers().find(folder.uri.fsPath)?.url).toBe(address.url);
    expect(address.isGone?.()).toBe(false);
    address.stop?.();
    await expect.poll(() => address.isGone?.(), { timeout: 60_000 }).toBe(true);
    expect(servers().find(folder.uri.fsPath)).toBeUndefined();
  });
});
