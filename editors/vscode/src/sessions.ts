/**
 * Which session a document's code runs in: found again after a reload of the window, made when first needed.
 *
 * An owner (a folder's scripts, or a notebook) has one session at a time; several owners may share one.
 */
import * as vscode from "vscode";
import { NreplError, type Session, type SessionInfo } from "nrepl-py-client";
import type { Link, Links } from "./link.js";
import { ownerOf, type Owner } from "./owner.js";
import type { Platform } from "./platform.js";
import { LiveSession } from "./session.js";
import { sentence, tell, Trouble } from "./trouble.js";

/** What the window remembers of an owner. */
interface Kept {
  session: string;
  name: string;
  url: string;
}

const KEPT = "nreplPy.sessions";
const BRANCHES = "nreplPy.branches";

/** Branches are remembered of so many: to be named first where a session is rolled back. */
const REMEMBERED = 100;

export class Sessions {
  /** An owner got another session, or one's state changed. */
  readonly onDidChange: vscode.Event<void>;
  /** A session is followed from now on. */
  readonly onDidOpen: vscode.Event<LiveSession>;
  readonly #change = new vscode.EventEmitter<void>();
  readonly #open = new vscode.EventEmitter<LiveSession>();
  readonly #owners = new Map<string, LiveSession>();
  readonly #live = new Map<string, LiveSession>();
  readonly #making = new Map<string, Promise<LiveSession>>();
  readonly #linked = new WeakSet<Link>();
  /** What the window had before is taken up first. */
  #restored: Promise<void> = Promise.resolve();

  constructor(
    readonly links: Links,
    private readonly platform: Platform,
    private readonly memory: vscode.Memento,
  ) {
    this.onDidChange = this.#change.event;
    this.onDidOpen = this.#open.event;
  }

  /** The session of a document, where it has one. */
  of(document: vscode.TextDocument | vscode.NotebookDocument): LiveSession | undefined {
    return this.at(ownerOf(document));
  }

  at(owner: Owner): LiveSession | undefined {
    return this.#owners.get(owner.key);
  }

