/** A run shown below its cell: output as it comes, values and displays, errors, order and timing. */
import * as vscode from "vscode";
import type { DisplayBundle, StreamMessage } from "nrepl-py-client";
import type { Run } from "../runs.js";
import { errorItem, itemsOf } from "./outputs.js";

/** Milliseconds in which what is printed is gathered, so that a flood is not drawn character by character. */
const GATHER_MS = 30;

/** Characters that a cell shows of what it prints; the session's output channel has it all. */
const MOST = 4 << 20;

/** The displays that may be updated, of one notebook. */
export type Displays = Map<string, vscode.NotebookCellOutput>;

type Channel = "out" | "err";

export class CellExecution {
  #stream: { channel: Channel; output: vscode.NotebookCellOutput } | undefined;
  #waiting: { channel: Channel; text: string }[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;
  #written = 0;
  #clears = false;
  /** Edits are made one after the other. */
  #edits: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly execution: vscode.NotebookCellExecution,
    private readonly displays: Displays,
  ) {}

  take(run: Run, message: StreamMessage): void {
    if (message.out) this.#print("out", message.out);
    if (message.err && !message.error) this.#print("err", message.err);
    if (message.missing) this.#print("err", `(${message.missing[1] - message.missing[0] + 1} messages are gone)\n`);
    if (message.display) this.#display(message.display);
    if (message.value !== undefined) this.#append(itemsOf({ ...message.mime, "text/plain": message.value }));
    if (message.error) this.#append([errorItem(message.error, run.traceback)]);
  }

  /** It is over: when all that it said is shown, so is that. */
  async end(run: Run): Promise<void> {
    if (run.failure !== undefined)
      this.#print("err", `${run.failure instanceof Error ? run.failure.message : run.failure}\n`);
    const cause = run.status.has("session-died") ? "the session's Python has ended, and what it held is gone\n" : "";
    if (cause) this.#print("err", cause);
    this.#flush();
    await this.#edits;
    this.execution.end(run.ok, Date.now());
  }

  #print(channel: Channel, text: string): void {
    if (this.#written > MOST) return;
    this.#written += text.length;
    const cut = this.#written > MOST ? `${text}\n… the rest is in the session's output only\n` : text;
    const last = this.#waiting.at(-1);
    if (last?.channel === channel) last.text += cut;
    else this.#waiting.push({ channel, text: cut });
    this.#timer ??= setTimeout(() => this.#flush(), GATHER_MS);
  }

  #flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const { channel, text } of this.#waiting.splice(0)) this.#write(channel, text);
  }

  #write(channel: Channel, text: string): void {
    const { stdout, stderr } = vscode.NotebookCellOutputItem;
    const item = channel === "out" ? stdout(text) : stderr(text);
    const open = this.#stream;
    if (open?.channel === channel && !this.#clears) {
      this.#edit(() => this.execution.appendOutputItems(item, open.output));
    } else {
      this.#stream = { channel, output: this.#append([item], true) };
    }
  }

  #append(
    items: vscode.NotebookCellOutputItem[],
    isStream = false,
    metadata?: Record<string, unknown>,
  ): vscode.NotebookCellOutput {
    if (!isStream) {
      this.#flush();
      this.#stream = undefined;
    }
    const output = new vscode.NotebookCellOutput(items, metadata);
    const clears = this.#clears;
    this.#clears = false;
    this.#edit(() => (clears ? this.execution.replaceOutput(output) : this.execution.appendOutput(output)));
    return output;
  }

  #display({ mime, metadata, update, clear, "display-id": id }: DisplayBundle): void {
    if (clear) {
      this.#flush();
      this.#stream = undefined;
      this.#clears = true; // with what comes next, so that nothing flickers
      if (!Object.keys(mime).length) return;
    }
    const known = id === undefined ? undefined : this.displays.get(id);
    if (update) {
      if (known) this.#edit(() => this.execution.replaceOutputItems(itemsOf(mime), known));
      return;
    }
    const output = this.#append(itemsOf(mime), false, metadata);
    if (id !== undefined) this.displays.set(id, output);
  }

  #edit(edit: () => Thenable<void>): void {
    // An output that the user has cleared, or whose cell is gone, is not to stop those after it.
    this.#edits = this.#edits.then(edit).then(undefined, () => {});
  }
}
