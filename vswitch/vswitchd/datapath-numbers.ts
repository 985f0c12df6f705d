// The numbers that ports have in their datapath, which spans bridges: what ofproto/trace, dpif/show and dpctl call a port.
// Source: what ovs-vswitchd does with dummy datapaths: the number that the name holds, from 100 up for names that begin
// with "br", else the first that is free. Thread: main.

interface Place {
  readonly bridge: string;
  readonly name: string;
}

export class DatapathNumbers {
  /** By datapath, then by number. */
  readonly #places = new Map<string, Map<number, Place>>();
  readonly #numbers = new Map<string, number>();

  assign(datapath: string, place: Place): number {
    const taken = this.#places.get(datapath) ?? new Map<number, Place>();
    this.#places.set(datapath, taken);
    const number = choose(place.name, taken);
    taken.set(number, place);
    this.#numbers.set(keyOf(place), number);
    return number;
  }

  release(datapath: string, place: Place): void {
    const number = this.#numbers.get(keyOf(place));
    if (number === undefined) return;
    this.#numbers.delete(keyOf(place));
    this.#places.get(datapath)?.delete(number);
  }

  /** Undefined for ports that have none, as patch ports. */
  of(bridge: string, name: string): number | undefined {
    return this.#numbers.get(keyOf({ bridge, name }));
  }

  /** The port with this number; of any datapath when none is named. */
  find(datapath: string | undefined, number: number): Place | undefined {
    for (const [name, places] of this.#places) {
      const place = datapath === undefined || datapath === name ? places.get(number) : undefined;
      if (place !== undefined) return place;
    }
    return undefined;
  }
}

const BRIDGES_FROM = 100;
const NUMBER_MAX = 0xffff;

function choose(name: string, taken: ReadonlyMap<number, unknown>): number {
  const digits = /\d+/.exec(name)?.[0];
  if (digits !== undefined) {
    const number = (name.startsWith("br") ? BRIDGES_FROM : 0) + Number(digits);
    if (number > 0 && number < NUMBER_MAX && !taken.has(number)) return number;
  }
  let next = 1;
  while (taken.has(next)) next++;
  return next;
}

function keyOf({ bridge, name }: Place): string {
  return `${bridge}/${name}`;
}
