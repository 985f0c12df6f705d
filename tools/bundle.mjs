// Puts what a command line loads into few files, dist/bundle/plinth.js first: half of the time of a short command, and
// much of a daemon's start, went into finding and opening some thousand modules. Workers stay as tsc made them: their
// constants, as modules of their own, are folded into the machine code of the data path. Runs after tsc.
import { chmod, readFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { rolldown } from "rolldown";
import { ROOT } from "./setup.mjs";

const DIST = join(ROOT, "dist");
const BUNDLE = join(DIST, "bundle");
/** Native code, and what looks for files beside itself. */
const OUTSIDE = /^(?:koffi|raw-socket|level|classic-level|@node-rs\/.*|pino|fastify)$/;

/** Of ours, every other module does nothing but define: a folder's index brings along only what is used of it. */
const IMPORTED_FOR_EFFECT = "/stack/api/reflect-metadata.js";
const BARE_IMPORT = /^import\s*["'](\.[^"']+)["']/gm;

/** A module that looks for files beside itself finds them beside what it was made of. */
const placeOfModules = {
  name: "place-of-modules",
  async load(id) {
    if (!id.startsWith(`${DIST}/`)) return null;
    const code = await readFile(id, "utf8");
    // What is imported for its effect and not named above would be left out without a word.
    for (const [, module] of code.matchAll(BARE_IMPORT))
      if (!join(id, "..", module).endsWith(IMPORTED_FOR_EFFECT))
        throw new Error(
          `${relative(DIST, id)} imports ${module} for its effect: name it in tools/bundle.mjs`,
        );
    const place = `new URL(${JSON.stringify(`./${relative(BUNDLE, id)}`)}, import.meta.url).href`;
    return { code: code.replaceAll("import.meta.url", place) };
  },
};

const bundle = await rolldown({
  input: { plinth: join(DIST, "stack", "cli", "main.js") },
  platform: "node",
  external: OUTSIDE,
  plugins: [placeOfModules],
  treeshake: { moduleSideEffects: (id) => !id.startsWith(`${DIST}/`) || id.endsWith(IMPORTED_FOR_EFFECT) },
  logLevel: "warn",
});
await bundle.write({ dir: BUNDLE, format: "esm", cleanDir: true, minify: false });
await bundle.close();
// `npx plinth` links to it once, and runs what is there ever after: npm makes it executable only then.
await chmod(join(BUNDLE, "plinth.js"), 0o755);
