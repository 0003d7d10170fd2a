import { EventEmitter } from "vscode";
import { describe, expect, it } from "vitest";
import type { StreamMessage } from "nrepl-py-client";
import { Runs, type NewRun, type Run } from "../../src/runs.js";
import type { LiveSession } from "../../src/session.js";
import { memory } from "./memory.js";

/** A session that says what it is told to. */
class FakeSession {
  readonly id = "s1";
  readonly messages = new EventEmitter<StreamMessage>();
  readonly ends = new EventEmitter<unknown>();
  readonly onMessage = this.messages.event;
  readonly onDidEnd = this.ends.event;
  readonly ready = Promise.resolve();
  seq = 7;
  state = "ready";
  refuse: (error: unknown) => void = () => {};
  #count = 0;

  eval(_code: string, _options: object, refused: (error: unknown) => void): string {
    this.refuse = refused;
    this.#count += 1;
    return `e${this.#count}`;
  }

  says(...messages: object[]): void {
    for (const message of messages) this.messages.fire(message as StreamMessage);
  }
}

const live = (session: FakeSession): LiveSession => session as unknown as LiveSession;

function wanted(line = 0): NewRun {
  return { kind: "text", uri: "file:///a.py", line, endLine: line, text: "x", code: "x", options: {} };
}

describe("a run", () => {
  it("takes what is said under its id, and ends with done", async () => {
    const session = new FakeSession();
    const runs = new Runs(memory());
    const done: Run[] = [];
    runs.onDone((run) => done.push(run));
    const run = runs.start(live(session), wanted());
    session.says(
      { id: "e1", seq: 8, started: {} },
      { id: "other", seq: 9, value: "no" },
      { id: "e1", seq: 10, value: "1", mime: { "text/html": "<b>1</b>" } },
      { id: "e1", seq: 11, status: ["done"] },
      { id: "e1", seq: 12, out: "late", late: true },
    );
    await run.over;
    expect(done).toEqual([run]);
    expect(run).toMatchObject({ value: "1", mime: { "text/html": "<b>1</b>" }, ok: true, isOver: true });
    expect(runs.open).toEqual([]);
  });

  it("that raised, was interrupted or died is not ok", () => {
    const session = new FakeSession();
    const runs = new Runs(memory());
    const endings = [
      { error: { type: "E" }, status: ["eval-error", "done"] },
      { status: ["interrupted", "done"] },
      { status: ["session-died", "done"] },
    ];
    for (const ending of endings) {
      const run = runs.start(live(session), wanted());
      session.says({ id: run.record.id, ...ending });
      expect(run.ok).toBe(false);
    }
  });

  it("that is refused, or whose session ends, fails", () => {
    const session = new FakeSession();
    const runs = new Runs(memory());
    const refused = runs.start(live(session), wanted());
    session.refuse(new Error("busy"));
    const lost = runs.start(live(session), wanted());
    session.ends.fire("the server has ended");
    expect([refused.failure, lost.failure]).toEqual([new Error("busy"), "the server has ended"]);
    expect(runs.open).toEqual([]);
  });
});

describe("after a reload", () => {
  it("runs are found again, and the stream is read from before the first", () => {
    const kept = memory();
    const before = new FakeSession();
    const first = new Runs(kept);
    first.start(live(before), wanted(0));
    before.seq = 20;
    first.start(live(before), wanted(5));

    const session = new FakeSession();
    const runs = new Runs(kept);
    const found: Run[] = [];
    runs.onStart((run) => found.push(run));
    expect(runs.since("s1")).toBe(7);
    expect(runs.since("another")).toBeUndefined();
    runs.restore(live(session));
    expect(found.map(({ record, isRestored }) => [record.line, isRestored])).toEqual([
      [0, true],
      [5, true],
    ]);
    session.says({ id: "e1", value: "42", status: ["done"] });
    expect(found[0]).toMatchObject({ value: "42", isOver: true });
    expect(runs.open).toEqual([found[1]]);
  });

  it("what the log no longer knows fails; what still waits does not", async () => {
    for (const [state, open] of [
      ["ready", 0],
      ["busy", 1],
    ] as const) {
      const kept = memory();
      new Runs(kept).start(live(new FakeSession()), wanted());
      const session = new FakeSession();
      session.state = state;
      const runs = new Runs(kept);
      runs.restore(live(session));
      await session.ready;
      await Promise.resolve();
      expect(runs.open).toHaveLength(open);
    }
  });

  it("those whose lines were run again, or that were forgotten, are not", () => {
    const kept = memory();
    const session = new FakeSession();
    const runs = new Runs(kept);
    runs.start(live(session), wanted(3));
    const again = runs.start(live(session), wanted(3));
    const gone = runs.start(live(session), wanted(9));
    runs.forget(gone);
    const later = new Runs(kept);
    later.restore(live(new FakeSession()));
    expect(later.open.map(({ record }) => record.id)).toEqual([again.record.id]);
  });
});
