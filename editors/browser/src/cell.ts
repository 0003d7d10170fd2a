/** A cell on the page: its code, which can be edited and run again, what it said, and what it asks. */
import { pythonLanguage } from "@codemirror/lang-python";
import { classHighlighter, highlightCode } from "@lezer/highlight";
import type { Session } from "../../client-js/src/session.ts";
import { button, h } from "./dom.ts";
import { Editor } from "./editor.ts";
import { RichView } from "./rich.ts";
import { TextView } from "./text.ts";
import type { Cell, Part } from "./transcript.ts";

export interface CellHost {
  session: Session;
  /** Run this code: in this cell where it is this page's, else in a new one. */
  run(code: string, cell: Cell): void;
  interrupt(): boolean;
  /** A line that the code asked for; null: end of file. False where it is not known whether it arrived. */
  answer(line: string | null): Promise<boolean>;
}

export class CellView {
  readonly element: HTMLElement;
  readonly #cell: Cell;
  readonly #host: CellHost;
  readonly #number: number;
  readonly #said = h("span", { class: "said" });
  readonly #by = h("span", { class: "by" });
  readonly #code = h("div", { class: "code" });
  readonly #output = h("div", { class: "output" });
  readonly #ask = h("div", {});
  readonly #views = new Map<Part, TextView | RichView>();
  readonly #edit = button("Edit", () => this.#toggleEditor());
  #shownCode: string | undefined;
  #asked: Cell["question"];
  #editor: Editor | undefined;

  constructor(cell: Cell, number: number, host: CellHost) {
    this.#cell = cell;
    this.#number = number;
    this.#host = host;
    const bar = h("div", { class: "bar" }, h("span", { class: "number" }, `[${number}]`), this.#by, this.#said);
    if (cell.id !== undefined)
      bar.append(
        this.#edit,
        button("Run again", () => this.#run(this.#editor?.code ?? cell.code)),
      );
    bar.append(button("Copy output", () => navigator.clipboard?.writeText(this.#text())));
    for (const one of bar.querySelectorAll("button"))
      one.setAttribute("aria-label", `${one.textContent}, cell ${number}`);
    this.element = h(
      "article",
      { class: "cell", "aria-label": `Cell ${number}` },
      bar,
      this.#code,
      this.#output,
      this.#ask,
    );
    this.update();
  }

  /** The cell has changed; draw what did. */
  update(): void {
    const { state, by, outcome, failed, code, droppedRich } = this.#cell;
    this.element.dataset.state = failed ? "failed" : state;
    const dropped = droppedRich ? ` The first ${droppedRich} displays are no longer kept.` : "";
    this.#said.textContent = { sent: "waits", running: "runs …", done: outcome }[state] + dropped;
    this.#by.textContent = by ? `by ${by}` : "";
    if (code !== this.#shownCode && !this.#editor) this.#drawCode(code);
    this.#drawParts();
    this.#drawQuestion();
  }

  /** It leaves the page. */
  remove(): void {
    this.#editor?.destroy();
    for (const view of this.#views.values()) if (view instanceof RichView) view.remove();
    this.element.remove();
  }

  #run(code: string): void {
    this.#closeEditor();
    this.#host.run(code, this.#cell);
  }

  #toggleEditor(): void {
    if (this.#editor) return this.#closeEditor();
    this.#editor = new Editor({
      label: `Code of cell ${this.#number}; Control Enter runs it, Escape leaves it`,
      code: this.#cell.code,
      session: this.#host.session,
      run: (code) => this.#run(code),
      interrupt: () => this.#host.interrupt(),
      leave: () => {
        this.#closeEditor();
        this.#edit.focus();
      },
    });
    this.#edit.firstChild!.textContent = "Leave unchanged";
    this.#code.replaceChildren(this.#editor.element);
    this.#editor.focus();
  }

  #closeEditor(): void {
    this.#editor?.destroy();
    this.#editor = undefined;
    this.#edit.firstChild!.textContent = "Edit";
    this.#drawCode(this.#cell.code);
  }

  #drawCode(code: string): void {
    this.#shownCode = code;
    const block = h("pre", {});
    const text = (text: string, classes: string): void =>
      block.append(classes ? h("span", { class: classes }, text) : text);
    // What is very long is shown without colours, which would take long.
    if (code.length > 50_000) block.append(code);
    else highlightCode(code, pythonLanguage.parser.parse(code), classHighlighter, text, () => block.append("\n"));
    this.#code.replaceChildren(block);
    this.#code.hidden = !code;
  }

  #drawParts(): void {
    const { parts } = this.#cell;
    for (const [part, view] of this.#views) {
      if (parts.includes(part)) continue;
      if (view instanceof RichView) view.remove();
      view.element.remove();
      this.#views.delete(part);
    }
    for (const part of parts) {
      const known = this.#views.get(part);
      if (known) {
        known.update();
        continue;
      }
      const label = `Output of cell ${this.#number}`;
      const view = part.kind === "rich" ? new RichView(part, label) : new TextView(part.lines, part.kind);
      this.#views.set(part, view);
      this.#output.append(view.element);
    }
  }

  #drawQuestion(): void {
    const { question } = this.#cell;
    if (question === this.#asked) return;
    this.#asked = question;
    this.#ask.replaceChildren();
    if (!question) return;
    const input = h("input", {
      type: question.password ? "password" : "text",
      autocomplete: "off",
      spellcheck: "false",
      "aria-label": `Input for cell ${this.#number}: ${question.prompt || "the code reads a line"}`,
    });
    const answer = (line: string | null): void => {
      this.#ask.replaceChildren();
      void this.#host.answer(line).then((arrived) => {
        if (arrived) return;
        this.#asked = undefined; // it may ask still
        this.#drawQuestion();
      });
    };
    const form = h(
      "form",
      {
        class: "question",
        onsubmit: (event: Event) => {
          event.preventDefault();
          answer(input.value);
        },
        onkeydown: (event: KeyboardEvent) => {
          if (event.key !== "d" || !event.ctrlKey || input.value) return;
          event.preventDefault();
          answer(null);
        },
      },
      h("span", { class: "prompt" }, question.prompt),
      input,
      h("button", { type: "submit" }, "Send"),
      button("End of file", () => answer(null)),
    );
    this.#ask.append(form);
    if (!this.#cell.by) input.focus(); // it is for whoever ran it; others may answer
  }

  #text(): string {
    const parts = this.#cell.parts.map((part) =>
      part.kind === "rich" ? String(part.mime["text/plain"] ?? "") : part.lines.text(),
    );
    return parts.join("\n");
  }
}
