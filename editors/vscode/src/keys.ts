/**
 * Shift+Enter is ours while `nreplPy.keys` is on.
 *
 * Of two extensions' bindings of a key, VS Code takes that of the command whose id is the later in the alphabet, which is
 * the Python extension's. That one leaves the key alone where this context says that another extension runs selections.
 */
import * as vscode from "vscode";

const OWNED = "jupyter.ownsSelection";

export function ownKeys(subscriptions: vscode.Disposable[]): void {
  const isOn = (): boolean => vscode.workspace.getConfiguration("nreplPy").get("keys", true);
  let owned = false;
  const tell = (): void => {
    if (isOn() === owned) return; // off from the beginning: it is the Jupyter extension's to say
    owned = isOn();
    void vscode.commands.executeCommand("setContext", OWNED, owned);
  };
  subscriptions.push(vscode.workspace.onDidChangeConfiguration(tell));
  tell();
}
