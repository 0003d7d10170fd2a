/**
 * Tests inside VS Code's extension host: `test` names one, `run` (which VS Code calls) runs them in order and says on the
 * console how each went. VS Code ends with the exit code 1 if one failed.
 */

/** Milliseconds for what takes less than a second where nothing else runs. */
const PATIENCE = 60_000;

const tests: { name: string; body: () => Promise<void> }[] = [];

/** A test; those before it have run, and its own things it removes itself. */
export function test(name: string, body: () => Promise<void>): void {
  tests.push({ name, body });
}

/** Run those whose name matches `$ONLY`, all by default. */
export async function run(): Promise<void> {
  const chosen = tests.filter(({ name }) => new RegExp(process.env["ONLY"] ?? "").test(name));
  let failures = 0;
  for (const { name, body } of chosen) {
    const began = Date.now();
    try {
      await within(2 * PATIENCE, name, body());
      console.log(`passed: ${name} (${Date.now() - began} ms)`);
    } catch (error) {
      failures++;
      console.log(`failed: ${name}: ${error instanceof Error ? error.stack : error}`);
    }
  }
  if (failures > 0) throw new Error(`${failures} of ${chosen.length} tests failed`);
}

/** Wait until the condition gives something, and return that. `what` is said where it does not. */
export async function until<T>(what: string, condition: () => T | Promise<T>): Promise<Exclude<NonNullable<T>, false>> {
  const deadline = Date.now() + PATIENCE;
  for (;;) {
    const found = await condition();
    if (found) return found as Exclude<NonNullable<T>, false>;
    if (Date.now() > deadline) throw new Error(`waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20)); // between two looks
  }
}

/** What that promise gives, unless it takes too long. */
export async function within<T>(milliseconds: number, what: string, promise: Thenable<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`took too long: ${what}`)), milliseconds);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
