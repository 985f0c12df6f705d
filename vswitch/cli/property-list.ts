// Properties of OpenFlow 1.4 and later as a recorded message holds them, read as Open vSwitch reads them. Pure.
// Source: OpenFlow Switch Specification 1.4.1, 7.2.1 (padding to 8 bytes) and 7.4.4 (the codes of OFPET_BAD_PROPERTY).

/** What is wrong with the bytes, by the name of the error. */
export class Fault extends Error {
  /** What is told of the message nevertheless: what came before. */
  readonly before: string | undefined;

  constructor(error: string, before?: string) {
    super(error);
    this.before = before;
  }
}

const ALIGNMENT = 8;
const HEAD_SIZE = 4;
const EXPERIMENTER_SIZE = 12;
const EXPERIMENTER = 0xffff;

export interface Property {
  readonly type: number;
  /** Where its head begins. */
  readonly at: number;
  /** With its head, without padding. */
  readonly size: number;
  readonly isExperimenter: boolean;
}

export interface PropertyOptions {
  /** Types from this on are experimenters'. */
  readonly experimenterMin?: number;
}

/** The properties in the bytes `from` to `to`. Throws Fault. */
export function* propertiesIn(
  view: DataView,
  from: number,
  to: number,
  { experimenterMin = EXPERIMENTER }: PropertyOptions = {},
): Generator<Property> {
  for (let at = from; at < to; ) {
    if (to - at < HEAD_SIZE) throw new Fault("OFPBPC_BAD_LEN");
    const [type, size] = [view.getUint16(at), view.getUint16(at + 2)];
    const padded = Math.ceil(size / ALIGNMENT) * ALIGNMENT;
    if (size < HEAD_SIZE || padded > to - at) throw new Fault("OFPBPC_BAD_LEN");
    const isExperimenter = type >= experimenterMin;
    if (isExperimenter) {
      if (size < EXPERIMENTER_SIZE) throw new Fault("OFPBPC_BAD_LEN");
      if (view.getUint32(at + 4) === 0) throw new Fault("OFPBPC_BAD_EXPERIMENTER");
    }
    yield { type, at, size, isExperimenter };
    at += padded;
  }
}

/** Of a property that must be understood and is not. */
export function unknownProperty({ isExperimenter }: Property): Fault {
  return new Fault(isExperimenter ? "OFPBPC_BAD_EXP_TYPE" : "OFPBRC_BAD_TYPE");
}

/** The value of a property that has 32 bits of it. */
export function wordOf(view: DataView, { at, size }: Property): number {
  if (size !== HEAD_SIZE + 4) throw new Fault("OFPBPC_BAD_LEN");
  return view.getUint32(at + HEAD_SIZE);
}
