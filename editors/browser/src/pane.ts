/** One session on the page: its cells, the line at the end, and what can be done with it. */
import type { ClientInfo } from "../../protocol.ts";
import { SlowConsumer } from "../../client-js/src/errors.ts";
import type { Client } from "../../client-js/src/client.ts";
import type { Session } from "../../client-js/src/session.ts";
import { CellView } from "./cell.ts";
import { announce, button, h, oncePerFrame } from "./dom.ts";
import { Editor } from "./editor.ts";
import { TYPES } from "./rich.ts";
import { Transcript, type Cell } from "./transcript.ts";

/** Pixels from the end within which the pane follows it. */
const NEAR = 40;

export interface PaneHost {
  client: Client;
  /** This page's name among the clients. */
  me: string;
  /** Show this session too, beside the one it comes from. */
  open(id: string, label: string, note?: string): void;
  /** The pane goes; `ended`: its session is no more. */
  leave(pane: Pane): void;
  /** Sessions came or went. */
  changed(): void;
}

export class Pane {
  readonly element: HTMLElement;
  readonly id: string;
  readonly label: string;
  readonly #host: PaneHost;
  readonly #session: Session;
  readonly #transcript: Transcript;
  readonly #views = new Map<Cell, CellView>();
  readonly #changed = new Set<Cell>();
  readonly #draw = oncePerFrame(() => this.#drawNow());
  readonly #list: HTMLElement;
  readonly #state = h("span", { class: "state" });
  readonly #watchers = h("span", { class: "watchers" });
  readonly #interrupt = button("Interrupt", () => this.#stop(), { disabled: true });
  readonly #force = button("End by force", () => this.#stop(0), { hidden: true });
  readonly #line: Editor;
  #count = 0;
  #unread: (() => void) | undefined;
  #closed = false;

