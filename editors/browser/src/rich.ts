/**
 * What is more than text: images, and HTML and SVG in a frame.
 *
 * The frame is a page of the server's own with a policy of its own: nothing runs there, nothing is fetched. It is of our
 * origin only so that we can fill it and see how tall it is; what is in it can reach nothing, as it cannot run.
 */
import { h } from "./dom.ts";
import { Lines } from "./lines.ts";
import { TextView } from "./text.ts";
import type { RichPart } from "./transcript.ts";

const IMAGES = ["image/png", "image/jpeg", "image/gif", "image/webp"];

/** The types asked for, the best first. */
export const TYPES = ["text/html", "image/svg+xml", "image/png", "image/jpeg", "application/json"];

/** Pixels; a taller frame scrolls. */
const MAX_HEIGHT = 600;

export class RichView {
  readonly element = h("div", { class: "rich" });
  readonly #part: RichPart;
  readonly #label: string;
  #version = -1;
  #end = (): void => {};

  constructor(part: RichPart, label: string) {
    this.#part = part;
    this.#label = label;
    this.update();
  }

  update(): void {
    if (this.#version === this.#part.version) return;
    this.#version = this.#part.version;
    this.remove();
    this.element.replaceChildren(...this.#make(this.#part.mime));
  }

  /** It is no longer shown. */
  remove(): void {
    this.#end();
    this.#end = () => {};
  }

  #make(mime: Record<string, unknown>): Node[] {
    const html = mime["text/html"];
    const image = IMAGES.find((type) => mime[type] instanceof Uint8Array);
    const runs = typeof html === "string" && /<script/i.test(html);
    if (typeof html === "string" && !(runs && (image || mime["image/svg+xml"]))) {
      const note = h("p", { class: "hint" }, "Scripts in HTML do not run here; what they would draw is missing.");
      return runs ? [this.#frame(html), note] : [this.#frame(html)];
    }
    if (typeof mime["image/svg+xml"] === "string") return [this.#frame(mime["image/svg+xml"])];
    if (image) return [this.#image(mime[image] as Uint8Array, image)];
    return [text(plainest(mime))];
  }

  #image(data: Uint8Array, type: string): HTMLElement {
    const url = URL.createObjectURL(new Blob([data as Uint8Array<ArrayBuffer>], { type }));
    this.#end = () => URL.revokeObjectURL(url);
    const said = this.#part.mime["text/plain"];
    return h("img", { src: url, alt: `${this.#label}: ${typeof said === "string" ? said : "image"}` });
  }

  #frame(html: string): HTMLElement {
    const frame = h("iframe", { src: "/frame", sandbox: "allow-same-origin", title: this.#label });
    let watcher: ResizeObserver | undefined;
    this.#end = () => watcher?.disconnect();
    frame.addEventListener("load", () => {
      const page = frame.contentDocument;
      if (!page?.body) return;
      page.body.innerHTML = html;
      const fit = (): void => {
        frame.style.height = `${Math.min(MAX_HEIGHT, page.documentElement.offsetHeight + 4)}px`;
      };
      watcher?.disconnect();
      watcher = new ResizeObserver(fit);
      watcher.observe(page.documentElement);
      fit();
    });
    return frame;
  }
}

function plainest(mime: Record<string, unknown>): string {
  if ("application/json" in mime) return JSON.stringify(mime["application/json"], null, 2);
  const found = ["text/plain", "text/markdown", "text/latex"].find((type) => typeof mime[type] === "string");
  return found ? String(mime[found]) : `[data of type ${Object.keys(mime).join(", ")}]`;
}

function text(said: string): HTMLElement {
  const lines = new Lines();
  lines.append(said);
  return new TextView(lines, "value").element;
}
