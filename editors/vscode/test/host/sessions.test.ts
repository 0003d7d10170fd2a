/** Sessions: interrupt, restart, branch, roll back, several of them, others in them, and their server's end. */
import * as assert from "node:assert/strict";
import * as vscode from "vscode";
import { client } from "./client";
import { evaluated, extension, inline, ran, script } from "./extension";
import { test } from "./testing";

/** Start what runs until it is interrupted, and interrupt it when it says that it runs. */
async function interrupted(...lines: string[]): Promise<string[]> {
  await evaluated("'there is a session'");
  const api = await extension();
  const other = await client();
  try {
    const session = other.session(api.session()!);
    const seen = await session.attach();
    const editor = await script("endless.py", ...lines);
    editor.selection = new vscode.Selection(0, 0, lines.length, 0);
    const ended = ran("runSelection");
    for await (const message of seen) if ("out" in message) break;
    await vscode.commands.executeCommand("nreplPy.interrupt");
    const { status } = await ended;
    // That is no mistake in the code.
    assert.deepEqual(vscode.languages.getDiagnostics(editor.document.uri), []);
    assert.equal((await inline(editor)).at(-1)?.text, "interrupted");
    return status;
  } finally {
    other.close();
  }
}

test("an endless loop is interrupted", async () => {
  assert.ok((await interrupted("print('on')", "while True: pass")).includes("interrupted"));
});

test("a flood of output is interrupted, and the next run is answered", async () => {
  assert.ok((await interrupted("while True: print('x' * 1000)")).includes("interrupted"));
  assert.equal((await evaluated("'still here'")).value, "'still here'");
});

test("what another client does in the session counts here, and the other way round", async () => {
  const api = await extension();
  const other = await client();
  try {
    const session = other.session(api.session()!);
    await session.eval("shared = 'from elsewhere'");
    assert.equal((await evaluated("shared")).value, "'from elsewhere'");
    await evaluated("shared = 'from here'");
    assert.equal((await session.eval("shared")).value, "'from here'");
  } finally {
    other.close();
  }
});

test("a branch has what its origin had, and rolling back returns to it", async () => {
  const api = await extension();
  await evaluated("kept = 'before'");
  const before = api.session();
  await vscode.commands.executeCommand("nreplPy.branch", "kept-so");
  await evaluated("kept = 'after'");
  await vscode.commands.executeCommand("nreplPy.rollback", "kept-so");
  assert.equal((await evaluated("kept")).value, "'before'");
  assert.equal(api.session(), before);
});

test("a branch is a session of its own to switch to and from", async () => {
  const api = await extension();
  const before = api.session()!;
  await vscode.commands.executeCommand("nreplPy.branch", "aside");
  await vscode.commands.executeCommand("nreplPy.pickSession", "aside");
  assert.notEqual(api.session(), before);
  assert.equal((await evaluated("kept")).value, "'before'");
  await evaluated("kept = 'aside'");
  await vscode.commands.executeCommand("nreplPy.pickSession", before);
  assert.equal((await evaluated("kept")).value, "'before'");
});

test("restarting leaves a fresh interpreter in the same session", async () => {
  const api = await extension();
  const before = api.session();
  await evaluated("gone = 1");
  await vscode.commands.executeCommand("nreplPy.restart");
  assert.equal((await evaluated("gone")).error?.type, "NameError");
  assert.equal(api.session(), before);
});

test("a crash of the interpreter is told, and the next run has a fresh one", async () => {
  const run = await evaluated("import os, signal", "os.kill(os.getpid(), signal.SIGKILL)");
  assert.ok(run.status.includes("session-died"), run.status.join());
  assert.equal((await evaluated("1 + 1")).value, "2");
});

test("a closed session is gone, and the next run has another", async () => {
  const api = await extension();
  const before = api.session()!;
  await vscode.commands.executeCommand("nreplPy.closeSession");
  const other = await client();
  try {
    const left = await other.listSessions();
    assert.ok(left.every(({ id }) => id !== before));
  } finally {
    other.close();
  }
  await script("again.py", "1");
  await vscode.commands.executeCommand("nreplPy.start");
  assert.equal((await evaluated("6 * 7")).value, "42");
  assert.notEqual(api.session(), before);
});
