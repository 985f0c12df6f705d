// A folder that a guest can chroot into: programs of this machine with the libraries that they are linked with.
import { copyFileSync, mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { runOk } from "./run.js";

/** Puts the program into `root` as /usr/bin/`name`, and its libraries where they are here. */
export async function copyProgram(root: string, name: string): Promise<void> {
  const program = (await runOk("which", [name])).trim();
  const linked = [...(await runOk("ldd", [program])).matchAll(/(\/\S+) \(0x/g)].map(
    ([, path]) => path as string,
  );
  for (const [from, to] of [[program, `/usr/bin/${name}`], ...linked.map((path) => [path, path])]) {
    const target = join(root, to as string);
    mkdirSync(dirname(target), { recursive: true });
    copyFileSync(from as string, target);
  }
}
