/** Notebooks in our sessions: `.ipynb` files and `# %%` scripts, with nothing installed in the user's environment. */
import * as vscode from "vscode";
import type { StreamMessage } from "nrepl-py-client";
import { ownerOf, SCRIPT_NOTEBOOK } from "../owner.js";
import { interruptSession } from "../pick.js";
import type { Run, Runs } from "../runs.js";
import type { LiveSession } from "../session.js";
import type { Sessions } from "../sessions.js";
import { tell } from "../trouble.js";
import { CellExecution, type Displays } from "./execution.js";
import { NOTEBOOK_MIME } from "./outputs.js";

/** Types of notebooks, and the ids of their controllers. */
const CONTROLLERS = { "jupyter-notebook": "nrepl-py", [SCRIPT_NOTEBOOK]: "nrepl-py-script" };

export class Notebooks {
  /** Notebooks whose cells run here, by whose controller. */
  readonly #selected = new Map<vscode.NotebookDocument, vscode.NotebookController>();
  readonly #executions = new Map<Run, CellExecution>();
  /** What runs say that the window found again, until their notebook is there to show it. */
  readonly #waiting = new Map<Run, StreamMessage[]>();
  readonly #displays = new WeakMap<vscode.NotebookDocument, Displays>();
  /** Those whose session was restarted count from 1 again. */
  readonly #counts = new WeakMap<vscode.NotebookDocument, number>();
  /** What waits in a notebook, in the order it was asked for. */
  readonly #queues = new WeakMap<vscode.NotebookDocument, Promise<void>>();
  /** Interrupted since: what waits in it is not run. */
  readonly #stopped = new WeakMap<vscode.NotebookDocument, number>();

