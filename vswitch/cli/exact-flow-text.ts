// A packet as a flow: "tcp,in_port=1,tcp_flags=syn|ack", as ofproto/trace takes it. Every field has one value, and stands
// behind what it needs; one that is not 0 is said once. Pure.
// Source: ovs-vswitchd(8), ofproto/trace; the wording is that of ovs-vswitchd.
import { PlinthError } from "../../base/errors/index.js";
import {
  inWireOrder,
  type Match,
  OXM_FIELDS,
  type OxmEntry,
  type OxmField,
  type OxmFieldName,
  prerequisiteHolds,
} from "../../base/openflow/index.js";
import { flowTextError } from "./errors.js";
import { type PortNumbers, readFieldText } from "./field-reader.js";
import { bytesToNumber, fieldNamed, isFieldName, numberToBytes } from "./field-text.js";
import { flagsOf } from "./flag-text.js";
import { splitKeyValues } from "./key-values.js";
import { PROTOCOLS } from "./protocol-text.js";

const TCI_PRESENT = 0x1000n;
const VID = 0xfffn;
/** "No tag", as OpenFlow 1.0 says it. */
const VLAN_NONE = 0xffffn;
const FIELD_WORDS: Readonly<Record<string, OxmFieldName>> = {
  ip_src: "ipv4_src",
  ip_dst: "ipv4_dst",
  tun_id: "tunnel_id",
  tunnel_id: "tunnel_id",
  nw_frag: "ip_frag",
  tp_src: "tcp_src",
  tp_dst: "tcp_dst",
  nw_tos: "ip_tos",
};
/** Parts of the tag: what of its 16 bits each has. */
const TAG_PARTS: Readonly<Record<string, bigint>> = {
  vlan_tci: 0xffffn,
  dl_vlan: VID,
  dl_vlan1: VID,
  vlan_vid: TCI_PRESENT | VID,
  dl_vlan_pcp: 0xe000n,
  vlan_pcp: 0xe000n,
};
/** Registers by the first and the number of those of 32 bits that they are. */
const REGISTER = /^(x{0,2})reg(\d+)$/;
const WIDTHS: Readonly<Record<string, number>> = { "": 1, x: 2, xx: 4 };
const NO_PORT = numberToBytes(0xffffffffn, 4);

/** Throws FLOW_TEXT_INVALID with what stands behind "Bad openflow flow syntax: FLOW: ". */
export function parseExactFlow(text: string, ports?: PortNumbers): Match {
  const flow = new ExactFlow(ports);
  for (const { key, value } of splitKeyValues(text)) if (!flow.takeProtocol(key)) flow.takeField(key, value);
  return flow.match();
}

class ExactFlow {
  readonly #ports: PortNumbers | undefined;
  readonly #entries = new Map<OxmFieldName, OxmEntry>();
  #tci = 0n;

  constructor(ports: PortNumbers | undefined) {
    this.#ports = ports;
  }

