/** Connections to servers, one for each that is used: found, started or named in the settings. */
import * as vscode from "vscode";
import { connect, type Client, type NreplError } from "nrepl-py-client";
import { decode, encode } from "@msgpack/msgpack";
import type { Address, Platform } from "./platform.js";
import { Trouble } from "./trouble.js";

/** The largest value taken: beyond it an editor is no place to look at one. */
const MAX_VALUE = 64 << 20;

/** One server, connected; a lost connection is taken up again by itself. */
export class Link {
  /** The connection broke, and is tried again; or stands again. */
  readonly onDidChange: vscode.Event<void>;
  isUp = true;
  readonly #change = new vscode.EventEmitter<void>();

  private constructor(
    readonly address: Address,
    readonly client: Client,
  ) {
    this.onDidChange = this.#change.event;
  }

  static async open(address: Address, platform: Platform): Promise<Link> {
    let link: Link | undefined;
    const client = await connect({
      url: address.url,
      ...(address.token ? { token: address.token } : {}),
      ...(platform.WebSocket ? { WebSocket: platform.WebSocket } : {}),
      msgpack: { encode, decode },
      clientName: "VS Code",
      maxValue: MAX_VALUE,
      onDown: () => link?.turn(false),
      onUp: () => link?.turn(true),
    });
    link = new Link(address, client);
    return link;
  }

  /** Resolves, to why, when it is over. */
  get closed(): Promise<NreplError | Trouble> {
    return this.client.closed.then((error) =>
      this.address.isGone?.()
        ? new Trouble("The nrepl-py server has ended, and what its sessions held is gone.", ["start"])
        : error,
    );
  }

  /** What is behind an error: why the server is gone, if it is. */
  async reasonOf(error: unknown): Promise<unknown> {
    const isOpen = new Promise<undefined>((resolve) => setTimeout(resolve)); // what has ended is known by then
    return (await Promise.race([this.closed, isOpen])) ?? error;
  }

  private turn(up: boolean): void {
    this.isUp = up;
    if (!up && this.address.isGone?.()) this.client.close(); // nobody will answer
    this.#change.fire();
  }
}

/** Those that stand, by their URL. */
export class Links {
  readonly #links = new Map<string, Promise<Link>>();

  constructor(
    private readonly platform: Platform,
    private readonly secrets: vscode.SecretStorage,
  ) {}

  /** The server for a folder. `start`: by the user's wish, who may be asked, and one may be started; else undefined where there is none. */
  async get(folder: vscode.WorkspaceFolder | undefined, start: boolean): Promise<Link | undefined> {
    const address = await this.#address(folder, start);
    return address && this.#open(address);
  }

  /** Connect to a server elsewhere, whose address and token the user is asked for; undefined: the user left. */
  async ask(): Promise<Link | undefined> {
    const settings = vscode.workspace.getConfiguration("nreplPy");
    const url = await vscode.window.showInputBox({
      title: "Connect to a server of nrepl-py",
      prompt: "Its address, as `nrepl-py serve` says it. Empty: the server of this folder.",
      value: settings.get("url", ""),
      placeHolder: "ws://127.0.0.1:41217",
      ignoreFocusOut: true,
      validateInput: (text) =>
        !text || /^wss?:\/\/[^/?#\s]+\/?$/.test(text) ? undefined : "It is like ws://127.0.0.1:41217",
    });
    if (url === undefined) return undefined;
    const token = url && (await this.#askToken(url));
    if (token === undefined) return undefined;
    const link = url ? await this.#open({ url, token }) : undefined;
    if (url) await this.secrets.store(secretOf(url), token);
    const place = vscode.workspace.workspaceFolders
      ? vscode.ConfigurationTarget.Workspace
      : vscode.ConfigurationTarget.Global;
    await settings.update("url", url || undefined, place);
    return link ?? this.get(vscode.workspace.workspaceFolders?.[0], true);
  }

  async #address(folder: vscode.WorkspaceFolder | undefined, start: boolean): Promise<Address | undefined> {
    const url = vscode.workspace.getConfiguration("nreplPy", folder).get("url", "").trim();
    if (url) return this.#elsewhere(url, start);
    const { servers } = this.platform;
    if (!servers || (folder && folder.uri.scheme !== "file")) {
      if (!start) return undefined;
      throw new Trouble(
        "Here no server can be started: run `nrepl-py serve` where the code is to run, and connect to it.",
        ["connect"],
      );
    }
    const directory = folder?.uri.fsPath ?? servers.home;
    const found = servers.find(directory);
    if (found || !start) return found;
    const title = "Starting a server of nrepl-py";
    return vscode.window.withProgress({ location: vscode.ProgressLocation.Window, title }, () =>
      servers.start(folder, directory),
    );
  }

  async #elsewhere(url: string, ask: boolean): Promise<Address | undefined> {
    const kept = await this.secrets.get(secretOf(url));
    if (kept !== undefined || !ask) return kept === undefined ? undefined : { url, token: kept };
    const token = await this.#askToken(url);
    if (token === undefined) throw new Trouble(`${url} needs a token.`, ["connect"]);
    await this.secrets.store(secretOf(url), token);
    return { url, token };
  }

  #askToken(url: string): Thenable<string | undefined> {
    return vscode.window.showInputBox({
      title: `The token of ${url}`,
      prompt:
        "It is in the server's connection file, or was made by `nrepl-py token create`. It is kept in VS Code's secret storage.",
      password: true,
      ignoreFocusOut: true,
    });
  }

  #open(address: Address): Promise<Link> {
    const known = this.#links.get(address.url);
    if (known) return known;
    const link = Link.open(address, this.platform);
    this.#links.set(address.url, link);
    const forget = (): void => void (this.#links.get(address.url) === link && this.#links.delete(address.url));
    link.then((open) => open.closed.then(forget), forget);
    return link;
  }

  /** Leave all; sessions live on, and so do their evals. */
  dispose(): void {
    for (const link of this.#links.values()) void link.then(({ client }) => client.close()).catch(() => {});
  }
}

function secretOf(url: string): string {
  return `token of ${url.replace(/\/$/, "")}`;
}