  constructor(
    private readonly sessions: Sessions,
    private readonly runs: Runs,
    subscriptions: vscode.Disposable[],
  ) {
    for (const [type, id] of Object.entries(CONTROLLERS)) {
      const controller = vscode.notebooks.createNotebookController(id, type, "nREPL for Python");
      controller.supportedLanguages = ["python"];
      controller.supportsExecutionOrder = true;
      controller.description = "a live session of nrepl-py";
      controller.executeHandler = (cells, notebook) => this.#execute(controller, cells, notebook);
      controller.interruptHandler = (notebook) => this.#interrupt(notebook);
      subscriptions.push(
        controller,
        controller.onDidChangeSelectedNotebooks(({ notebook, selected }) =>
          this.#choose(controller, notebook, selected),
        ),
      );
    }
    subscriptions.push(
      runs.onStart((run) => run.isRestored && run.record.kind === "cell" && this.#found(run)),
      runs.onMessage(({ run, message }) => {
        this.#waiting.get(run)?.push(message);
        this.#executions.get(run)?.take(run, message);
      }),
      runs.onDone((run) => this.#executions.delete(run)),
      sessions.onDidOpen((session) =>
        session.onMessage(({ event }) => event === "restarted" && this.#recount(session)),
      ),
      vscode.workspace.onDidCloseNotebookDocument((notebook) => this.#selected.delete(notebook)),
    );
  }

  async #execute(
    controller: vscode.NotebookController,
    cells: vscode.NotebookCell[],
    notebook: vscode.NotebookDocument,
  ): Promise<void> {
    const asked = this.#stopped.get(notebook) ?? 0;
    const executions = cells.map((cell) => controller.createNotebookCellExecution(cell));
    const before = this.#queues.get(notebook) ?? Promise.resolve();
    const running = before.then(async () => {
      let goesOn = true;
      for (const execution of executions) {
        const wanted = goesOn && asked === (this.#stopped.get(notebook) ?? 0);
        if (wanted) goesOn = await this.#run(notebook, execution);
        else skip(execution);
      }
    });
    this.#queues.set(notebook, running);
    await running;
  }

  /** Run one cell; whether those after it are to run. */
  async #run(notebook: vscode.NotebookDocument, execution: vscode.NotebookCellExecution): Promise<boolean> {
    const { cell } = execution;
    let session: LiveSession;
    try {
      session = await this.sessions.need(ownerOf(notebook));
    } catch (error) {
      skip(execution);
      tell(error);
      return false;
    }
    const code = cell.document.getText();
    execution.executionOrder = this.#count(notebook);
    execution.start(Date.now());
    await execution.clearOutput();
    const run = this.runs.start(session, {
      kind: "cell",
      uri: cell.document.uri.toString(),
      line: 0,
      endLine: cell.document.lineCount - 1,
      text: code,
      notebook: notebook.uri.toString(),
      index: cell.index,
      code,
      options: { file: cell.document.uri.toString(), mime: NOTEBOOK_MIME },
    });
    const shown = this.#show(run, notebook, execution);
    execution.token.onCancellationRequested(() => void interruptSession(session, run.record.id).catch(tell));
    await run.over;
    await shown;
    return run.ok;
  }

  /** Show what a run says; resolves when its end is shown. */
  #show(
    run: Run,
    notebook: vscode.NotebookDocument,
    execution: vscode.NotebookCellExecution,
    said: StreamMessage[] = [],
  ): Promise<void> {
    const displays = this.#displays.get(notebook) ?? new Map<string, vscode.NotebookCellOutput>();
    this.#displays.set(notebook, displays);
    const shown = new CellExecution(execution, displays);
    this.#executions.set(run, shown);
    for (const message of said) shown.take(run, message);
    return run.over.then(async () => {
      await shown.end(run);
      this.runs.forget(run);
    });
  }

  async #interrupt(notebook: vscode.NotebookDocument): Promise<void> {
    this.#stopped.set(notebook, (this.#stopped.get(notebook) ?? 0) + 1);
    const session = this.sessions.of(notebook);
    const run = this.runs.open.find(({ record }) => record.notebook === notebook.uri.toString());
    try {
      if (session && run) await interruptSession(session, run.record.id);
    } catch (error) {
      tell(error);
    }
  }

  #choose(controller: vscode.NotebookController, notebook: vscode.NotebookDocument, selected: boolean): void {
    if (selected) this.#selected.set(notebook, controller);
    else if (this.#selected.get(notebook) === controller) this.#selected.delete(notebook);
    for (const run of selected ? [...this.#waiting.keys()] : []) this.#resume(run);
  }

  /** A run that the window found again goes on below its cell, once the notebook is there. */
  #found(run: Run): void {
    this.#waiting.set(run, []);
    this.#resume(run);
  }

  #resume(run: Run): void {
    const { text, index = 0, notebook: uri } = run.record;
    const [notebook, controller] = [...this.#selected].find(([one]) => one.uri.toString() === uri) ?? [];
    if (!notebook || !controller) return;
    const said = this.#waiting.get(run) ?? [];
    this.#waiting.delete(run);
    const cells = notebook.getCells();
    const isIt = (cell: vscode.NotebookCell | undefined): boolean => cell?.document.getText() === text;
    const cell = isIt(cells[index]) ? cells[index] : cells.find(isIt);
    if (!cell) return this.runs.forget(run); // it was changed, or is gone
    const execution = controller.createNotebookCellExecution(cell);
    execution.executionOrder = cell.executionSummary?.executionOrder ?? this.#count(notebook);
    execution.start(run.record.begun);
    void execution.clearOutput();
    void this.#show(run, notebook, execution, said);
  }

  #count(notebook: vscode.NotebookDocument): number {
    const orders = notebook.getCells().map((cell) => cell.executionSummary?.executionOrder ?? 0);
    const count = (this.#counts.get(notebook) ?? Math.max(0, ...orders)) + 1;
    this.#counts.set(notebook, count);
    return count;
  }

  #recount(session: LiveSession): void {
    for (const notebook of vscode.workspace.notebookDocuments) {
      if (this.sessions.of(notebook) === session) this.#counts.set(notebook, 0);
    }
  }
}

/** End one that was not run. */
function skip(execution: vscode.NotebookCellExecution): void {
  execution.start();
  execution.end(undefined);
}
