// The words behind a dpctl command: options, the datapath's name, and what is left. Pure.
// Source: ovs-dpctl(8); which word is a name, and errors, as Open vSwitch 3.1 has them.

/** Names that the datapaths have, here and in Open vSwitch: connections are tracked for all of them together. */
const DATAPATHS = /^((netdev|system|dummy)@)?ovs-(netdev|system|dummy)$|^(netdev@)?plinth$/;
const OPTIONS: Readonly<Record<string, string>> = {
  "-m": "m",
  "--more": "m",
  "-s": "s",
  "--statistics": "s",
  "--names": "names",
  "--no-names": "no-names",
  // Nothing is zeroed or made by the commands that are there.
  "--clear": "clear",
  "--may-create": "may-create",
};

export interface DpctlArguments {
  /** `m`, `s`, `names` …, by their long forms where there is no short one. */
  readonly options: ReadonlySet<string>;
  readonly words: readonly string[];
}

/**
 * Takes options and the datapath's name away. As many words as the command may have, name and all, begin with a name;
 * fewer do when they begin with a known one. Throws an Error for an unknown option or name.
 */
export function sortArguments(args: readonly string[], wordsMax: number): DpctlArguments {
  const { options, words } = sortOptions(args);
  const [first] = words;
  if (first !== undefined && DATAPATHS.test(first)) return { options, words: words.slice(1) };
  if (words.length > 0 && words.length >= wordsMax) throw unknownDatapath();
  return { options, words };
}

/** Takes options away, wherever they stand. Throws an Error for an unknown one. */
export function sortOptions(args: readonly string[]): DpctlArguments {
  const options = new Set<string>();
  const words: string[] = [];
  for (const one of args) {
    if (!one.startsWith("-")) words.push(one);
    else if (OPTIONS[one] !== undefined) options.add(OPTIONS[one]);
    else {
      const wrong = one.startsWith("--") ? one : /[^ms]/.exec(one.slice(1))?.[0];
      if (wrong !== undefined)
        throw new Error(`Unrecognized option ${wrong === one ? one.slice(0, 60) : `-${wrong}`}`);
      for (const letter of one.slice(1)) options.add(letter);
    }
  }
  return { options, words };
}

export function unknownDatapath(): Error {
  return new Error("datapath not found (Invalid argument)");
}

/** A number in decimal, up to `max`; undefined when it is none. */
export function readNumber(text: string | undefined, max: number): number | undefined {
  if (text === undefined || !/^\+?\d{1,10}$/.test(text) || Number(text) > max) return undefined;
  return Number(text);
}
