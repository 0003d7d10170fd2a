import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const here = (file: string): string => fileURLToPath(new URL(file, import.meta.url));

export default defineConfig({
  resolve: {
    alias: { "nrepl-py-client": here("../client-js/src/index.ts"), vscode: here("test/unit/vscode.ts") },
  },
  test: { include: ["test/unit/*.test.ts"], testTimeout: 60_000 }, // against what hangs; a machine may be busy
});
