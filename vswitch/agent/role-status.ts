// The message that tells a master that another connection has become it, and it is a slave: in OpenFlow 1.3 an extension
// of the ONF, with the body that it has since 1.4. Source: ONF extension 191; OpenFlow Switch Specification 1.4.1, 7.4.4.
// Pure.
import { ONF_EXPERIMENTER, type Unsent } from "../../base/openflow/index.js";

const ONFT_ROLE_STATUS = 1911;
const OFPCR_ROLE_SLAVE = 3;
const OFPCRR_MASTER_REQUEST = 0;
const SIZE = 16;

/** `generationId` is that of the newest election. */
export function demotion(generationId: bigint): Unsent {
  const data = new Uint8Array(SIZE);
  const view = new DataView(data.buffer);
  view.setUint32(0, OFPCR_ROLE_SLAVE);
  view.setUint8(4, OFPCRR_MASTER_REQUEST);
  view.setBigUint64(8, generationId);
  return { type: "experimenter", experimenter: ONF_EXPERIMENTER, expType: ONFT_ROLE_STATUS, data };
}
