/** The entry of desktop and remote hosts: servers of this machine, and the language server. */
import type * as vscode from "vscode";
import { WebSocket } from "ws";
import type { SocketConstructor } from "nrepl-py-client";
import { activateOn, type Api } from "./activate.js";
import { languageServers } from "./servers/lsp.js";
import { localServers } from "./servers/local.js";

export function activate(context: vscode.ExtensionContext): Api {
  const platform = {
    WebSocket: WebSocket as unknown as SocketConstructor,
    servers: localServers(context.logUri),
    language: languageServers,
  };
  return activateOn(platform, context);
}
