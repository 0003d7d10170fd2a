// What needs no page: lines, colours, and cells from messages.
import assert from "node:assert/strict";
import { test } from "node:test";
import { build } from "esbuild";
import { fileURLToPath } from "node:url";

const built = await build({
  stdin: {
    contents: 'export * from "./src/lines.ts"; export * from "./src/transcript.ts";',
    resolveDir: fileURLToPath(new URL("..", import.meta.url)),
  },
  bundle: true,
  format: "esm",
  write: false,
  tsconfigRaw: {},
});
const { Lines, MAX_LINES, Transcript, plain } = await import(
  `data:text/javascript;base64,${Buffer.from(built.outputFiles[0].text).toString("base64")}`
);

function lines(...texts) {
  const lines = new Lines();
  for (const text of texts) lines.append(text);
  return lines;
}

test("text comes in any pieces", () => {
  const text = "one\ntwo\r\n\nfour";
  const whole = lines(text);
  assert.equal(whole.length, 4);
  assert.equal(whole.text(), "one\ntwo\n\nfour");
  assert.equal(lines(...text).text(), whole.text());
});

test("a carriage return begins the line anew, in any pieces", () => {
  for (const [text, shown] of [
    ["10%\r20%\r30%\n", "30%\n"],
    ["long line\rshort", "shortline"],
    ["a\rb\r\nc", "b\nc"],
    ["abc\b\bX", "aX"],
  ]) {
    assert.equal(lines(text).text(), shown);
    assert.equal(lines(...text).text(), shown);
  }
});

test("colours go on over lines and pieces until they end", () => {
  for (const made of [lines("\x1b[31mred\nred too\x1b[0m plain"), lines("\x1b[3", "1mred\nred", " too\x1b[0m plain")]) {
    assert.deepEqual(made.line(0), [{ text: "red", style: { fg: 1 } }]);
    assert.deepEqual(made.line(1)[0].style, { fg: 1 });
    assert.deepEqual(made.line(1).at(-1), { text: " plain", style: {} });
  }
  const style = (codes) => lines(`\x1b[${codes}mx`).line(0)[0].style;
  assert.deepEqual(style("1;38;5;196;48;2;1;2;3"), { bold: true, fg: "rgb(255 0 0)", bg: "rgb(1 2 3)" });
  assert.deepEqual(style("94;7"), { fg: 12, inverse: true });
  assert.deepEqual(style("1;22"), {});
});

test("what is no colour is not shown", () => {
  assert.equal(plain(lines("a\x1b[2Kb\x1b]0;title\x07c\x1b(Bd\x00e").line(0)), "abcde");
});

test("both streams in one order", () => {
  const both = new Lines();
  both.append("out ");
  both.append("err", true);
  both.append(" out\n");
  assert.deepEqual(
    both.line(0).map(({ text, style }) => [text, style.err ?? false]),
    [
      ["out ", false],
      ["err", true],
      [" out", false],
    ],
  );
});

test("a line without end, and lines without end", () => {
  const long = lines("x".repeat(100_000));
  assert.ok(long.length > 1);
  const many = lines("x\n".repeat(MAX_LINES + 10));
  assert.ok(many.length <= MAX_LINES);
  assert.equal(many.length + many.dropped, MAX_LINES + 10);
});

function transcript() {
  const said = [];
  const nothing = () => {};
  const watcher = { added: nothing, changed: nothing, removed: nothing, clients: nothing, closed: nothing };
  return { said, transcript: new Transcript({ ...watcher, note: (text) => said.push(text) }, "me") };
}

test("cells of mine, of others, and of what was said before", () => {
  const { transcript: all } = transcript();
  const mine = all.asked("1", "x");
  all.take({ id: "1", started: { code: "x", file: null, line: 1, client: "me" } });
  assert.equal(all.open, mine);
  all.take({ id: "1", value: "7", status: ["done"] });
  all.take({ id: "2", started: { code: "y", file: null, line: 1, client: "emacs" } });
  all.take({ id: "3", out: "its beginning is gone" });
  assert.deepEqual(
    all.cells.map(({ code, by, state }) => [code, by, state]),
    [
      ["x", undefined, "done"],
      ["y", "emacs", "running"],
      ["", undefined, "running"],
    ],
  );
});

test("a display is replaced where it stands, and cleared", () => {
  const { transcript: all } = transcript();
  const cell = all.asked("1", "x");
  all.take({ id: "1", display: { mime: { "text/plain": "one" }, "display-id": "d" } });
  all.take({ id: "2", display: { mime: { "text/plain": "two" }, "display-id": "d", update: true } });
  assert.equal(cell.parts[0].mime["text/plain"], "two");
  all.take({ id: "1", display: { mime: {}, clear: true } });
  assert.deepEqual(cell.parts, []);
});

test("how it ended, and what is gone", () => {
  const { said, transcript: all } = transcript();
  const cell = all.asked("1", "x");
  all.take({ id: "1", status: ["session-died", "done"], cause: { kind: "signal", signal: "SIGSEGV" } });
  assert.deepEqual([cell.outcome, cell.failed], ["its process died (signal, SIGSEGV)", true]);
  all.take({ status: ["replay-gap"], missing: [3, 5] });
  assert.deepEqual(said, ["3 messages are gone: the server's log no longer had them."]);
});

test("the oldest cells go", () => {
  const { transcript: all } = transcript();
  for (let n = 0; n < 1000; n++) {
    all.asked(`${n}`, "x");
    all.take({ id: `${n}`, status: ["done"] });
  }
  assert.ok(all.cells.length < 1000);
  assert.equal(all.cells.at(-1).id, "999");
});
