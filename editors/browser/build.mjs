// Builds the page into a directory: `node build.mjs [DIRECTORY]`, by default where the server looks for it.
// The same sources and the same versions of what package.json names give the same bytes.
import { build } from "esbuild";
import { copyFile, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";

const HERE = fileURLToPath(new URL(".", import.meta.url));
const OUT = path.resolve(process.argv[2] ?? path.join(HERE, "../../nrepl_py/server/page"));

await mkdir(OUT, { recursive: true });
const options = { absWorkingDir: HERE, minify: true, charset: "utf8", logLevel: "warning", target: "es2022" };
const { metafile } = await build({
  ...options,
  entryPoints: ["src/main.ts"],
  metafile: true,
  outfile: path.join(OUT, "page.js"),
  bundle: true,
  format: "esm",
  legalComments: "none",
  tsconfigRaw: {},
});
await build({ ...options, entryPoints: ["static/page.css"], outfile: path.join(OUT, "page.css") });
for (const name of ["index.html", "frame.html"]) await copyFile(path.join(HERE, "static", name), path.join(OUT, name));

// Whose work is in the script, as their licenses ask for.
const packages = new Set(
  Object.keys(metafile.inputs).flatMap((file) => /^node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(file)?.[1] ?? []),
);
const notices = [...packages].sort().map(async (name) => {
  const directory = path.join(HERE, "node_modules", name);
  const { version, license } = JSON.parse(await readFile(path.join(directory, "package.json"), "utf8"));
  const file = (await readdir(directory)).find((one) => /^licen[sc]e/i.test(one));
  if (!file) throw new Error(`${name} has no license file`);
  return `${name} ${version} (${license})\n\n${(await readFile(path.join(directory, file), "utf8")).trim()}\n`;
});
await writeFile(path.join(OUT, "licenses.txt"), (await Promise.all(notices)).join(`\n${"-".repeat(72)}\n\n`));