  /** All that are followed. */
  get all(): LiveSession[] {
    return [...this.#live.values()];
  }

  /** Those that scripts run in, each once, with a folder of theirs. */
  get ofScripts(): { session: LiveSession; folder: vscode.WorkspaceFolder | undefined }[] {
    const folders: (vscode.WorkspaceFolder | undefined)[] = [undefined, ...(vscode.workspace.workspaceFolders ?? [])];
    const used = folders.map((folder) => ({ session: this.#owners.get(folder?.uri.toString() ?? ""), folder }));
    const found = new Map(used.flatMap(({ session, folder }) => (session ? [[session, folder] as const] : [])));
    return [...found].map(([session, folder]) => ({ session, folder }));
  }

  /** The session of an owner, made where it has none. Rejects where that cannot be. */
  need(owner: Owner): Promise<LiveSession> {
    const has = this.at(owner);
    if (has) return Promise.resolve(has);
    const making = this.#making.get(owner.key) ?? this.#make(owner).finally(() => this.#making.delete(owner.key));
    this.#making.set(owner.key, making);
    return making;
  }

  /** Take up what the window had before it was reloaded. `since`: from where on what a session said is wanted. */
  restore(since: (session: string) => number | undefined): void {
    this.#restored = this.#restore(since);
  }

  async #restore(since: (session: string) => number | undefined): Promise<void> {
    for (const [key, kept] of Object.entries(this.#kept)) {
      const folder = folderOf(key);
      try {
        const link = await this.links.get(folder, false);
        if (link?.address.url !== kept.url) throw new NreplError("no-server", "it has ended with the last window");
        const session = this.follow(link, link.client.session(kept.session), kept.name, since(kept.session));
        await session.ready;
        if (!this.#owners.has(key)) this.#give(key, session);
      } catch {
        this.#forget(key); // it is gone, and nobody has asked for it yet: the next run gets another
      }
    }
  }

  /** Let an owner's code run in that session from now on. */
  switch(owner: Owner, session: LiveSession): void {
    this.#give(owner.key, session);
  }

  /** Let an owner's code run in no session of before: the next run makes one. */
  leave(owner: Owner): void {
    this.#forget(owner.key);
    this.#change.fire();
  }

  /** Follow a session, if it is not followed already. */
  follow(link: Link, session: Session, name: string, since?: number): LiveSession {
    const known = this.#live.get(session.id);
    if (known && !known.isOver) return known;
    const live = new LiveSession(link, session, name, since);
    this.#live.set(live.id, live);
    live.onDidChange(() => this.#change.fire());
    live.onMessage((message) => void (message.event === "died" && tell(new Trouble(died(message.cause)))));
    live.onDidEnd(() => this.#ended(live));
    this.#watch(link);
    this.#open.fire(live);
    return live;
  }

  /** A copy of a session with all that it holds, under a name. */
  async branch(of: LiveSession, name: string): Promise<LiveSession> {
    const copy = await of.link.client.clone({ session: of.id, name });
    const known = [...Object.entries(this.#branches), [copy.id, of.id]].slice(-REMEMBERED);
    await this.memory.update(BRANCHES, Object.fromEntries(known));
    return this.follow(of.link, copy, name, 0);
  }

  /** Whether a session was branched off another one, from this window. */
  isBranchOf(id: string, of: string): boolean {
    return this.#branches[id] === of;
  }

  list(link: Link): Promise<SessionInfo[]> {
    return link.client.listSessions();
  }

  async #make(owner: Owner): Promise<LiveSession> {
    await this.#restored;
    const restored = this.at(owner);
    if (restored) return restored;
    const link = await this.links.get(owner.folder, true);
    if (!link) throw new Trouble("There is no server for this folder.", ["start", "connect"]);
    const named = await freeName(link, owner.name.replace(/\.ipynb$/, ""));
    const local = link.address.file !== undefined;
    // Of another machine, only the user knows where its interpreters are.
    const set = vscode.workspace.getConfiguration("nreplPy", owner.folder).get("python", "");
    const python = local ? await this.platform.servers?.interpreter(owner.folder) : set;
    const options = { name: named, ...(python ? { python } : {}) };
    const session = await this.#clone(link, options, local ? owner.folder?.uri.fsPath : undefined);
    const live = this.follow(link, session, named, 0);
    await live.ready;
    this.#give(owner.key, live);
    return live;
  }

  /** A session that works in that directory, if the server gives it to its sessions: not the home directory, for one. */
  async #clone(link: Link, options: { name: string; python?: string }, cwd: string | undefined): Promise<Session> {
    if (cwd === undefined) return link.client.clone(options);
    try {
      return await link.client.clone({ ...options, cwd });
    } catch (error) {
      if (!(error instanceof NreplError && error.code === "start-failed")) throw error;
      const session = await link.client.clone(options);
      void vscode.window.showWarningMessage(`The session works in an empty directory: ${sentence(error.message)}`);
      return session;
    }
  }

  #give(key: string, session: LiveSession): void {
    this.#owners.set(key, session);
    const kept = { session: session.id, name: session.name, url: session.link.address.url };
    void this.memory.update(KEPT, { ...this.#kept, [key]: kept });
    this.#change.fire();
  }

  #forget(key: string): void {
    this.#owners.delete(key);
    const { [key]: _, ...rest } = this.#kept;
    void this.memory.update(KEPT, rest);
  }

  #ended(session: LiveSession): void {
    this.#live.delete(session.id);
    for (const [key, one] of [...this.#owners]) if (one === session) this.#forget(key);
    this.#change.fire();
  }

  /** Say once why a server is gone, and end its sessions. */
  #watch(link: Link): void {
    if (this.#linked.has(link)) return;
    this.#linked.add(link);
    void link.closed.then((error) => {
      if (!(error instanceof NreplError && error.code === "closed")) tell(error);
      for (const session of this.all) if (session.link === link) session.over(error);
    });
  }

  get #kept(): Record<string, Kept> {
    return this.memory.get(KEPT, {});
  }

  get #branches(): Record<string, string> {
    return this.memory.get(BRANCHES, {});
  }
}

function folderOf(key: string): vscode.WorkspaceFolder | undefined {
  const folders = vscode.workspace.workspaceFolders;
  return (key ? vscode.workspace.getWorkspaceFolder(vscode.Uri.parse(key)) : undefined) ?? folders?.[0];
}

/** `base`, or with a number that no session of the server has. */
export async function freeName(link: Link, base: string): Promise<string> {
  const taken = new Set((await link.client.listSessions()).map((one) => one.name));
  for (let number = 1; ; number += 1) {
    const name = number === 1 ? base : `${base}-${number}`;
    if (!taken.has(name)) return name;
  }
}

function died(cause: { kind: string; code?: number | null; signal?: string | null } | undefined): string {
  const why = cause?.signal ?? (typeof cause?.code === "number" ? `exit code ${cause.code}` : cause?.kind);
  return `The session's Python has ended${why ? ` (${why})` : ""}, and what it held is gone. The next run gets a fresh one.`;
}
