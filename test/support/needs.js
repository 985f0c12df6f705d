// Tests that cannot run everywhere. They are never left out in silence: the closing lines of `npm test` name each one
// that did not run with what it needs.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { currentUid, hasAesXts } from "../../base/linux/index.js";
import { ROOT } from "./run.js";
/** Options for test() or describe(): runs where we are root. */
export const needsRoot = needs("root", currentUid() === 0);
/** Options for tests of what calls OpenSSL's functions inside Node. */
export const needsOpenSsl = needs("a Node that shows OpenSSL's functions", hasAesXts());
const VECTORS = join(ROOT, "..", "shared", "conformance");
/** Options for tests that read the packet vectors, which are not part of the project. */
export function needsVectors(file) {
  return needs(`../shared/conformance/${file}`, existsSync(join(VECTORS, file)));
}
/** CI has everything: there, what is missing is a failure. */
function needs(what, here) {
  if (!here && process.env["CI"] === "true" && what !== "root") throw new Error(`CI needs ${what}`);
  return { skip: !here, meta: { needs: what } };
}
//# sourceMappingURL=needs.js.map
