/** A box for the input that code asks for. */
import * as vscode from "vscode";
import { NreplError } from "nrepl-py-client";
import { interruptSession } from "./pick.js";
import type { Run, Runs } from "./runs.js";
import { tell } from "./trouble.js";

export class Input {
  readonly #asking = new Map<Run, vscode.CancellationTokenSource>();

  constructor(runs: Runs, subscriptions: vscode.Disposable[]) {
    subscriptions.push(
      runs.onMessage(({ run, message }) => {
        // What is asked now, or was in what is gone, is not what was asked before.
        if (["need-input", "input-done", "replay-gap"].some((status) => message.status?.includes(status)))
          this.#leave(run);
        if (message.status?.includes("need-input"))
          void this.#ask(run, message.prompt ?? "", message.password === true);
      }),
      runs.onDone((run) => this.#leave(run)),
    );
  }

  #leave(run: Run): void {
    this.#asking.get(run)?.cancel();
    this.#asking.delete(run);
  }

  async #ask(run: Run, prompt: string, password: boolean): Promise<void> {
    const asking = new vscode.CancellationTokenSource();
    this.#asking.set(run, asking);
    const title = prompt.trim() || "The code asks for input";
    const box = { title, prompt: "A line for the code that runs", password, ignoreFocusOut: true };
    const line = await vscode.window.showInputBox(box, asking.token);
    if (asking.token.isCancellationRequested) return;
    if (line === undefined) await this.#left(run, asking, title, () => this.#ask(run, prompt, password));
    else await this.#answer(run, `${line}\n`, () => this.#ask(run, prompt, password));
  }

  /** The box was left, or another one took its place: the code still waits. */
  async #left(run: Run, asking: vscode.CancellationTokenSource, title: string, again: () => unknown): Promise<void> {
    const actions = ["Answer", "End of File", "Interrupt"] as const;
    const chosen = await vscode.window.showWarningMessage(`The code waits for input: ${title}`, ...actions);
    if (asking.token.isCancellationRequested) return;
    if (chosen === "Answer") again();
    if (chosen === "End of File") await this.#answer(run, "", again);
    if (chosen === "Interrupt") await interruptSession(run.session, run.record.id).catch(tell);
  }

  async #answer(run: Run, text: string, again: () => unknown): Promise<void> {
    try {
      await run.session.session.stdin(text);
    } catch (error) {
      // It may not have arrived: while the code still waits for it, ask again.
      if (error instanceof NreplError && error.code === "connection-lost") again();
      else tell(error);
    }
  }
}
