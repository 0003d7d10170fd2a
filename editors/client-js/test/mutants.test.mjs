// The schedules are worth what they catch: each of these faults in the sans-I/O part must fail one of them.
import assert from "node:assert/strict";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { schedule } from "./schedule.mjs";

const BUILT = fileURLToPath(new URL("../dist", import.meta.url));
const SCHEDULES = 3000; // as many as connection.test.mjs runs

/** [what is wrong, the module, what stands there, what stands there instead] */
const MUTANTS = [
  ["repeats are taken", "connection", "if (seq <= stream.seen)", "if (seq < 0)"],
  ["the number seen is forgotten", "connection", "stream.seen = seq;", ""],
  ["a hole is not noticed", "connection", "if (stream.contiguous && seq > stream.seen + 1)", "if (false)"],
  ["evals wait for no answer to attach", "connection", "entry.sent || this.#streamOf(entry)?.resuming", "entry.sent"],
  [
    "an eval is sent again after a gap",
    "connection",
    "entry.doubtful || (gap && !entry.heard)",
    "entry.heard && entry.doubtful",
  ],
  [
    "only the last attempt's gap counts",
    "requests",
    "this.#doubt = { ...gap",
    "if (this.heard) this.#doubt = { ...gap",
  ],
  [
    "an eval whose end is in a gap waits for ever",
    "connection",
    "entry.doubtful || (gap && !entry.heard)",
    "gap && !entry.heard",
  ],
  ["an eval that was not heard is not sent again", "connection", "entry.sent = entry.accepted;", "entry.sent = true;"],
  ["duplicate-id refuses what arrived", "connection", "return (entry.accepted = true);", "return false;"],
  [
    "done does not end",
    "connection",
    'if (message.status?.includes("done"))\n            this.#end(entry.id);\n    }\n    #happened',
    "}\n    #happened",
  ],
  ["an answer to input is lost with its connection", "requests", "this.answers !== undefined ||", ""],
  ["an answer is given twice", "connection", "if (!this.#requests.isAwaited(entry))", "if (false)"],
  ["an answer goes to another question", "requests", "&& asked.question === answer.question", ""],
  ["a question in a gap is not repeated", "connection", "if (entry.waits === waits)", "if (true)"],
  ["a replay begins where the latest follower stands", "stream", "Math.min(...cursors)", "Math.max(...cursors)"],
  [
    "live messages are taken for the replay",
    "stream",
    "if (this.seeking && early && seq !== cursor + 1)",
    "if (false)",
  ],
  [
    "two attaches at a time",
    "connection",
    'if (this.#phase !== "up" || stream.moving)',
    'if (this.#phase !== "up" || stream.resuming)',
  ],
  [
    "it detaches while evals depend on it",
    "connection",
    "needed || this.#evals(stream).some((entry) => entry.again)",
    "needed",
  ],
  ["a follower is told of no gap", "stream", "this.follower.gap(this.cursor + 1, to);", ""],
];

for (const [name, module, sound, faulty] of MUTANTS) {
  test(`caught: ${name}`, async (t) => {
    const home = mkdtempSync(path.join(tmpdir(), "njs-"));
    t.after(() => rmSync(home, { recursive: true }));
    cpSync(BUILT, home, { recursive: true });
    writeFileSync(path.join(home, "package.json"), '{"type": "module"}');
    const file = path.join(home, "client-js", "src", `${module}.js`);
    const source = readFileSync(file, "utf8");
    assert.equal(source.split(sound).length, 2, "what is to be wrong stands there once");
    writeFileSync(
      file,
      source.replace(sound, () => faulty),
    );
    const { Connection } = await import(pathToFileURL(path.join(home, "client-js", "src", "connection.js")));
    assert.throws(() => {
      for (let seed = 1; seed <= SCHEDULES; seed += 1) schedule(seed, Connection);
    }, "no schedule fails");
  });
}
