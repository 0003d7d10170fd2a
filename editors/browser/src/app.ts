/** The page once it is connected: the sessions there are, those that are shown, and how the connection is. */
import { connect, type Client } from "../../client-js/src/client.ts";
import type { NreplError } from "../../client-js/src/errors.ts";
import { announcer, button, h } from "./dom.ts";
import { kept, keep } from "./kept.ts";
import { Pane, type PaneHost } from "./pane.ts";

export interface Start {
  token: string;
  /** A session to show, by id or name. */
  session: string | undefined;
}

/** Connect, and fill the page. Rejects with what refused it; resolves to why it is over, when it is. */
export async function run(start: Start, root: HTMLElement): Promise<NreplError> {
  const banner = new Banner();
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  const me = kept("me") ?? `browser-${Math.random().toString(36).slice(2, 6)}`;
  keep("me", me);
  const client = await connect({
    url: `${scheme}//${location.host}`,
    token: start.token,
    clientName: me,
    onDown: (reason, seconds) => banner.down(reason, seconds, () => client.retryNow()),
    onUp: () => banner.up(),
  });
  for (const event of ["online", "visibilitychange"]) addEventListener(event, () => client.retryNow());
  const app = new App(client, me, banner);
  root.replaceChildren(app.element);
  await app.begin(start.session);
  const error = await client.closed;
  banner.over(error);
  return error;
}

class App {
  readonly element: HTMLElement;
  readonly #client: Client;
  readonly #me: string;
  readonly #panes = new Map<string, Pane>();
  readonly #nav = h("nav", { "aria-label": "Sessions" });
  readonly #grid = h("main", {});

  constructor(client: Client, me: string, banner: Banner) {
    this.#client = client;
    this.#me = me;
    const { name, version } = client.server;
    const about = h("span", { class: "about" }, `${name ?? "server"} ${version ?? ""}, ${client.principal}`);
    const head = h("header", { class: "top" }, h("h1", {}, "nrepl-py"), this.#nav, about);
    this.element = h("div", { class: "app" }, head, banner.element, this.#grid, announcer());
    addEventListener("focus", () => void this.#list());
  }

  /** Show the session asked for, made if there is none so named; else those shown before, else the one used last. */
  async begin(wanted: string | undefined): Promise<void> {
    const there = await this.#client.listSessions();
    const usable = there.filter((one) => !isSnapshot(one.name));
    const before = (kept("open") ?? "").split(" ");
    const named = usable.filter((one) => wanted !== undefined && (one.id === wanted || one.name === wanted));
    const again = usable.filter((one) => before.includes(one.id));
    const last = usable.toSorted((one, other) => other["last-active"] - one["last-active"]).slice(0, 1);
    const shown = wanted ? named : again.length ? again : last;
    for (const { id, name } of shown) this.#open(id, name ?? id.slice(0, 6));
    if (wanted && !named.length) await this.#new(wanted);
    else if (!shown.length) await this.#new();
    await this.#list();
    [...this.#panes.values()].at(-1)?.focus();
  }

  async #new(name?: string): Promise<void> {
    const session = await this.#client.clone(name ? { name } : {});
    this.#open(session.id, name ?? session.id.slice(0, 6));
  }

  #open(id: string, label: string, note?: string): void {
    const host: PaneHost = {
      client: this.#client,
      me: this.#me,
      open: (id, label, note) => {
        this.#open(id, label, note);
        void this.#list();
      },
      leave: (pane) => {
        this.#panes.delete(pane.id);
        this.#remember();
        void this.#list();
      },
      changed: () => void this.#list(),
    };
    const pane = new Pane(host, id, label, note);
    this.#panes.set(id, pane);
    this.#grid.append(pane.element);
    this.#remember();
    pane.focus();
  }

  #remember(): void {
    keep("open", [...this.#panes.keys()].join(" "));
  }

  /** The sessions there are, each a switch. */
  async #list(): Promise<void> {
    const sessions = await this.#client.listSessions().catch(() => undefined);
    if (!sessions) return; // the banner says why
    const switches = sessions
      .filter((one) => !isSnapshot(one.name))
      .map(({ id, name, clients }) => {
        const label = this.#panes.get(id)?.label ?? name ?? id.slice(0, 6);
        const pressed = String(this.#panes.has(id));
        const watched = clients > 1 ? ` (${clients} clients)` : "";
        return button(label + watched, () => this.#toggle(id, label), { "aria-pressed": pressed });
      });
    const adding = button("New session", () => this.#new().then(() => this.#list()), { class: "new" });
    this.#nav.replaceChildren(...switches, adding);
  }

  #toggle(id: string, label: string): void {
    const pane = this.#panes.get(id);
    if (pane) return pane.leave();
    this.#open(id, label);
    void this.#list();
  }
}

/** `ID@NUMBER`: kept to go back to, not to work in. */
function isSnapshot(name: string | null): boolean {
  return /^[0-9a-f]{16}@\d+$/.test(name ?? "");
}

class Banner {
  readonly element = h("div", { class: "banner", role: "alert", hidden: true });
  #timer: ReturnType<typeof setInterval> | undefined;

  up(): void {
    clearInterval(this.#timer);
    this.element.hidden = true;
    this.element.replaceChildren();
  }

  down(reason: NreplError, seconds: number | undefined, retry: () => void): void {
    if (seconds === undefined) return; // `over` comes
    const said = `Connection lost. It is tried again; what runs goes on, and nothing it says is missed. (${reason.message}) If the server was stopped, start it again: nrepl-py open.`;
    if (!this.element.hidden) return void (this.element.firstElementChild!.textContent = said);
    this.element.replaceChildren(h("span", {}, said), button("Try now", retry));
    this.element.hidden = false;
  }

  over(error: NreplError): void {
    const said = `Disconnected: ${error.message}. ${advice(error)}`;
    this.element.replaceChildren(
      h("span", {}, said),
      button("Reload", () => location.reload()),
    );
    this.element.hidden = false;
  }
}

/** What to do about an error of connecting. */
export function advice(error: { code?: string }): string {
  if (error.code === "unauthorized")
    return "Run nrepl-py open in your project: it opens this page with the right token.";
  if (error.code === "unsupported-version") return "This page and the server are of different versions: reload it.";
  return "If the server was stopped, run nrepl-py open in your project.";
}
