/** What went wrong, said to the user: what happened, what to do, and buttons that do it. */
import * as vscode from "vscode";
import { NreplError } from "nrepl-py-client";

export interface Action {
  title: string;
  run(): unknown;
}

/** Actions that several troubles have. */
type Known = "settings" | "connect" | "start" | "python";

const KNOWN: Record<Known, Action> = {
  settings: { title: "Open Settings", run: () => openSettings("nreplPy") },
  python: { title: "Choose the Interpreter", run: () => openSettings("nreplPy.python") },
  connect: { title: "Connect to a Server…", run: () => vscode.commands.executeCommand("nreplPy.connect") },
  start: { title: "Start Again", run: () => vscode.commands.executeCommand("nreplPy.start") },
};

/** Of the page that we run in, in a browser: servers let in the pages that they were told of. */
const { origin } = globalThis as { origin?: string };

/** An error whose message is a sentence for the user. */
export class Trouble extends Error {
  readonly actions: readonly Action[];

  constructor(message: string, actions: readonly (Known | Action)[] = []) {
    super(message);
    this.actions = actions.map((action) => (typeof action === "string" ? KNOWN[action] : action));
  }
}

/** What a refusal or a lost server means here, and what can be done about it. */
export function troubleOf(error: unknown): Trouble {
  if (error instanceof Trouble) return error;
  if (!(error instanceof NreplError)) return new Trouble(error instanceof Error ? error.message : String(error));
  const said = sentence(error.message);
  switch (error.code) {
    case "no-server":
      return origin
        ? new Trouble(`${said} Start one that lets this page in: nrepl-py serve --allow-origin ${origin}`, ["connect"])
        : new Trouble(`${said} Start one, or connect to another.`, ["start", "connect"]);
    case "connection-lost":
      return new Trouble(`${said} Start again to go on.`, ["start"]);
    case "unauthorized":
      return new Trouble(`${said} Give the token of this server.`, ["connect"]);
    case "unsupported-version":
      return new Trouble(`${said} Update the older of the two: this extension, or the server's nrepl-py.`);
    case "start-failed":
      return new Trouble(`The session did not start: ${said} Choose another interpreter.`, ["python"]);
    case "unknown-session":
      return new Trouble(`${said} The next run gets a new session.`);
    default:
      return new Trouble(said);
  }
}

/** Show it; does not wait for the answer. */
export function tell(error: unknown): void {
  const { message, actions } = troubleOf(error);
  const shown = vscode.window.showErrorMessage(message, ...actions.map((action) => action.title));
  void shown.then((chosen) => actions.find((action) => action.title === chosen)?.run());
}

function openSettings(query: string): Thenable<unknown> {
  return vscode.commands.executeCommand("workbench.action.openSettings", query);
}

/** What a refusal says, without the op that it names first. */
export function sentence(text: string): string {
  const said = text.replace(/^[a-z-]+: /, "");
  const capital = said.charAt(0).toUpperCase() + said.slice(1);
  return /[.!?]$/.test(capital) ? capital : `${capital}.`;
}
