/** The entry of hosts in a browser, which have sockets only: a server that runs elsewhere is connected to. */
import type * as vscode from "vscode";
import { activateOn, type Api } from "./activate.js";

export function activate(context: vscode.ExtensionContext): Api {
  return activateOn({}, context);
}
