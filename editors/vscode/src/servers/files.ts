/**
 * How a server of this machine is found: it writes a connection file with its address and token, for its user only,
 * into a runtime directory of the user's. The server for a directory is the one that was started there, or
 * nearest above it; of several, the one started last. What others could have written is not believed.
 */
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";

export interface ServerFile {
  url: string;
  token: string;
  pid: number;
  pidStart: string;
  cwd: string;
  /** Seconds since 1970. */
  started: number;
  path: string;
}

/** Bytes; a connection file is far smaller, and nothing larger is read. */
const MAX_FILE = 64 << 10;

/** Every server of this user that runs, newest first. */
export function servers(directory = runtimeDirectory()): ServerFile[] {
  if (!isPrivate(directory, (status) => status.isDirectory())) return [];
  return fs
    .readdirSync(directory)
    .filter((name) => name.endsWith(".json"))
    .map((name) => read(path.join(directory, name)))
    .filter((server) => server !== undefined)
    .filter(isAlive)
    .sort((a, b) => b.started - a.started);
}

/** The newest server that was started in the directory, or in the nearest one above it. */
export function find(directory: string, all = servers()): ServerFile | undefined {
  let here = real(directory);
  for (;;) {
    const found = all.find((server) => real(server.cwd) === here);
    const above = path.dirname(here);
    if (found || above === here) return found;
    here = above;
  }
}

/** Whether the process that wrote the file still runs. */
export function isAlive(server: ServerFile): boolean {
  return processStart(server.pid) === server.pidStart;
}

function runtimeDirectory(): string {
  const base = process.env.XDG_RUNTIME_DIR;
  if (base && path.isAbsolute(base) && fs.existsSync(base)) return path.join(base, "nrepl-py");
  return path.join(os.tmpdir(), `nrepl-py-${os.userInfo().uid}`);
}

function read(file: string): ServerFile | undefined {
  if (!isPrivate(file, (status) => status.isFile() && status.size <= MAX_FILE)) return undefined;
  try {
    const { url, token, pid, cwd, started, "pid-start": pidStart } = JSON.parse(fs.readFileSync(file, "utf8"));
    const texts = [url, token, cwd, pidStart].every((text) => typeof text === "string");
    if (!texts || !Number.isInteger(pid) || typeof started !== "number") return undefined;
    return { url, token, pid, pidStart, cwd, started, path: file };
  } catch {
    return undefined; // it went, or is being written, or is none
  }
}

/** Whether it is this user's, no link, and nobody else can read it. */
function isPrivate(file: string, fits: (status: fs.Stats) => boolean): boolean {
  const status = fs.lstatSync(file, { throwIfNoEntry: false });
  if (!status || !fits(status)) return false;
  return process.platform === "win32" || (status.uid === os.userInfo().uid && (status.mode & 0o077) === 0);
}

/** When a process started, in the system's own words; undefined where there is none such. */
function processStart(pid: number): string | undefined {
  try {
    if (!fs.existsSync("/proc/self/stat")) {
      return execFileSync("ps", ["-o", "lstart=", "-p", String(pid)], { encoding: "utf8" }).trim();
    }
    const stat = fs.readFileSync(`/proc/${pid}/stat`, "latin1");
    // The second field is the command in parentheses and may contain anything.
    const fields = stat
      .slice(stat.lastIndexOf(")") + 1)
      .trim()
      .split(" ");
    // Fields count from 1, those after the command from 3. A zombie has ended. Start is 22.
    return fields[0] === "Z" || fields[0] === "X" ? undefined : fields[22 - 3];
  } catch {
    return undefined;
  }
}

function real(directory: string): string {
  try {
    return fs.realpathSync(directory);
  } catch {
    return path.resolve(directory);
  }
}
