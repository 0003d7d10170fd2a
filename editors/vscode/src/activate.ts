/** Puts the parts together; what both hosts share. */
import * as vscode from "vscode";
import { showLenses } from "./code/lenses.js";
import { registerCommands } from "./commands.js";
import { Inline } from "./inline.js";
import { Input } from "./input.js";
import { ownKeys } from "./keys.js";
import { answer } from "./language.js";
import { Links } from "./link.js";
import { Notebooks } from "./notebook/controller.js";
import { registerScripts } from "./notebook/serializer.js";
import { Output } from "./output.js";
import { activeOwner } from "./owner.js";
import type { Platform } from "./platform.js";
import { Problems } from "./problems.js";
import { Runs, type Run } from "./runs.js";
import { Sessions } from "./sessions.js";
import { showStatus } from "./status.js";

/** A run that is over. Lines count from 0, `endLine` is its last one. */
export interface Done {
  uri: vscode.Uri;
  line: number;
  endLine: number;
  value?: string;
  error?: { type: string; message: string };
  status: string[];
}

/** For other extensions, and for tests. */
export interface Api {
  /** The id of the session in which the code of what has the focus runs. */
  session(): string | undefined;
  /** Whether that one's server is connected. */
  connected(): boolean;
  readonly runs: vscode.Event<Done>;
  /** What stands behind lines, which count from 0. */
  inline(uri: vscode.Uri): { line: number; text: string }[];
}

export function activateOn(platform: Platform, context: vscode.ExtensionContext): Api {
  const { subscriptions, workspaceState } = context;
  const links = new Links(platform, context.secrets);
  const runs = new Runs(workspaceState);
  const sessions = new Sessions(links, platform, workspaceState);
  const output = new Output();
  const inline = new Inline(runs, subscriptions);
  const problems = new Problems(runs, subscriptions);
  const done = new vscode.EventEmitter<Done>();
  new Input(runs, subscriptions);
  sessions.onDidOpen((session) => {
    output.follow(session);
    runs.restore(session);
  });
  registerScripts(subscriptions);
  new Notebooks(sessions, runs, subscriptions);
  subscriptions.push(
    links,
    output,
    done,
    runs.onDone((run) => done.fire(doneOf(run))),
  );
  registerCommands({ sessions, runs, inline, problems, output }, subscriptions);
  ownKeys(subscriptions);
  showLenses(subscriptions);
  showStatus(sessions, subscriptions);
  answer(sessions, platform.language?.(context, sessions) ?? (() => false), subscriptions);
  sessions.restore((session) => runs.since(session));
  return {
    session: () => sessions.at(activeOwner())?.id,
    connected: () => sessions.at(activeOwner())?.link.isUp ?? false,
    runs: done.event,
    inline: (uri) => inline.of(uri),
  };
}

function doneOf({ record, value, error, status }: Run): Done {
  return {
    uri: vscode.Uri.parse(record.uri),
    line: record.line,
    endLine: record.endLine,
    ...(value === undefined ? {} : { value }),
    ...(error ? { error: { type: error.type, message: error.message } } : {}),
    status: [...status],
  };
}
