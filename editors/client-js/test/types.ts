// What the compiler must accept, and what it must refuse, of those who use the package.
import * as msgpack from "@msgpack/msgpack";
import WebSocketOfNode from "ws";
import {
  connect,
  NreplError,
  type Completion,
  type EvalMessage,
  type EvalResult,
  type SessionEvent,
  type StreamMessage,
} from "nrepl-py-client";
import { Connection } from "nrepl-py-client/connection";
import { PROTOCOL_VERSION, type EvalRequest } from "nrepl-py-client/protocol";

export async function use(url: string): Promise<void> {
  const platform = await connect({
    url,
    token: "t",
    msgpack,
    onEvent: (event) => void (event.event satisfies SessionEvent["event"] | undefined),
  });
  const client = await connect({ url, WebSocket: WebSocketOfNode, retry: { total: 60 } });
  await connect({ url, WebSocket });
  const session = await client.clone({ name: "work", inheritEnv: ["HOME"], limits: { "memory-bytes": 1 << 30 } });
  const run = session.eval("1", {
    killAfter: 1,
    storeHistory: false,
    values: "all",
    onInput: async ({ prompt, password }) => prompt + String(password),
  });
  for await (const message of run) message satisfies EvalMessage;
  const result: EvalResult = await run;
  result.value satisfies string | undefined;
  const promise: Promise<EvalResult> = session.eval("1");
  await Promise.all([promise, platform.eval("2").check()]);
  const completions: Completion[] = await session.completions("os.pa", 3, { module: "auto" });
  completions[0]?.candidate satisfies string | undefined;
  (await run.interrupt({ killAfter: 1 })).stages satisfies ("cancel" | "sigint" | "kill")[];
  (await session.restart()).epoch satisfies number;
  const attached = session.attach({ since: 0 });
  (await attached.ready)["last-seq"] satisfies number;
  for await (const message of attached) message satisfies StreamMessage;
  (await client.request("describe")).limits satisfies Record<string, unknown>;
  (await client.request("an-op-to-come", { anything: 1 })).id satisfies string | undefined;
  await session.stdin("").catch((error: unknown) => error instanceof NreplError && error.code === "session-closed");
  const request: EvalRequest = { op: "eval", id: "1", code: "1" };
  PROTOCOL_VERSION satisfies 1;
  new Connection("p", {}, { ready() {}, refused() {}, event() {}, other() {}, lost() {} }).request(
    request.op,
    {},
    { message() {}, end() {} },
  );

  // @ts-expect-error: it is killAfter
  session.eval("1", { "kill-after": 1 });
  // @ts-expect-error: and a number
  session.eval("1", { killAfter: "1" });
  // @ts-expect-error: the code is the first argument
  session.eval("1", { code: "2" });
  // @ts-expect-error: one of three
  session.eval("1", { values: "some" });
  // @ts-expect-error: a URL is needed
  await connect({ token: "t" });
}
