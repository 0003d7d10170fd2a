/** What differs between a desktop (or remote) extension host and one in a browser. */
import type * as vscode from "vscode";
import type { SocketConstructor } from "nrepl-py-client";
import type { Sessions } from "./sessions.js";

/** Where a server is and what opens it. */
export interface Address {
  url: string;
  token: string | undefined;
  /** Its connection file, where it is a server of this machine's. */
  file?: string;
  /** Whether its process is known to have ended. */
  isGone?(): boolean;
  /** End it. */
  stop?(): void;
}

/** The servers of this machine. */
export interface LocalServers {
  /** The one for a directory, or nearest above it. */
  find(directory: string): Address | undefined;
  /** Start one there; it outlives the window's extension host, so that a reload finds it again. Rejects with a `Trouble`. */
  start(folder: vscode.WorkspaceFolder | undefined, directory: string): Promise<Address>;
  /** The interpreter for new sessions; undefined: the server's own. */
  interpreter(folder: vscode.WorkspaceFolder | undefined): Promise<string | undefined>;
  /** Where documents that belong to no folder are run. */
  home: string;
}

export interface Platform {
  /** Where the host has no `WebSocket` of its own. */
  WebSocket?: SocketConstructor;
  /** Absent in a browser, which can only be told of a server. */
  servers?: LocalServers;
  /** Answer for text documents by the language server; returns which documents it answers for. */
  language?(context: vscode.ExtensionContext, sessions: Sessions): (document: vscode.TextDocument) => boolean;
}
