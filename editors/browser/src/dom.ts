/** Elements, briefly. Text is always text here: nothing that code said is ever parsed as HTML in this page. */

type Child = Node | string | undefined | false;
type Properties = Record<string, string | number | boolean | undefined | ((event: any) => unknown)>;

/** An element with attributes (`on…` are listeners; true is an empty attribute, false and undefined none). */
export function h<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  properties: Properties = {},
  ...children: Child[]
): HTMLElementTagNameMap[Tag] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value as EventListener);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== undefined && value !== false) element.setAttribute(name, String(value));
  }
  element.append(...children.filter((child): child is Node | string => child !== undefined && child !== false));
  return element;
}

export function button(label: string, run: () => unknown, properties: Properties = {}): HTMLButtonElement {
  return h("button", { type: "button", onclick: run, ...properties }, label);
}

/** A fifth of the time may go into drawing, so that a flood leaves the page responsive. */
const REST = 4;

/** Calls made between two frames become one, before the next is drawn; after one that took long, a later one. */
export function oncePerFrame(run: () => void): () => void {
  let asked = false;
  let next = 0;
  const draw = (): void => {
    asked = false;
    const began = performance.now();
    run();
    const ended = performance.now();
    next = ended + REST * (ended - began);
  };
  return () => {
    if (asked) return;
    asked = true;
    setTimeout(() => requestAnimationFrame(draw), Math.max(0, next - performance.now()));
  };
}

let region: HTMLElement | undefined;

/** Where `announce` speaks; made once. */
export function announcer(): HTMLElement {
  region = h("div", { class: "visually-hidden", role: "status", "aria-live": "polite" });
  return region;
}

/** Tell who listens to the page. */
export function announce(text: string): void {
  if (region) region.textContent = text;
}
