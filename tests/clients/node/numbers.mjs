// Real numerical work from JavaScript, in an environment that knows nothing of nrepl-py:
//
//   node numbers.mjs CONNECTION-FILE PYTHON PNG
//
// runs oscillation.py in a session of that PYTHON (a virtual environment's, with numpy and
// matplotlib), checks that the fit found what was simulated, prints it as JSON on one line, and
// writes the figure to PNG. The script never calls `show()`: open figures come as a `display`
// message at the end of the eval.

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { Connection, readConnectionFile } from "./nrepl.mjs";

const SCRIPT = new URL("oscillation.py", import.meta.url);
const PATIENCE = 100_000; // milliseconds; matplotlib looks for the machine's fonts when first imported

async function runScript(connection, session) {
  const code = readFileSync(SCRIPT, "utf8");
  const options = { session, file: SCRIPT.pathname, values: "last", data: true };
  const run = await connection.request("load-file", { ...options, code });
  const { status } = await run.done;
  assert.deepEqual(status, ["done"], `the script failed:\n${run.text("err")}`);
  return run;
}

function checkFit({ true: simulated, fitted, errors }) {
  for (const [name, value] of Object.entries(simulated)) {
    const off = Math.abs(fitted[name] - value) / errors[name];
    assert(off < 5, `${name} is ${fitted[name]} and should be ${value}: ${off.toFixed(1)} standard errors off`);
  }
}

// The only figure of the run, as the bytes of its file.
function figure(run) {
  const figures = run.messages.map((message) => message.display?.mime["image/png"]).filter(Boolean);
  assert.equal(figures.length, 1, "there should be one figure");
  return Buffer.from(figures[0], "base64");
}

async function main(path, python, png) {
  const connection = await Connection.open(readConnectionFile(path));
  const clone = await connection.request("clone", { python });
  const session = clone.get("new-session");
  const run = await runScript(connection, session);
  process.stderr.write(run.text("out"));
  checkFit(run.get("data"));
  writeFileSync(png, figure(run));
  await connection.request("close", { session });
  connection.close();
  console.log(JSON.stringify({ ...run.get("data"), info: clone.get("info") }));
}

function fail(reason) {
  console.error(`numbers.mjs: ${reason}`);
  process.exit(1);
}

if (process.argv.length !== 5) fail("usage: node numbers.mjs CONNECTION-FILE PYTHON PNG");
setTimeout(() => fail("the server did not answer in time"), PATIENCE).unref();
main(...process.argv.slice(2)).catch((error) => fail(error.message));
