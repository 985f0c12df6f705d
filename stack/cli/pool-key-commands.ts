// `plinth pool rekey|unlock`: the key that the keys of encrypted volumes are wrapped by. Thread: main.
import { resolve } from "node:path";
import type { Command } from "commander";
import { PlinthError } from "../../base/errors/index.js";
import type { PoolView } from "../../storage-pool/index.js";
import { show } from "./output.js";
import { askPassphrase } from "./secret.js";
import { call, type Flags, type Params, withFlags } from "./storage-call.js";

interface RekeyFlags extends Flags {
  readonly keyFile?: string;
  readonly passphraseFile?: string;
  readonly passphrase: boolean;
}

export function registerPoolKeys(pool: Command): void {
  withFlags(
    pool
      .command("rekey <name>")
      .description("give a pool its key for encrypted volumes, or another one; data stays as it is")
      .option("--key-file <path>", "32 bytes or 64 hexadecimal digits, mode 0600; made when not there")
      .option("--passphrase-file <path>", "a passphrase in a file of mode 0600, read at each start")
      .option("--passphrase", "type it; it is asked for after each start (`plinth pool unlock`)", false),
  ).action(async (name: string, flags: RekeyFlags) => {
    const params = { name, ...(await sourceOf(flags)) };
    const made = (await call(flags, "pool.rekey", params)) as PoolView;
    show(flags, made, () => `the keys of pool ${name} are wrapped by ${sourceText(made)}`);
  });
  withFlags(
    pool
      .command("unlock <name>")
      .description("make the encrypted volumes of a pool usable by its passphrase, or its key file"),
  ).action(async (name: string, flags: Flags) => {
    const pools = (await call(flags, "pool.list", {})) as PoolView[];
    const key = pools.find((each) => each.name === name)?.key;
    const typed = key?.kind === "passphrase" && key.locked !== undefined;
    const passphrase = typed ? { passphrase: await askPassphrase(`passphrase of ${name}`, false) } : {};
    const made = (await call(flags, "pool.unlock", { name, ...passphrase })) as PoolView;
    show(flags, made, () => `pool ${name} is unlocked`);
  });
}

/** "key file /k", for people. */
export function sourceText({ key }: PoolView): string {
  if (key === undefined) return "no key";
  if (key.kind === "file") return `the key file ${key.path}`;
  return key.path === "" ? "a passphrase" : `the passphrase in ${key.path}`;
}

async function sourceOf({ keyFile, passphraseFile, passphrase }: RekeyFlags): Promise<Params> {
  const given = [keyFile, passphraseFile, passphrase || undefined].filter((each) => each !== undefined);
  if (given.length !== 1) {
    throw new PlinthError("PARAMETER_INVALID", "where the new key comes from has to be said in one way", {
      field: "--key-file",
      remedy: "give one of --key-file, --passphrase-file and --passphrase",
    });
  }
  if (keyFile !== undefined) return { keyFile: resolve(keyFile) };
  if (passphraseFile !== undefined) return { passphraseFile: resolve(passphraseFile) };
  return { passphrase: await askPassphrase("new passphrase", true) };
}
