/**
 * Lines on the page. Of few all are drawn, of many the last ones; "show all" opens a window over all of them, in
 * which only the rows that can be seen are elements: a million lines cost no more than a screenful.
 */
import type { Piece, Style } from "./ansi.ts";
import { button, h } from "./dom.ts";
import type { Lines } from "./lines.ts";

/** Lines drawn without being asked. */
const SHOWN = 200;

/** Pixels of the tallest element that every browser draws: Firefox ends at 17.9 million. */
const MAX_HEIGHT = 8_000_000;

/** Rows drawn above and below those that are seen. */
const MARGIN = 10;

export class TextView {
  readonly element: HTMLElement;
  readonly #lines: Lines;
  readonly #rows: HTMLElement;
  readonly #head = h("div", { class: "cut" });
  #window: AllLines | undefined;
  /** The first line drawn, and the one after the last that will not change. */
  #first = 0;
  #done = 0;
  #dropped = 0;

  constructor(lines: Lines, kind: string) {
    this.#lines = lines;
    this.#rows = h("pre", { class: "rows" });
    this.element = h("div", { class: `text ${kind}` }, this.#rows);
    this.update();
  }

  update(): void {
    if (this.#window) return this.#window.update();
    const { length, ended, dropped } = this.#lines;
    const first = Math.max(0, length - SHOWN);
    if (first !== this.#first || dropped !== this.#dropped) {
      this.#rows.replaceChildren();
      [this.#first, this.#done, this.#dropped] = [first, first, dropped];
    }
    while (this.#rows.children.length > this.#done - this.#first) this.#rows.lastElementChild!.remove();
    for (let index = this.#done; index < length; index++) this.#rows.append(row(this.#lines.line(index)));
    this.#done = ended;
    if (first > 0) this.#cut(first);
  }

  #cut(hidden: number): void {
    const total = this.#lines.length.toLocaleString("en");
    if (!this.#head.isConnected) {
      this.element.prepend(this.#head);
      this.#head.append(
        h("span", {}),
        button("", () => this.#showAll()),
      );
    }
    this.#head.firstElementChild!.textContent = `${(hidden + this.#lines.dropped).toLocaleString("en")} lines above. `;
    this.#head.lastElementChild!.textContent = `Show all ${total} lines`;
  }

  #showAll(): void {
    this.#window = new AllLines(this.#lines);
    this.element.replaceChildren(this.#window.element);
    this.#window.begin();
  }
}

class AllLines {
  readonly element: HTMLElement;
  readonly #lines: Lines;
  readonly #space = h("div", { class: "space" });
  readonly #rows = h("pre", { class: "rows" });
  readonly #said = h("div", { class: "cut" });
  readonly #scroller: HTMLElement;
  #rowHeight = 0;
  #from = -1;

  constructor(lines: Lines) {
    this.#lines = lines;
    this.#scroller = h(
      "div",
      { class: "window", tabindex: 0, role: "region", "aria-label": "All lines", onscroll: () => this.#draw() },
      this.#space,
      this.#rows,
    );
    this.element = h("div", {}, this.#said, this.#scroller);
  }

  /** It is on the page: go to the end, where it was before. */
  begin(): void {
    this.#rows.append(row([{ text: "x", style: {} }]));
    this.#rowHeight = this.#rows.getBoundingClientRect().height || 18;
    this.update();
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#draw();
    this.#scroller.focus();
    this.element.scrollIntoView({ block: "nearest" });
  }

  update(): void {
    const { length, dropped } = this.#lines;
    this.#space.style.height = `${Math.min(MAX_HEIGHT, length * this.#rowHeight)}px`;
    const gone = dropped ? ` The first ${dropped.toLocaleString("en")} are no longer kept.` : "";
    this.#said.textContent = `${length.toLocaleString("en")} lines.${gone}`;
    this.#from = -1;
    this.#draw();
  }

  #draw(): void {
    const { scrollTop, clientHeight, scrollHeight } = this.#scroller;
    const seen = Math.ceil(clientHeight / this.#rowHeight);
    const last = Math.max(0, this.#lines.length - seen);
    const room = scrollHeight - clientHeight;
    // Where the space is lower than its lines, the place in it stands for a place among them.
    const first = room > 0 ? Math.min(last, Math.round((scrollTop / room) * last)) : 0;
    const from = Math.max(0, first - MARGIN);
    const to = Math.min(this.#lines.length, first + seen + MARGIN);
    this.#rows.style.transform = `translateY(${scrollTop - (first - from) * this.#rowHeight}px)`;
    if (from === this.#from) return;
    this.#from = from;
    const rows = [];
    for (let index = from; index < to; index++) rows.push(row(this.#lines.line(index)));
    this.#rows.replaceChildren(...rows);
  }
}

function row(pieces: Piece[]): HTMLElement {
  const line = h("div");
  for (const { text, style } of pieces) line.append(Object.keys(style).length ? styled(text, style) : text);
  if (!pieces.length) line.append("\u200b"); // an empty line has a height too
  return line;
}

function styled(text: string, style: Style): HTMLElement {
  const [fg, bg] = style.inverse ? [style.bg ?? "bg", style.fg ?? "fg"] : [style.fg, style.bg];
  const names = ["bold", "dim", "italic", "underline", "strike", "err"].filter((name) => style[name as keyof Style]);
  const element = h("span", { class: names.map((name) => `a-${name}`).join(" ") || undefined }, text);
  if (fg !== undefined) element.style.color = colour(fg);
  if (bg !== undefined) element.style.backgroundColor = colour(bg);
  return element;
}

function colour(colour: number | string): string {
  return typeof colour === "number"
    ? `var(--ansi-${colour})`
    : colour === "fg" || colour === "bg"
      ? `var(--${colour})`
      : colour;
}
