/** Another client of the extension's server, by the file in which that says where it is. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { connect, type Client } from "nrepl-py-client";
import WebSocket from "ws";
import { folder } from "./extension";

export interface ServerFile {
  url: string;
  token: string;
  pid: number;
  cwd: string;
}

/** The server of the workspace. */
export function server(): ServerFile {
  const directory = join(process.env["XDG_RUNTIME_DIR"]!, "nrepl-py");
  const files = readdirSync(directory).filter((name) => name.endsWith(".json"));
  const servers = files.map((name) => JSON.parse(readFileSync(join(directory, name), "utf-8")) as ServerFile);
  const found = servers.find(({ cwd }) => cwd === folder().fsPath);
  if (!found) throw new Error("no server runs for the workspace");
  return found;
}

export async function client(): Promise<Client> {
  const { url, token } = server();
  return connect({ url, token, WebSocket, clientName: "another client" });
}
