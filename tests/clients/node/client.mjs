// A client in JavaScript: every kind of thing a session does, once.
//
//   npm install && node client.mjs CONNECTION-FILE
//
// It prints one line for each step and ends with status 1 at the first that does not go as
// protocol.md says. What sends and receives is in nrepl.mjs.

import assert from "node:assert/strict";
import { Connection, readConnectionFile } from "./nrepl.mjs";

const PATIENCE = 60_000; // milliseconds before a silent server is given up

async function hello(connection) {
  const reply = await connection.request("hello", { "client-name": "node-example" });
  const { min, max } = reply.get("protocol");
  assert(min <= 1 && max >= 1, `the server does not speak version 1 but ${min} to ${max}`);
  return `speaks protocol ${min} to ${max}`;
}

async function clone(connection) {
  const reply = await connection.request("clone");
  const session = reply.get("new-session");
  assert(session, "clone gave no session");
  return [session, `a session in Python ${reply.get("info").version}`];
}

async function evaluate(connection, session) {
  const code = "print('Grüße, 世界 🐍')\n'café'.upper()";
  const reply = await connection.request("eval", { session, code });
  assert.equal(reply.text("out"), "Grüße, 世界 🐍\n");
  assert.equal(reply.get("value"), "'CAFÉ'");
  return `printed ${reply.text("out").trim()}, value ${reply.get("value")}`;
}

async function error(connection, session) {
  const reply = await connection.request("eval", { session, code: "ratio = 1\nratio / 0", file: "/w/ratio.py" });
  const last = await reply.done;
  assert(last.status.includes("eval-error"), `an error ended with ${last.status}`);
  const { type, message, traceback } = reply.get("error");
  assert.equal(type, "ZeroDivisionError");
  assert.equal(traceback.at(-1).line, 2);
  assert.match(reply.text("err"), /^Traceback[^]*ZeroDivisionError: /);
  return `${type}: ${message}, in ${traceback.at(-1).file} line ${traceback.at(-1).line}`;
}

async function interrupt(connection, session) {
  const loop = connection.start("eval", { session, code: "ratio = 2\nprint('looping')\nwhile True: pass" });
  await loop.until((message) => message.out); // `started` comes earlier, before the first line has run
  const reply = await connection.request("interrupt", { session, "interrupt-id": loop.id });
  const last = await loop.done;
  assert(last.status.includes("interrupted"), `an interrupted eval ended with ${last.status}`);
  const after = await connection.request("eval", { session, code: "ratio" });
  assert.equal(after.get("value"), "2"); // what the eval had done is still there
  return `stopped by ${reply.get("stages").join(", ")}`;
}

async function stdin(connection, session) {
  const asks = connection.start("eval", { session, code: "input('name? ')" });
  const { prompt, password } = await asks.until((message) => message.status?.includes("need-input"));
  assert.deepEqual([prompt, password], ["name? ", false]);
  await connection.request("stdin", { session, stdin: "Zoë\n" });
  await asks.done;
  assert.equal(asks.get("value"), "'Zoë'");
  return `asked ${prompt.trim()} and got ${asks.get("value")}`;
}

async function close(connection, session) {
  const reply = await connection.request("close", { session });
  assert((await reply.done).status.includes("session-closed"), "close did not say session-closed");
  const refused = await connection.start("eval", { session, code: "1" }).done;
  assert.deepEqual(refused.status.slice(0, 2), ["error", "unknown-session"]);
  return "the session is gone";
}

async function main(path) {
  const say = (step, text) => console.log(`${step.padEnd(9)} ${text}`);
  const connection = await Connection.open(readConnectionFile(path));
  say("hello", await hello(connection));
  const [session, text] = await clone(connection);
  say("clone", text);
  say("eval", await evaluate(connection, session));
  say("error", await error(connection, session));
  say("interrupt", await interrupt(connection, session));
  say("stdin", await stdin(connection, session));
  say("close", await close(connection, session));
  connection.close();
}

function fail(reason) {
  console.error(`client.mjs: ${reason}`);
  process.exit(1);
}

if (process.argv.length !== 3) fail("usage: node client.mjs CONNECTION-FILE");
setTimeout(() => fail("the server did not answer in time"), PATIENCE).unref();
main(process.argv[2]).catch((error) => fail(error.message));
