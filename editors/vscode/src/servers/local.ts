/** The servers of this machine: which program starts one, with which interpreter, and what to do where there is none. */
import { spawn } from "node:child_process";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import * as vscode from "vscode";
import type { Address, LocalServers } from "../platform.js";
import { Trouble } from "../trouble.js";
import { find, isAlive, servers, type ServerFile } from "./files.js";
import { selectedInterpreter } from "./python.js";

/** Seconds for a server to start: the first time it compiles all its modules. */
const START_SECONDS = 60;

/** Milliseconds between two looks for its connection file. */
const LOOK_MS = 30;

/** Seconds after the last window, and what it ran, is gone: a server that was started here ends. A reload takes some, lunch an hour. */
const UNUSED_SECONDS = 3600;

/** Characters of what a server that did not start said. */
const LAST_WORDS = 1000;

const BIN = process.platform === "win32" ? "Scripts" : "bin";
const EXE = process.platform === "win32" ? ".exe" : "";

/** `log`: where what servers say is kept. */
export function localServers(log: vscode.Uri): LocalServers {
  return {
    home: os.homedir(),
    find: (directory) => {
      const server = find(directory);
      return server && addressOf(server);
    },
    start: (folder, directory) => start(folder, directory, log.fsPath),
    interpreter: (folder) => interpreter(folder),
  };
}

function addressOf(server: ServerFile): Address {
  return {
    url: server.url,
    token: server.token,
    file: server.path,
    isGone: () => !isAlive(server),
    stop: () => void (isAlive(server) && process.kill(server.pid, "SIGTERM")),
  };
}

/** The interpreter for new sessions; undefined: the server's own. */
async function interpreter(folder: vscode.WorkspaceFolder | undefined): Promise<string | undefined> {
  return setting("python", folder) ?? (await selectedInterpreter(folder)) ?? inVenv(folder, "python");
}

/** The program `nrepl-py`; undefined where there is none. */
export async function program(folder: vscode.WorkspaceFolder | undefined): Promise<string | undefined> {
  const set = setting("command", folder);
  if (set) return set;
  const selected = await selectedInterpreter(folder);
  const beside = selected && existing(path.join(path.dirname(selected), `nrepl-py${EXE}`));
  return beside ?? inVenv(folder, "nrepl-py") ?? onPath(`nrepl-py${EXE}`);
}

async function start(
  folder: vscode.WorkspaceFolder | undefined,
  directory: string,
  logDirectory: string,
): Promise<Address> {
  const command = await program(folder);
  if (!command) throw noProgram(await interpreter(folder));
  fs.mkdirSync(logDirectory, { recursive: true });
  const log = path.join(logDirectory, `serve-${Date.now()}.log`);
  const more = vscode.workspace.getConfiguration("nreplPy", folder).get<string[]>("serveArguments", []);
  const output = fs.openSync(log, "a", 0o600);
  // Apart from the extension host, which ends at each reload of the window while evals go on.
  const child = spawn(command, ["serve", "--log-level", "error", "--unused", `${UNUSED_SECONDS}`, ...more], {
    cwd: directory,
    detached: true,
    stdio: ["ignore", output, output],
  });
  fs.closeSync(output);
  child.unref();
  const ended = new Promise<() => Trouble>((resolve) => {
    child.once("error", (error) =>
      resolve(() => new Trouble(`${command} cannot be started: ${error.message}`, ["settings"])),
    );
    child.once("exit", () => resolve(() => didNotStart(command, log))); // also long after it has started: then nobody asks
  });
  const server = await Promise.race([appears(child.pid, directory), ended]);
  if (typeof server === "function") throw server();
  if (server) return addressOf(server);
  child.kill();
  throw new Trouble(`${command} serve did not start within ${START_SECONDS} s; ${log} has what it said.`);
}

/** The server of that process, or else the one of the directory, once its connection file is there. */
async function appears(pid: number | undefined, directory: string): Promise<ServerFile | undefined> {
  const begun = Date.now();
  while (Date.now() < begun + START_SECONDS * 1000) {
    const all = servers();
    const started = all.filter((server) => server.started * 1000 >= begun);
    const found = all.find((server) => server.pid === pid) ?? find(directory, started);
    if (found) return found;
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
  return undefined;
}

function didNotStart(command: string, log: string): Trouble {
  const said = fs.readFileSync(log, "utf8").trim().slice(-LAST_WORDS);
  return new Trouble(`${command} serve did not start: ${said || "it ended and said nothing"}`, ["settings"]);
}

function noProgram(python: string | undefined): Trouble {
  const install = `"${python ?? "python3"}" -m pip install nrepl-py`;
  return new Trouble(
    "The program nrepl-py is not in the selected interpreter's environment, not in .venv of the folder and not on PATH. " +
      `Install it (${install}), or set nreplPy.command to where it is.`,
    [{ title: "Install in Terminal", run: () => inTerminal(install) }, "settings"],
  );
}

/** Typed, for the user to look at and send. */
function inTerminal(line: string): void {
  const terminal = vscode.window.createTerminal("nrepl-py");
  terminal.show();
  terminal.sendText(line, false);
}

function setting(name: string, folder: vscode.WorkspaceFolder | undefined): string | undefined {
  const set = vscode.workspace.getConfiguration("nreplPy", folder).get<string>(name, "").trim();
  if (!set) return undefined;
  const given = set.replace(/^~(?=[/\\])/, os.homedir()).replaceAll("${workspaceFolder}", folder?.uri.fsPath ?? "");
  // A bare name is looked up on PATH, anything else is of the folder.
  return folder && /[/\\]/.test(given) ? path.resolve(folder.uri.fsPath, given) : given;
}

function inVenv(folder: vscode.WorkspaceFolder | undefined, name: string): string | undefined {
  return folder && existing(path.join(folder.uri.fsPath, ".venv", BIN, name + EXE));
}

function onPath(name: string): string | undefined {
  const directories = (process.env.PATH ?? "").split(path.delimiter).filter(Boolean);
  return directories.map((directory) => existing(path.join(directory, name))).find(Boolean);
}

function existing(file: string): string | undefined {
  return fs.existsSync(file) ? file : undefined;
}