  constructor(host: PaneHost, id: string, label: string, note?: string) {
    this.id = id;
    this.label = label;
    this.#host = host;
    this.#session = host.client.session(id);
    this.#transcript = new Transcript(
      {
        added: (cell) => this.#show(cell),
        changed: (cell) => this.#mark(cell),
        removed: (cell) => this.#hide(cell),
        note: (text) => this.note(text),
        clients: (clients, count) => this.#tellClients(clients, count),
        closed: () => this.#end(),
      },
      host.me,
    );
    const heading = h("h2", { id: `session-${id}` }, label);
    this.#line = new Editor({
      label: `Code for ${label}; Enter runs it, Shift Enter begins a new line`,
      code: "",
      session: this.#session,
      run: (code) => this.run(code),
      interrupt: () => this.#stopIfBusy(),
      line: { before: (back) => this.#before(back) },
    });
    const tools = h(
      "div",
      { class: "tools", role: "group", "aria-label": `What to do with ${label}` },
      this.#interrupt,
      this.#force,
      button("Branch", () => this.#try(() => this.#branch()), { title: "A copy of it, with all it has, beside it" }),
      button("Snapshot", () => this.#try(() => this.#snapshot()), { title: "Keep it as it is now" }),
      button("Roll back", () => this.#try(() => this.#rollBack()), { title: "Go back to the last snapshot" }),
      button("Restart", () => this.#try(() => this.#restart()), { title: "Start afresh: what it has defined is lost" }),
      button("Hide", () => this.leave(), { title: "It goes on without being shown" }),
      button("Close", () => this.#try(() => this.#close()), { title: "End the session" }),
    );
    this.#list = h("div", { class: "cells", tabindex: 0, role: "region", "aria-label": `Cells of ${label}` });
    this.element = h(
      "section",
      { class: "pane", "aria-labelledby": `session-${id}` },
      h("header", {}, heading, this.#state, this.#watchers, tools),
      this.#list,
      h("div", { class: "line" }, h("span", { class: "mark", "aria-hidden": "true" }, "›"), this.#line.element),
    );
    if (note) this.note(note);
    this.#tellState();
    void this.#follow();
  }

  focus(): void {
    this.#line.focus();
  }

  /** Evaluate; `cell`: it is run again. */
  run(code: string, cell?: Cell): void {
    const evaluation = this.#session.eval(code, { mime: TYPES, allowStdin: true, collect: false });
    const id = evaluation.id || `unsent-${Math.random()}`;
    this.#transcript.asked(id, code, cell && !cell.by && cell.state === "done" ? cell : undefined);
    this.#list.scrollTop = this.#list.scrollHeight;
    void (async () => {
      try {
        // What it says comes by the session's stream, as others' evals do; here it only must not pile up.
        for await (const _ of evaluation);
      } catch (error) {
        this.#transcript.refused(id, message(error));
      }
    })();
  }

  /** Something that no cell says. */
  note(text: string): void {
    this.#append(h("p", { class: "note" }, text));
    announce(`${this.label}: ${text}`);
  }

  /** Take it off the page. The session lives on. */
  leave(): void {
    this.#closed = true;
    this.#unread?.();
    this.#session.detach();
    for (const view of this.#views.values()) view.remove();
    this.#line.destroy();
    this.element.remove();
    this.#host.leave(this);
  }

  async #follow(): Promise<void> {
    let since = 0;
    while (!this.#closed) {
      const attachment = this.#session.attach({ since });
      this.#unread = () => attachment.leave();
      try {
        for await (const one of attachment) this.#transcript.take(one);
        return;
      } catch (error) {
        if (!(error instanceof SlowConsumer)) {
          if (!this.#closed) this.note(message(error));
          return;
        }
        since = error.since;
      }
    }
  }

  #show(cell: Cell): void {
    this.#count += 1;
    const view = new CellView(cell, this.#count, {
      session: this.#session,
      run: (code, again) => this.run(code, again),
      interrupt: () => this.#stopIfBusy(),
      answer: (line) => {
        this.#line.focus();
        return this.#try(() => this.#session.stdin(line === null ? "" : `${line}\n`));
      },
    });
    this.#views.set(cell, view);
    this.#append(view.element);
    this.#mark(cell);
  }

  #mark(cell: Cell): void {
    if (!this.#changed.has(cell)) this.#changed.add(cell);
    this.#draw();
  }

  #hide(cell: Cell): void {
    this.#views.get(cell)?.remove();
    this.#views.delete(cell);
    this.#changed.delete(cell);
  }

  #append(element: HTMLElement): void {
    const follows = this.#atEnd();
    this.#list.append(element);
    if (follows) this.#list.scrollTop = this.#list.scrollHeight;
  }

  #atEnd(): boolean {
    return this.#list.scrollHeight - this.#list.scrollTop - this.#list.clientHeight < NEAR;
  }

  #drawNow(): void {
    const follows = this.#atEnd();
    for (const cell of this.#changed) {
      this.#views.get(cell)?.update();
      if (cell.state === "done") announce(`${this.label}: ${cell.outcome || "done"}`);
    }
    this.#changed.clear();
    this.#tellState();
    if (follows) this.#list.scrollTop = this.#list.scrollHeight;
  }

  #tellState(): void {
    const open = this.#transcript.open;
    const state = this.#closed ? "closed" : open?.question ? "asks" : open ? "busy" : "ready";
    this.#state.textContent = state;
    this.#state.dataset.state = state;
    this.#interrupt.disabled = !open;
    if (!open) this.#force.hidden = true;
  }

  #tellClients(clients: ClientInfo[], count: number): void {
    const names = clients.map((one) => one.name ?? "a client without a name");
    const mine = names.indexOf(this.#host.me);
    if (mine >= 0) names.splice(mine, 1);
    const others = Math.max(0, count - (mine >= 0 ? 1 : 0));
    this.#watchers.textContent = others ? `looking on: ${names.join(", ") || others}` : "";
  }

  #before(back: number): string | undefined {
    const codes = this.#transcript.cells.filter((cell) => cell.code && !cell.by).map((cell) => cell.code);
    return codes.at(-back);
  }

  #stopIfBusy(): boolean {
    if (!this.#transcript.open) return false;
    void this.#stop();
    return true;
  }

  async #stop(killAfter?: number): Promise<void> {
    try {
      const how = killAfter === undefined ? {} : { killAfter };
      const { status } = await this.#session.interrupt(how);
      if (!status?.includes("still-running")) return;
      this.#force.hidden = false;
      this.note("It goes on running: the code does not react to an interrupt. “End by force” kills its process.");
    } catch (error) {
      this.note(message(error));
    }
  }

  async #branch(): Promise<void> {
    const copy = await this.#host.client.clone({ session: this.id });
    this.#host.open(copy.id, `${this.label} › ${copy.id.slice(0, 4)}`, `A copy of ${this.label} as it was.`);
  }

  async #snapshots(): Promise<{ id: string; number: number }[]> {
    const all = await this.#host.client.listSessions();
    const mine = all.filter(({ name }) => name?.startsWith(`${this.id}@`));
    const numbered = mine.map(({ id, name }) => ({ id, number: Number(name!.slice(this.id.length + 1)) }));
    return numbered.sort((one, other) => one.number - other.number);
  }

  async #snapshot(): Promise<void> {
    const number = ((await this.#snapshots()).at(-1)?.number ?? 0) + 1;
    const copy = await this.#host.client.clone({ session: this.id, name: `${this.id}@${number}` });
    copy.detach();
    this.note(`Snapshot ${number}: “Roll back” goes back to here.`);
  }

  async #rollBack(): Promise<void> {
    const last = (await this.#snapshots()).at(-1);
    if (!last) return this.note("There is no snapshot to go back to; “Snapshot” takes one.");
    await this.#session.restart({ from: last.id });
    this.note(`Back at snapshot ${last.number}.`);
  }

  async #restart(): Promise<void> {
    if (!confirm(`Restart ${this.label}? What it has defined is lost.`)) return;
    await this.#session.restart();
  }

  async #close(): Promise<void> {
    if (!confirm(`Close ${this.label}? What it has defined is lost.`)) return;
    for (const { id } of await this.#snapshots()) await this.#host.client.session(id).close();
    await this.#session.close();
    this.leave();
    this.#host.changed();
  }

  #end(): void {
    this.#closed = true;
    this.#tellState();
    this.#host.changed();
  }

  /** Whether it could be done; why not is noted. */
  async #try(what: () => Promise<unknown>): Promise<boolean> {
    try {
      await what();
      return true;
    } catch (error) {
      this.note(message(error));
      return false;
    }
  }
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
