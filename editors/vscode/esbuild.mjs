// Builds dist/extension.js for the desktop and remote hosts, and dist/web.js for browsers; the client of the protocol comes along.
import { build } from "esbuild";
import { fileURLToPath } from "node:url";

const options = {
  absWorkingDir: fileURLToPath(new URL(".", import.meta.url)),
  bundle: true,
  format: "cjs",
  external: ["vscode"],
  target: "es2022",
  charset: "utf8",
  minify: true,
  keepNames: true,
  logLevel: "warning",
};

await Promise.all([
  build({
    ...options,
    entryPoints: ["src/extension.ts"],
    outfile: "dist/extension.js",
    platform: "node",
    external: ["vscode", "bufferutil", "utf-8-validate"],
  }),
  build({ ...options, entryPoints: ["src/web.ts"], outfile: "dist/web.js", platform: "browser" }),
]);
