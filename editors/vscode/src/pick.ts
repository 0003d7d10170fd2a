/** What is done with the session of what has the focus: pick another, interrupt, restart, branch, roll back, close. */
import * as vscode from "vscode";
import type { SessionInfo } from "nrepl-py-client";
import { activeOwner } from "./owner.js";
import type { Runs } from "./runs.js";
import { nameOf, type LiveSession } from "./session.js";
import { tell } from "./trouble.js";
import { freeName, type Sessions } from "./sessions.js";

export interface Context {
  sessions: Sessions;
  runs: Runs;
}

interface Choice extends vscode.QuickPickItem {
  run?(): unknown;
}

/** Interrupt what this window runs in the session of what has the focus; nothing of its own, then whatever runs there. */
export async function interrupt({ sessions, runs }: Context): Promise<void> {
  const session = sessions.at(activeOwner());
  if (!session) return void vscode.window.setStatusBarMessage("Nothing runs here", 3000);
  // What waits behind it first, or that would begin; what others have in the queue is theirs.
  const own = runs.open.filter((run) => run.session === session).reverse();
  if (own.length) await Promise.all(own.map((run) => interruptSession(session, run.record.id)));
  else await interruptSession(session);
}

/** Interrupt a session's running eval, `id` or whichever; say so where it goes on. */
export async function interruptSession(session: LiveSession, id?: string): Promise<void> {
  const killAfter = vscode.workspace.getConfiguration("nreplPy").get("killAfter", 0);
  const reply = await session.session.interrupt({ ...(id ? { id } : {}), ...(killAfter > 0 ? { killAfter } : {}) });
  if (!reply.status?.includes("still-running")) return;
  const said = "The code ignores the interrupt and goes on. A restart ends it, and the session's variables with it.";
  void vscode.window
    .showWarningMessage(said, "Restart")
    .then((chosen) => chosen && session.session.restart().catch(tell));
}

export async function restart({ sessions }: Context): Promise<void> {
  const owner = activeOwner();
  const session = sessions.at(owner);
  if (session) await session.session.restart();
  else await sessions.need(owner);
}

/** Keep the session as it is now, as a copy with a name; go on in either. */
export async function branch({ sessions }: Context, given?: string): Promise<void> {
  const owner = activeOwner();
  const session = await sessions.need(owner);
  const name = given ?? (await freeName(session.link, `${session.name}-branch`));
  const copy = await sessions.branch(session, name);
  const said = `${name} is ${session.name} as it is now. You go on in ${session.name}, and can roll it back to ${name}.`;
  const shown = vscode.window.showInformationMessage(said, "Switch to the Branch");
  void shown.then((chosen) => chosen && sessions.switch(owner, copy));
}

/** Make the session what another one is: a branch of its own, or any. */
export async function rollback(context: Context, to?: string): Promise<void> {
  const { sessions } = context;
  const session = await sessions.need(activeOwner());
  const others = (await sessions.list(session.link)).filter((one) => one.id !== session.id);
  const choices = others
    .map((one) => ({
      label: nameOf(one),
      description: sessions.isBranchOf(one.id, session.id) ? "branch" : "",
      info: one,
    }))
    .sort((a, b) => Number(b.description !== "") - Number(a.description !== "") || b.info.created - a.info.created);
  if (!choices.length) {
    const said = `There is nothing to roll ${session.name} back to: branch it first.`;
    if (await vscode.window.showInformationMessage(said, "Branch")) await branch(context);
    return;
  }
  const title = `Make ${session.name} what it was, or what another session is`;
  const chosen = to
    ? choices.find(({ info }) => info.id === to || info.name === to)
    : await vscode.window.showQuickPick(choices, { title });
  if (to && !chosen) throw new Error(`There is no session ${to} to roll back to.`);
  if (chosen) await session.session.restart({ from: chosen.info.id });
}

export async function closeSession({ sessions }: Context): Promise<void> {
  const session = sessions.at(activeOwner());
  if (!session) return;
  await session.session.close();
  session.over("the session was closed");
}

/** End the server of this machine that what has the focus runs in, and all its sessions. */
export async function stopServer({ sessions }: Context): Promise<void> {
  const link = await sessions.links.get(activeOwner().folder, false);
  if (!link) return void vscode.window.setStatusBarMessage("No server runs here", 3000);
  if (!link.address.stop) throw new Error(`${link.address.url} is to be ended where it runs.`);
  const said = "The server ends, with all its sessions and what they hold.";
  if (await vscode.window.showWarningMessage(said, { modal: true }, "Stop the Server")) link.address.stop();
}

/** The server's sessions to switch to, and what can be done with this one. `ref`: the id or name of the one to switch to. */
export async function pickSession(context: Context, ref?: string): Promise<void> {
  const { sessions } = context;
  const owner = activeOwner();
  const link = await sessions.links.get(owner.folder, true);
  if (!link) return;
  const current = sessions.at(owner);
  const all = await sessions.list(link);
  const switchTo = (info: SessionInfo): void =>
    sessions.switch(owner, sessions.follow(link, link.client.session(info.id), nameOf(info)));
  if (ref !== undefined) {
    const wanted = all.find((info) => info.id === ref || info.name === ref);
    if (!wanted) throw new Error(`There is no session ${ref} on this server.`);
    return switchTo(wanted);
  }
  const choices: Choice[] = [
    separator(`Code of ${owner.name} runs in`),
    ...all.map((info) => ({
      label: `${info.id === current?.id ? "$(check)" : "$(blank)"} ${nameOf(info)}`,
      description: describe(info),
      run: () => switchTo(info),
    })),
    { label: "$(add) New session", run: () => fresh(context) },
    ...(current ? actions(context, current) : []),
  ];
  const chosen = await vscode.window.showQuickPick(choices, { title: "Sessions", matchOnDescription: true });
  await chosen?.run?.();
}

function actions(context: Context, current: LiveSession): Choice[] {
  return [
    separator(current.name),
    { label: "$(debug-stop) Interrupt", run: () => interrupt(context) },
    { label: "$(debug-restart) Restart", description: "a fresh interpreter", run: () => restart(context) },
    { label: "$(git-branch) Branch this session", description: "a copy with all it holds", run: () => branch(context) },
    { label: "$(discard) Roll back…", description: "to what a branch holds", run: () => rollback(context) },
    { label: "$(output) Show output", run: () => vscode.commands.executeCommand("nreplPy.showOutput") },
    { label: "$(trash) Close", run: () => closeSession(context) },
  ];
}

async function fresh({ sessions }: Context): Promise<void> {
  const owner = activeOwner();
  sessions.leave(owner);
  await sessions.need(owner);
}

function separator(label: string): Choice {
  return { label, kind: vscode.QuickPickItemKind.Separator };
}

function describe(info: SessionInfo): string {
  const memory = info.memory === null ? "" : `, ${Math.round(info.memory / 2 ** 20)} MiB`;
  const queued = info.queued ? `, ${info.queued} waiting` : "";
  return `${info.state}${queued}, ${info.python}${memory}`;
}
