/**
 * The page begins: with a token from the address's fragment, which no server is sent and which is gone from the
 * address bar before anything else happens; or from before this tab was loaded again; or from who is asked for it.
 */
import { advice, run } from "./app.ts";
import { h } from "./dom.ts";
import { keep, kept } from "./kept.ts";

const given = new URLSearchParams(location.hash.slice(1));
if (location.hash) history.replaceState(null, "", location.pathname);
addEventListener("hashchange", () => location.reload()); // another token was pasted into the address bar: see below

const root = h("div", { id: "root" });
document.body.append(root);
void begin(given.get("token") ?? kept("token"));

async function begin(token: string | undefined): Promise<void> {
  if (!token) return ask();
  keep("token", token);
  root.replaceChildren(
    h("main", { class: "door" }, h("h1", {}, "nrepl-py"), h("p", { role: "status" }, "Connecting …")),
  );
  try {
    await run({ token, session: given.get("session") ?? undefined }, root);
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    if (code === "unauthorized") keep("token", undefined);
    ask(`${message.replace(/\.?$/, ".")} ${advice({ ...(code ? { code } : {}) })}`);
  }
}

/** Ask for the token, and say why. */
function ask(why?: string): void {
  const input = h("input", { id: "token", type: "password", autocomplete: "off", required: true });
  const form = h(
    "form",
    {
      onsubmit: (event: Event) => {
        event.preventDefault();
        void begin(input.value.trim());
      },
    },
    h("label", { for: "token" }, "The server’s token"),
    input,
    h("button", { type: "submit" }, "Connect"),
  );
  const hint = "nrepl-py open shows this page with its token; it is also in the server’s connection file.";
  root.replaceChildren(
    h(
      "main",
      { class: "door" },
      h("h1", {}, "nrepl-py"),
      why ? h("p", { role: "alert" }, why) : undefined,
      form,
      h("p", {}, hint),
    ),
  );
  input.focus();
}
