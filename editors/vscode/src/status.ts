/** The session of what has the focus, in the status bar: its name and state; a click picks another, or what to do with it. */
import * as vscode from "vscode";
import { activeOwner } from "./owner.js";
import type { State } from "./session.js";
import type { Sessions } from "./sessions.js";

const ICONS: Record<State, string> = {
  ready: "$(circle-filled)",
  busy: "$(sync~spin)",
  dead: "$(circle-slash)",
  lost: "$(debug-disconnect)",
};

export function showStatus(sessions: Sessions, subscriptions: vscode.Disposable[]): void {
  const item = vscode.window.createStatusBarItem("nreplPy.session", vscode.StatusBarAlignment.Right, 100);
  item.name = "Python session";
  item.command = "nreplPy.pickSession";
  const draw = (): void => {
    const document = vscode.window.activeTextEditor?.document;
    if (!vscode.window.activeNotebookEditor && document?.languageId !== "python") return item.hide();
    const session = sessions.at(activeOwner());
    item.text = session ? `${ICONS[session.state]} ${session.name}: ${session.state}` : "$(circle-outline) no session";
    item.tooltip = session
      ? `The code of ${activeOwner().name} runs in the session ${session.name}, at ${session.link.address.url}`
      : "The first run starts a session";
    item.backgroundColor =
      session?.state === "dead" || session?.state === "lost"
        ? new vscode.ThemeColor("statusBarItem.warningBackground")
        : undefined;
    item.show();
  };
  subscriptions.push(
    item,
    sessions.onDidChange(draw),
    vscode.window.onDidChangeActiveTextEditor(draw),
    vscode.window.onDidChangeActiveNotebookEditor(draw),
    vscode.workspace.onDidOpenTextDocument(draw),
  );
  draw();
}