  takeProtocol(word: string): boolean {
    const protocol = Object.hasOwn(PROTOCOLS, word) ? PROTOCOLS[word] : undefined;
    if (protocol === undefined) return false;
    if (this.#number("eth_type") !== 0n) throw flowTextError("Ethernet type set multiple times");
    this.#set("eth_type", numberToBytes(BigInt(protocol[0]), 2));
    if (protocol[1] === undefined) return true;
    if (this.#number("ip_proto") !== 0n) throw flowTextError("network protocol set multiple times");
    this.#set("ip_proto", Uint8Array.of(protocol[1]));
    return true;
  }

  takeField(key: string, text: string): void {
    const part = Object.hasOwn(TAG_PARTS, key) ? TAG_PARTS[key] : undefined;
    if (part !== undefined) {
      this.#takeTag(key, part, text);
      return;
    }
    const field = fieldOf(key);
    if (field === undefined) throw flowTextError(`unknown field ${key}`);
    if (!prerequisiteHolds(field.prerequisite, this.#all()))
      throw flowTextError(`prerequisites not met for setting ${key}`);
    if (this.#isSet(field.name)) throw flowTextError(`field ${key} set multiple times`);
    this.#put(
      field.name,
      told(key, () => exactValue(field, text, this.#ports)),
    );
  }

  #takeTag(key: string, part: bigint, text: string): void {
    const name = key === "vlan_pcp" ? "dl_vlan_pcp" : key;
    if (key === "vlan_pcp" && (this.#tci & TCI_PRESENT) === 0n)
      throw flowTextError(`prerequisites not met for setting ${key}`);
    if ((this.#tci & part) !== 0n) throw flowTextError(`field ${key} set multiple times`);
    const value = told(key, () => tagValue(name, text));
    if (name === "vlan_tci") this.#tci = value;
    else if (name === "vlan_vid") this.#tci = (this.#tci & ~part) | (value & part);
    else if (name === "dl_vlan_pcp") this.#tci = (this.#tci & ~part) | ((value & 7n) << 13n) | TCI_PRESENT;
    else if (value === VLAN_NONE) this.#tci = 0n;
    else this.#tci = (this.#tci & ~VID) | (value & VID) | TCI_PRESENT;
  }

  /** The fields as a packet has them. */
  match(): Match {
    const port = this.#number("in_port") === 0n ? [{ field: "in_port", value: NO_PORT } as const] : [];
    return inWireOrder([
      ...this.#all().filter(({ field }) => port.length === 0 || field !== "in_port"),
      ...port,
    ]);
  }

  #all(): OxmEntry[] {
    const tag: OxmEntry[] =
      (this.#tci & TCI_PRESENT) === 0n
        ? []
        : [
            { field: "vlan_vid", value: numberToBytes(this.#tci & (TCI_PRESENT | VID), 2) },
            { field: "vlan_pcp", value: numberToBytes(this.#tci >> 13n, 1) },
          ];
    return [...this.#entries.values(), ...tag];
  }

  #isSet(name: OxmFieldName): boolean {
    const register = REGISTER.exec(name);
    if (register !== null) return registersOf(register).some((one) => this.#number(one) !== 0n);
    if (name === "ip_tos") return this.#number("ip_dscp") !== 0n;
    return this.#number(name) !== 0n;
  }

  #put(name: OxmFieldName, value: Uint8Array): void {
    const register = REGISTER.exec(name);
    if (register !== null) {
      for (const [i, one] of registersOf(register).entries())
        this.#set(one, value.subarray(4 * i, 4 * i + 4));
    } else if (name === "ip_tos") this.#set("ip_dscp", Uint8Array.of((value[0] as number) >> 2));
    else this.#set(name, value);
  }

  #set(field: OxmFieldName, value: Uint8Array): void {
    this.#entries.set(field, { field, value });
  }

  #number(field: OxmFieldName): bigint {
    const entry = this.#entries.get(field);
    return entry === undefined ? 0n : bytesToNumber(entry.value);
  }
}

function fieldOf(key: string): OxmField | undefined {
  const name = Object.hasOwn(FIELD_WORDS, key) ? FIELD_WORDS[key] : undefined;
  if (name !== undefined) return OXM_FIELDS[name];
  return isFieldName(key) ? fieldNamed(key) : undefined;
}

function registersOf([, width = "", number]: RegExpExecArray): OxmFieldName[] {
  const count = WIDTHS[width] as number;
  return Array.from({ length: count }, (_, i) => `reg${Number(number) * count + i}` as OxmFieldName);
}

function exactValue(field: OxmField, text: string, ports: PortNumbers | undefined): Uint8Array {
  const { value, mask } = readFieldText(field, text, ports);
  const bits = field.isVariable ? 8 * value.byteLength : field.bits;
  const isWhole =
    flagsOf(field.name) === undefined
      ? mask === undefined || bytesToNumber(mask) === (1n << BigInt(bits)) - 1n
      : !/^[+-]|\//.test(text);
  if (!isWhole) throw flowTextError(`${text}: wildcards not allowed here`);
  return value;
}

function tagValue(name: string, text: string): bigint {
  if (name === "vlan_tci" || name === "vlan_vid")
    return bytesToNumber(exactValue(OXM_FIELDS[name], text, undefined));
  const [size, most] = name === "dl_vlan_pcp" ? [1, 0xffn] : [2, 0xffffn];
  const [valueText = "", maskText] = text.split("/", 2);
  const number = (part: string): bigint => {
    if (!/^(\d+|0x[0-9a-fA-F]+)$/.test(part)) throw flowTextError(`${text}: bad syntax for ${name} value`);
    if (BigInt(part) > most) throw flowTextError(`${text}: value too large for ${size}-byte field ${name}`);
    return BigInt(part);
  };
  const value = number(valueText);
  if (maskText !== undefined && number(maskText) !== most)
    throw flowTextError(`${text}: invalid mask for field ${name}`);
  return value;
}

/** What a value is refused for, said of its field. */
function told<T>(key: string, read: () => T): T {
  try {
    return read();
  } catch (thrown) {
    if (!(thrown instanceof PlinthError)) throw thrown;
    throw flowTextError(`bad value for ${key} (${thrown.message})`);
  }
}
